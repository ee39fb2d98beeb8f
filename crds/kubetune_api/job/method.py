"""`spec.method`: which weights are trained."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from kubetune_api.base import ApiModel, Rule
from kubetune_api.methods import METHODS
from kubetune_api.tables import OneOf, filled
from kubetune_api.unions import members_of_type

_FREEZING = [name for name, row in METHODS.items() if row.freezes]
DEFAULT_TARGETS: Literal["AllLinear"] = "AllLinear"
"""The layers that LoRA adapts where the manifest names none."""
ALPHA_PER_RANK = 2
"""`alpha` for each rank where the manifest does not say."""


def _what_they_do() -> str:
    return " ".join(f"`{name}` {method.does}." for name, method in METHODS.items())


class Freeze(ApiModel):
    """Which parts of the pretrained model stay as they are."""

    embeddings: bool = False
    """Freezes the embeddings. In a decoder whose output layer shares them, the output layer stays as it is too."""
    bottom_layers: Annotated[int, Field(ge=0, le=1000)] = 0
    """Freezes this many transformer layers, counted from the input."""


class LoRA(ApiModel):
    """Small matrices beside the layers of the pretrained model (Hu et al. 2021, arXiv:2106.09685), by peft."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """The rows of the small matrices. More can learn more, and take more memory."""
    alpha: Annotated[int, Field(ge=1, le=65536)] | None = None
    """The share of what the matrices add, in ranks: it is multiplied by `alpha / rank`. Unset: twice the rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """The share of the matrices' inputs that is dropped while training, 0 to below 1."""
    targets: Literal["Attention", "AllLinear"] | None = None
    """The linear layers that get matrices: those of the attention, or all but the output layer and the head. Unset:
    `AllLinear`, unless `targetModules` names them."""
    target_modules: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]],
            Field(min_length=1, max_length=64),
        ]
        | None
    ) = None
    """The same by the names that the model's code gives them, or the ends of these: `q_proj`, `mlp.down_proj`."""
    variant: Literal["Standard", "RsLoRA", "DoRA"] = "Standard"
    """`RsLoRA` multiplies by `alpha / √rank` instead (arXiv:2312.03732); `DoRA` also trains the length of each row of
    the adapted weights (arXiv:2402.09353)."""
    publish: Literal["Adapter", "Merged"] = "Adapter"
    """`Adapter` publishes the small matrices alone, which are loaded beside the pretrained model; `Merged` adds them to
    its weights and publishes a whole model."""

    rules: ClassVar = (
        Rule(
            cel="!(has(self.targets) && has(self.targetModules))",
            message="the adapted layers are chosen either by `targets` or by `targetModules`; remove one of the two",
            holds=lambda lora: lora.targets is None or lora.target_modules is None,
            field="targetModules",
        ),
    )

    @property
    def resolved(self) -> Self:
        """The same with every default filled in that depends on another field."""
        targets = self.targets or (None if self.target_modules else DEFAULT_TARGETS)
        return self.model_copy(update={"alpha": self.alpha or ALPHA_PER_RANK * self.rank, "targets": targets})


class Method(ApiModel):
    """Which weights are trained."""

    type: Annotated[str, OneOf(METHODS), Field(json_schema_extra=filled(methods=_what_they_do))] = "Full"
    """{methods}"""
    freeze: Freeze = Freeze()
    """Which parts stay as they are, where every weight is trained otherwise."""
    lora: LoRA | None = None
    """The settings of `LoRA`. Unset: their defaults."""

    rules: ClassVar = (
        members_of_type(lambda: {name: row.settings for name, row in METHODS.items()}),
        Rule(
            # The API server judges the default {} of the group before it fills it in.
            cel=f"!has(self.freeze) || self.type in {_FREEZING} ||"
            " !(self.freeze.embeddings || self.freeze.bottomLayers > 0)",
            message="this method leaves all pretrained weights as they are; remove `freeze`, or set `type` to Full",
            holds=lambda method: method.type in _FREEZING or method.freeze == Freeze(),
            field="freeze",
        ),
    )

    @property
    def highest_stage(self) -> int:
        """The highest ZeRO stage: DoRA reads whole weights outside of their layers, which stage 3 cuts into pieces."""
        return 2 if METHODS[self.type].settings and (self.lora or LoRA()).variant == "DoRA" else 3

    @property
    def publishes_adapter(self) -> bool:
        """Whether the published files are loaded beside the pretrained model, and are no model by themselves."""
        return bool(METHODS[self.type].settings) and (self.lora or LoRA()).publish == "Adapter"

    @property
    def resolved(self) -> Self:
        """The same with every default filled in that depends on the type."""
        settings = {name: (getattr(self, name) or LoRA()).resolved for name in METHODS[self.type].settings}
        return self.model_copy(update=settings)
