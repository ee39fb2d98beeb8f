"""The page on the API has an example for each group of fields, and says a rule once."""

import re

import pytest
import yaml
from pydantic.alias_generators import to_camel

from kubetune_api.examples import EXAMPLES
from kubetune_api.kinds import KINDS
from kubetune_api.manifest import read_manifest
from kubetune_api.methods import METHODS
from kubetune_api.reference import page
from kubetune_api.schema import fields, structural_schema
from kubetune_api.tasks import TASKS
from support.job_cases import JOB, PROFILE, edited

OBJECTS = {"FineTuneJob": JOB, "FineTuneProfile": PROFILE}
GROUPED = [(kind, path) for kind, examples in EXAMPLES.items() for path in examples]


def groups(kind: str) -> set[str]:
    """The groups of a spec, and the lists of groups."""
    found = set()
    for path, field in fields(structural_schema(KINDS[kind].model)["properties"]["spec"]):
        shape = field.get("items", field)
        if "properties" in shape and not isinstance(path[-1], int):
            found.add(".".join(("spec", *(str(part) for part in path if not isinstance(part, int)))))
    return found


def task_with(path: str) -> dict[str, object]:
    """The edits that make a job of the task whose settings lie there, or that has them; none for any other group."""
    return {
        edit: value
        for name, row in TASKS.items()
        if (row.settings and path == f"spec.task.{to_camel(row.settings)}")
        or (row.generated_metrics and path == "spec.evaluation.generation")
        for edit, value in (
            ("spec.task.type", name),
            ("spec.dataset.columns", {to_camel(column): column for column in row.columns}),
        )
    }


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_group_has_an_example(kind: str) -> None:
    assert groups(kind) == set(EXAMPLES[kind]), "add it to kubetune_api/examples.py"


@pytest.mark.parametrize(("kind", "path"), GROUPED, ids=lambda value: str(value))
def test_an_example_is_right_in_its_place(kind: str, path: str) -> None:
    value = yaml.safe_load(EXAMPLES[kind][path])
    for name, method in METHODS.items():
        if path.removeprefix("spec.method.") in method.settings:
            path, value = "spec.method", {"type": name, path.rpartition(".")[2]: value}
    text = yaml.safe_dump(edited({**task_with(path), path: value}, OBJECTS[kind]))
    assert [str(error) for error in read_manifest(text, "job.yaml").errors] == []


def test_a_rule_of_several_fields_is_said_once() -> None:
    rules = re.findall(r"^- `spec\..*?: (.*)$", page().partition("## FineTuneProfile")[0], re.MULTILINE)
    assert len(rules) == len(set(rules)) > 20
