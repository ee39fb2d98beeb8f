"""A group whose `type` says which of its fields it may have refuses those of other types."""

from typing import ClassVar, Literal

import pytest
from pydantic import ValidationError

from kubetune_api.base import RULES_KEY, ApiModel
from kubetune_api.schema import structural_schema
from kubetune_api.unions import members_of_type


class Shape(ApiModel):
    """A toy."""

    type: Literal["Circle", "Box", "Cube"]
    """Which."""
    radius: float | None = None
    """Of a circle."""
    edge_length: float | None = None
    """Of the others."""
    colour: str | None = None
    """Of all."""

    rules: ClassVar = (
        members_of_type(
            lambda: {
                "Circle": ("radius", "colour"),
                "Box": ("edge_length", "colour"),
                "Cube": ("edge_length", "colour"),
            }
        ),
    )


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"type": "Circle", "radius": 1.0, "colour": "red"}, id="its own and what all have"),
        pytest.param({"type": "Box"}, id="none"),
        pytest.param({"type": "Cube", "edgeLength": 2.0}, id="what two types have"),
        pytest.param({"type": "Cube", "radius": None}, id="another's that is unset"),
    ],
)
def test_the_members_of_its_type_are_taken(given: dict[str, object]) -> None:
    Shape.model_validate(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"type": "Box", "radius": 1.0}, "`radius` belongs to Circle; remove it, or change `type`", id="of one"
        ),
        pytest.param(
            {"type": "Circle", "edgeLength": 0.0},
            "`edgeLength` belongs to Box and Cube; remove it, or change `type`",
            id="of two, though it is zero",
        ),
    ],
)
def test_a_member_of_another_type_is_refused_at_its_field(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Shape.model_validate(given)
    (error,) = caught.value.errors()
    assert error["msg"] == message
    assert error["loc"] in (("radius",), ("edgeLength",))


def test_the_api_server_judges_the_same() -> None:
    rules = {rule["fieldPath"]: rule["rule"] for rule in structural_schema(Shape)[RULES_KEY]}
    assert rules == {
        ".radius": "!has(self.radius) || self.type in ['Circle']",
        ".edgeLength": "!has(self.edgeLength) || self.type in ['Box', 'Cube']",
    }
