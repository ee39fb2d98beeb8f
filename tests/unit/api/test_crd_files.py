"""The files that are made from the models say what the models say, and leave nothing unsaid or unbounded."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubetune_api import crd, reference
from kubetune_api.base import RULES_KEY
from kubetune_api.errors import path_text
from kubetune_api.kinds import JOB, KINDS, KindRow
from kubetune_api.schema import Schema, fields, structural_schema

FIELDS = [
    pytest.param(path, field, id=f"{kind.name} {path_text(path)}")
    for kind in KINDS.values()
    for path, field in fields(crd.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    if path[0] not in ("apiVersion", "kind", "metadata")
]
UNITS = (
    "tokens",
    "rows",
    "how many labels",
    "characters",
    "examples",
    "bytes",
    "seconds",
    "per hour",
    "passes",
    "step",
    "steps",
    "share",
    "layers",
    "workers",
    "epochs",
    "gradient",
    "per second",
    "value",
    "loss",
    "rate",
    "seed",
    "stage",
    "generation",
    "weights",
    "attempts",
    "executions",
    "evaluations",
    "cosine",
)


def test_the_files_are_what_the_models_say() -> None:
    assert crd.main(["--check"]) == 0, "run `make crds`"
    assert reference.main(["--check"]) == 0, "run `make crds`"


def test_a_stale_file_is_noticed_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.md"
    file.write_text("old")
    assert crd.write_or_check({file: "new"}, ["--check"], "") == 1
    assert file.read_text() == "old"
    assert "run `make crds`" in capsys.readouterr().err
    assert crd.write_or_check({file: "new"}, [], "") == 0
    assert file.read_text() == "new"


@pytest.mark.parametrize(("path", "field"), FIELDS)
def test_a_field_says_what_it_is_and_how_large_it_may_be(path: tuple[str | int, ...], field: Schema) -> None:
    if isinstance(path[-1], str):
        description, _, default = field["description"].partition(" Default: ")
        assert description.endswith("."), description
        assert bool(default) == ("default" in field)
    if field.get("type", "string") == "string":
        assert "enum" in field or "maxLength" in field
    if field.get("type") == "array":
        assert "maxItems" in field
    if field.get("type") in ("integer", "number") and isinstance(path[-1], str):
        assert any(unit in field["description"].lower() for unit in UNITS), field["description"]


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_schema_is_structural(kind: KindRow) -> None:
    text = (crd.FOLDER / kind.file).read_text("utf-8")
    assert not {"anyOf", "$ref", "x-kubetune-words", "title"} & set(keys(yaml.safe_load(text)))


def keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for below in value.values() for key in keys(below))]
    return [key for below in value for key in keys(below)] if isinstance(value, list) else []


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        pytest.param(kind, column, id=f"{kind.name} {column.name}")
        for kind in KINDS.values()
        for column in crd.COLUMNS[kind.name]
    ],
)
def test_a_printer_column_shows_a_field_that_exists(kind: KindRow, column: crd.PrinterColumn) -> None:
    known = {path_text(path): field.get("type", "string") for path, field in fields(structural_schema(kind.model))}
    if column.path == ".metadata.creationTimestamp":
        assert column.type == "date"
        return
    # A filter picks an item of a list by one of its fields, a slice the last one.
    for filtered in re.findall(r"(.*)\[\?\(@(\.\w+)==", column.path):
        assert f"{filtered[0]}[0]{filtered[1]}".removeprefix(".") in known
    shown = re.sub(r"\[\?.*\]|\[-1:\]", "[0]", column.path).removeprefix(".")
    assert known[shown] == column.type


def test_a_job_is_fixed_by_a_rule_on_the_root_that_sees_its_status() -> None:
    root = crd.definition(JOB)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    (fixed,) = (rule for rule in root[RULES_KEY] if "oldSelf" in rule["rule"])
    assert "create a new job" in fixed["message"]
    assert fixed["fieldPath"] == ".spec"


def test_lists_with_keys_are_merged_by_them() -> None:
    status = crd.definition(JOB)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert status["properties"]["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert status["properties"]["metrics"]["x-kubernetes-list-map-keys"] == ["name"]


def test_deleting_all_of_a_namespace_takes_no_job_along() -> None:
    assert all("all" not in kind.categories for kind in KINDS.values())


@pytest.mark.parametrize(("path", "field"), [each for each in FIELDS if "enum" in each.values[1]])
def test_no_value_is_a_word_that_yaml_1_1_reads_as_a_boolean(path: tuple[str | int, ...], field: Schema) -> None:
    words = {"y", "n", "yes", "no", "on", "off", "true", "false"}
    assert not words & {str(choice).lower() for choice in field["enum"] if path[0] != "status"}
