"""Cells of several labels, and what becomes of their rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kubetune_trainer.data import PreparedData, prepare
from kubetune_trainer.data.label_sets import as_labels, labels_in
from kubetune_trainer.data.rows import Column
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.multi_label import LabelSets, SetTargets
from support.data_files import csv_text, jsonl_text, local_file, multi_label
from support.tiny_tokenizers import bert_like

COLUMN = Column("labels", "spec.dataset.columns.labels")
SETS = [[], ["fee"], ["fee", "term"], ["term"], ["fee", "law"]]
CLAUSES = [(f"film {number}", SETS[number % 5]) for number in range(100)]
HEADER = ("text", "labels")


def prepared(folder: Path, rows: Any = CLAUSES, *, task: Any = None, **dataset: Any) -> PreparedData:
    content = jsonl_text([dict(zip(HEADER, row, strict=True)) for row in rows])
    spec = multi_label(task=task, **dataset)
    return prepare(task_of(spec), spec, {"train": [local_file(folder, "c.jsonl", content)]}, bert_like(), 32)


def sets(data: PreparedData, split: str = "train") -> list[str]:
    found = data.splits[split]
    return [found.targets.learned(found, row, data.space.labels) for row in range(found.rows)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        pytest.param("fee, term", ["fee", "term"], id="a text with commas"),
        pytest.param("fee", ["fee"], id="a text of one label"),
        pytest.param("", [], id="an empty text has none"),
        pytest.param(" , ", [], id="nor has one of commas"),
        pytest.param('["term", "fee, late"]', ["fee, late", "term"], id="the JSON of a list"),
        pytest.param(["term", "fee", "fee"], ["fee", "term"], id="a list with a label twice"),
        pytest.param([], [], id="an empty list has none"),
        pytest.param([1, 2], ["1", "2"], id="numbers of classes"),
        pytest.param(3, ["3"], id="a number of a class"),
    ],
)
def test_a_cell_has_any_number_of_labels(cell: object, labels: list[str]) -> None:
    assert as_labels(labels_in(cell, COLUMN, "here", separator=",") or "") == labels


def test_another_separator_leaves_commas_in_labels() -> None:
    assert as_labels(labels_in("fee, late | term", COLUMN, "here", separator="|") or "") == ["fee, late", "term"]


def test_null_is_a_missing_value_and_an_empty_list_is_none() -> None:
    assert labels_in(None, COLUMN, "here", separator=",") is None


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("['fee', 'term']", "\"['fee', 'term']\", which begins like a list and is not one of JSON; write "),
        (["fee", None], "a list with a gap in it; remove the gap, or give the label"),
        ([["fee"]], "a list; a label must be a string, an integer or a boolean"),
        ([0.5], "looks like numbers on a scale"),
    ],
)  # fmt: skip
def test_any_other_cell_is_refused_with_the_remedy(cell: object, said: str) -> None:
    with pytest.raises(RunError) as caught:
        labels_in(cell, COLUMN, "s3://data/r.csv, line 2", separator=",")
    assert said in caught.value.message
    assert "s3://data/r.csv, line 2" in caught.value.message


def test_several_labels_are_ready_to_train_on_and_rows_without_one_are_kept(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    assert data.space == LabelSets(("fee", "law", "term"))
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 80, "validation": 10, "test": 10}
    assert set(sets(data)) == {"no label", "fee", "fee, term", "term", "fee, law"}
    train = data.splits["train"]
    assert isinstance(train.targets, SetTargets)
    assert train.targets.per_row(train).tolist() == [3] * 80
    dense = train.targets.padded(train, np.arange(80), 9)
    having = [sum(label in found for found in sets(data)) for label in data.space.labels]
    assert dense.sum(axis=0).tolist() == having
    assert having[1] == 16  # the rarest
    assert data.report.splits[0].label_rows == tuple(zip(data.space.labels, having, strict=True))


def test_csv_says_the_same_with_a_separator(tmp_path: Path) -> None:
    listed = prepared(tmp_path)
    spec = multi_label(task={"multiLabelClassification": {"separator": ";"}})
    content = csv_text([(text, ";".join(labels)) for text, labels in CLAUSES], HEADER)
    written = prepare(task_of(spec), spec, {"train": [local_file(tmp_path, "c.csv", content)]}, bert_like(), 32)
    assert sets(written) == sets(listed)


def test_each_split_gets_its_share_of_the_rarest_label(tmp_path: Path) -> None:
    rows = [(f"film {number}", ["fee", *(["rare"] if number % 10 == 0 else [])]) for number in range(200)]
    data = prepared(tmp_path, rows)
    assert [sum("rare" in found for found in sets(data, split)) for split in data.splits] == [16, 2, 2]


def test_the_same_text_with_other_labels_is_a_conflict(tmp_path: Path) -> None:
    data = prepared(tmp_path, [*CLAUSES, ("film 1", ["law"])])
    assert {step.name: step.rows for step in data.report.cleaning}["conflictingDuplicates"] == 1


def test_labels_of_the_manifest_count_and_others_drop_their_rows(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"does not name: 'law' \(20 rows\)"):
        prepared(tmp_path, task={"labels": ["term", "fee"]})
    data = prepared(tmp_path, task={"labels": ["term", "fee"]}, cleaning={"dropOtherLabels": True})
    assert data.space.labels == ("term", "fee")
    assert sum(split.rows for split in data.splits.values()) == 80


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([["fee"], []], "the training data has one label alone, 'fee'; several labels need at least two"),
        ([[], []], "the training data has no label in any row; several labels need at least two"),
    ],
)
def test_fewer_than_two_labels_are_refused(tmp_path: Path, labels: Any, said: str) -> None:
    rows = [(f"film {number}", labels[number % 2]) for number in range(40)]
    with pytest.raises(RunError) as caught:
        prepared(tmp_path, rows)
    assert caught.value.message.startswith(f"spec.dataset.columns.labels: {said}")


def test_labels_that_look_alike_are_noted_one_by_one(tmp_path: Path) -> None:
    (note,) = prepared(tmp_path, [*CLAUSES, ("last", ["Fee"])]).report.notes
    assert "'fee' (60 rows), 'Fee' (1 row), which differ only in letter case" in note


@pytest.mark.parametrize(
    ("task", "dataset", "threshold"),
    [
        pytest.param({}, {}, None, id="the validation split chooses"),
        pytest.param({}, {"validationFraction": 0}, 0.5, id="a half where there is none"),
        pytest.param({"multiLabelClassification": {"threshold": 0.25}}, {}, 0.25, id="the manifest says"),
    ],
)
def test_the_threshold_is_the_manifests_or_the_validation_splits(
    tmp_path: Path, task: Any, dataset: Any, threshold: float | None
) -> None:
    space = prepared(tmp_path, task=task, **dataset).space
    assert isinstance(space, LabelSets)
    assert space.threshold == threshold
    assert json.dumps(space.thresholds)
    assert threshold is None or threshold in space.thresholds
