"""Cells of numbers, and what the author of a regression is told of them."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.data import PreparedData, prepare
from kubetune_trainer.data.numbers import as_numbers, numbers_of
from kubetune_trainer.data.rows import Column
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.number_metrics import ranks
from kubetune_trainer.tasks.regression import Scale, ValueTargets
from support.data_files import csv_text, jsonl_text, local_file, regression
from support.tiny_tokenizers import bert_like

COLUMN = Column("value", "spec.dataset.columns.value")
STARS = [(f"film {number}", 1 + number % 5) for number in range(100)]
HEADER = ("text", "value")


def prepared(folder: Path, rows: Any = STARS, *, name: str = "train.csv", **separate: Any) -> PreparedData:
    def content(rows: Any) -> str:
        return jsonl_text(rows) if name.endswith("l") else csv_text(rows, HEADER)

    files = {
        source: [local_file(folder, f"{source}.{name.rpartition('.')[2]}", content(found))]
        for source, found in {"train": rows, **separate}.items()
    }
    spec = regression(**{source: {"uri": f"s3://data/{source}.csv"} for source in separate})
    return prepare(task_of(spec), spec, files, bert_like(), 32)


def values(data: PreparedData, split: str = "train") -> np.ndarray:
    targets = data.splits[split].targets
    assert isinstance(targets, ValueTargets)
    return targets.values


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        pytest.param(3, [3.0], id="an integer"),
        pytest.param(-2.5, [-2.5], id="a fraction"),
        pytest.param(Decimal("2.50"), [2.5], id="a decimal number of Parquet"),
        pytest.param(" 4.25 ", [4.25], id="a text with spaces"),
        pytest.param("+1e-3", [0.001], id="an exponent"),
        pytest.param("[1, 2.5]", [1.0, 2.5], id="a list in a text"),
        pytest.param([1, "2.5"], None, id="a list with a text"),
        pytest.param([1, 2.5], [1.0, 2.5], id="a list"),
    ],
)
def test_a_cell_is_a_number_or_a_list_of_them(cell: object, numbers: list[float] | None) -> None:
    if numbers is None:
        with pytest.raises(RunError, match=r"'2\.5'; a value must be a number"):
            numbers_of(cell, COLUMN, "here")
    else:
        assert as_numbers(numbers_of(cell, COLUMN, "here") or "") == numbers


@pytest.mark.parametrize("cell", [None, "", "  ", float("nan"), "NaN", "nan"])
def test_a_cell_without_a_number_is_missing(cell: object) -> None:
    assert numbers_of(cell, COLUMN, "here") is None


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("good", "'good'; a value must be a number, such as 3.5, or a list of numbers, such as [3.5, 1]; leave the cell"
         " empty where there is none"),
        ("1,5", "'1,5'; a value must be a number, such as 3.5"),
        ("1_000", "'1_000'; a value must be a number"),
        ("[1, 2", "'[1, 2'; a value must be a number"),
        (True, "a boolean; a value must be a number"),
        ({"a": 1}, "an object; a value must be a number"),
        (1e30, "1e+30; values up to 1e+18 can be learned; write it in larger units"),
        ("1e400", "inf; values up to 1e+18 can be learned"),
        (10**400, "values up to 1e+18 can be learned"),
        ([1, float("nan")], "a list with a gap in it; fill it, or remove the row"),
        ([1, None], "a list with a gap in it; fill it, or remove the row"),
        ([], "a list of 0 numbers; a row has 1 to 1,000 of them"),
        ([0] * 1001, "a list of 1,001 numbers; a row has 1 to 1,000 of them"),
    ],
)  # fmt: skip
def test_any_other_cell_is_refused_with_the_remedy(cell: object, said: str) -> None:
    with pytest.raises(RunError) as caught:
        numbers_of(cell, COLUMN, "s3://data/r.csv, line 2")
    assert caught.value.reason == Reason.INVALID_DATA
    start = "s3://data/r.csv, line 2: the column 'value' (spec.dataset.columns.value) holds "
    assert caught.value.message.startswith(start)
    assert said in caught.value.message


def test_a_regression_is_ready_to_train_on(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 80, "validation": 10, "test": 10}
    assert set(values(data)[:, 0]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert isinstance(data.space, Scale)
    (frame,) = data.space.frames
    assert (frame.mean, frame.low, frame.high) == (3.0, 1.0, 5.0)
    assert frame.spread == pytest.approx(2**0.5)
    targets = data.splits["test"].targets
    assert isinstance(targets, ValueTargets)
    assert targets.ranks.tolist() == ranks(targets.values).tolist()
    assert data.report.samples[0].answer in {"1", "2", "3", "4", "5"}
    assert data.report.notes == ()


def test_a_row_may_have_several_numbers_in_every_format(tmp_path: Path) -> None:
    pairs = [(text, [stars, -stars]) for text, stars in STARS]
    listed = prepared(tmp_path, [dict(zip(HEADER, row, strict=True)) for row in pairs], name="train.jsonl")
    written = prepared(tmp_path, [(text, json.dumps(numbers)) for text, numbers in pairs])
    assert values(listed).tolist() == values(written).tolist()
    assert (values(listed)[:, 0] == -values(listed)[:, 1]).all()
    assert listed.splits["train"].targets.per_row(listed.splits["train"]).tolist() == [2] * 80


def test_several_judgements_of_one_text_are_kept_and_stay_together(tmp_path: Path) -> None:
    rows = [(f"film {number}", number % 3 + judge) for number in range(60) for judge in (0, 1, 1)]
    data = prepared(tmp_path, rows)
    assert sum(split.rows for split in data.splits.values()) == 120  # the one that says the same is dropped
    assert all(split.rows % 2 == 0 for split in data.splits.values())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param(
            [*STARS, ("last", "[1, 2]")],
            "s3://data/train.csv, line 102: the column 'value' (spec.dataset.columns.value) holds 2 numbers, and"
            " s3://data/train.csv, line 2 holds 1; every row must have as many",
            id="more numbers than the first row",
        ),
        pytest.param(
            [(text, 3) for text, _ in STARS],
            "spec.dataset.columns.value: every row has the value 3; a regression needs different ones in the training"
            " data",
            id="the same number everywhere",
        ),
    ],
)
def test_rows_that_teach_no_scale_are_refused(tmp_path: Path, rows: Any, said: str) -> None:
    with pytest.raises(RunError) as caught:
        prepared(tmp_path, rows)
    assert caught.value.message == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda stars: stars * 1000, "mean of 3,000 and a standard deviation of 1,414;", id="large"),
        pytest.param(lambda stars: stars / 1000, "mean of 0.003000 and a standard deviation of 0.001414;", id="small"),
        pytest.param(lambda stars: stars + 2000, "mean of 2,003 and a standard deviation of 1.414;", id="far from 0"),
    ],
)
def test_values_that_a_new_head_learns_slowly_are_noted_with_the_remedy(tmp_path: Path, change: Any, said: str) -> None:
    (note,) = prepared(tmp_path, [(text, change(stars)) for text, stars in STARS]).report.notes
    assert said in note
    assert "subtract the mean from them and divide by the deviation in the data" in note


def test_held_out_values_that_training_never_sees_are_noted(tmp_path: Path) -> None:
    test = [("new film", 2), ("old film", 6), ("odd film", 0)]
    (note,) = prepared(tmp_path, test=test).report.notes
    assert note.startswith(
        "2 rows of the test data have a value outside of the training data's range, first s3://data/test.csv, line 3;"
    )
