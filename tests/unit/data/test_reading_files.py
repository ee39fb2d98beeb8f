"""Every format gives the same rows, and every row knows where it came from."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.read import read
from kubetune_trainer.data.rows import Field, Row
from kubetune_trainer.records import LocalFile
from kubetune_trainer.tasks import task_of
from support.data_files import causal, classification, csv_text, jsonl_text, local_file


def fields_of(spec: FineTuneJobSpec) -> tuple[Field, ...]:
    return task_of(spec).fields(spec)


FIELDS = fields_of(classification())
REVIEWS = [("a great film", "fresh"), ('he said "no",\nand left', "rotten"), ("Ça va? 🎬", "fresh")]
TEXTS, LABELS = [text for text, _ in REVIEWS], [label for _, label in REVIEWS]


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def rows_of(*files: LocalFile) -> list[Row]:
    return read(files, FIELDS, "spec.dataset.uri")[0]


def contents(rows: list[Row]) -> list[tuple[str | None, ...]]:
    return [row.values for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reviews.csv", csv_text(REVIEWS)),
        ("reviews.csv", "\ufeff" + csv_text(REVIEWS)),
        ("reviews.csv", csv_text(REVIEWS).replace("\r\n", "\n")),
        ("reviews.csv", csv_text(REVIEWS) + "\r\n\r\n"),
        ("reviews.csv.gz", csv_text(REVIEWS)),
        ("reviews.csv.bz2", csv_text(REVIEWS)),
        ("reviews.jsonl", jsonl_text([{"text": text, "label": label, "id": 1} for text, label in REVIEWS])),
        ("reviews.jsonl.gz", "\ufeff" + jsonl_text([{"label": label, "text": text} for text, label in REVIEWS])),
        ("reviews.jsonl.bz2", jsonl_text([{"text": text, "label": label} for text, label in REVIEWS]) + "\n \n"),
        ("reviews.csv", "\n \n,\n" + csv_text(REVIEWS)),
        ("reviews.parquet", parquet(label=LABELS, id=[1, 2, 3], text=TEXTS)),
        ("reviews.parquet", parquet(text=pa.array(TEXTS, pa.large_string()), label=LABELS)),
        ("reviews.parquet", parquet(text=TEXTS, label=pa.array(LABELS).dictionary_encode())),
    ],
    ids=[
        "csv",
        "csv with a byte order mark",
        "csv with LF line ends",
        "csv with blank lines at its end",
        "csv.gz",
        "csv.bz2",
        "jsonl with another key",
        "jsonl.gz with a byte order mark and another order of keys",
        "jsonl.bz2 with blank lines",
        "csv with blank lines at its beginning",
        "parquet with another column",
        "parquet with large strings",
        "parquet with a dictionary",
    ],
)  # fmt: skip
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert contents(rows_of(local_file(tmp_path, name, content))) == REVIEWS


@pytest.mark.parametrize("text", [' "yes" or "no"', 'a "b" c', ' "yes', ' 5" wide', '\t"a" "b"', 'he said "no"'])
def test_quotes_within_a_cell_of_csv_are_its_text(tmp_path: Path, text: str) -> None:
    """T14: as pandas and spreadsheets read them, where they can mean nothing else."""
    (row,) = rows_of(local_file(tmp_path, "reviews.csv", f"label,text\nfresh,{text}\n"))
    assert row.values == (text, "fresh")


def test_a_row_of_csv_knows_the_line_it_begins_in(tmp_path: Path) -> None:
    rows = rows_of(local_file(tmp_path, "reviews.csv", csv_text(REVIEWS)))
    assert [row.where for row in rows] == [f"s3://data/reviews.csv, line {line}" for line in (2, 3, 5)]


def test_a_row_of_parquet_knows_its_number_beyond_the_first_batch(tmp_path: Path) -> None:
    texts = [f"film {number}" for number in range(1, 3001)]
    rows = rows_of(local_file(tmp_path, "reviews.parquet", parquet(text=texts, label=["x"] * 3000)))
    assert [row.line for row in rows] == list(range(1, 3001))
    assert rows[2999]["text"] == "film 3000"
    assert rows[2999].where == "s3://data/reviews.parquet, row 3000"


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1:A9)", '=HYPERLINK("http://x","y")'])
def test_a_formula_is_a_text_like_any_other(tmp_path: Path, formula: str) -> None:
    assert rows_of(local_file(tmp_path, "reviews.csv", csv_text([(formula, "=1+1")])))[0]["text"] == formula
    assert rows_of(local_file(tmp_path, "reviews.csv", csv_text([(formula, "=1+1")])))[0]["label"] == "=1+1"


@pytest.mark.parametrize(
    ("values", "labels"),
    [(["a", "b"], ["a", "b"]), ([1, 0], ["1", "0"]), ([True, False], ["true", "false"]), ([1, None], ["1", None])],
    ids=["strings", "integers", "booleans", "a missing value"],
)
@pytest.mark.parametrize("name", ["reviews.jsonl", "reviews.parquet"])
def test_labels_are_named_by_their_values(
    tmp_path: Path, name: str, values: list[Any], labels: list[str | None]
) -> None:
    lines = jsonl_text([{"text": "x", "label": value} for value in values])
    content = lines if name.endswith("jsonl") else parquet(text=["x"] * 2, label=values)
    assert [row.values[1] for row in rows_of(local_file(tmp_path, name, content))] == labels


def test_a_key_that_only_some_objects_lack_is_a_missing_value(tmp_path: Path) -> None:
    content = jsonl_text([{"label": "a"}, {"text": "film", "label": "b"}, {"text": None}])
    rows = rows_of(local_file(tmp_path, "reviews.jsonl", content))
    assert contents(rows) == [(None, "a"), ("film", "b"), (None, None)]


def test_files_of_all_formats_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    files = [
        local_file(tmp_path, "c.parquet", parquet(text=["three"], label=["x"])),
        local_file(tmp_path, "a.csv", csv_text([("one", "x")])),
        local_file(tmp_path, "b.jsonl", jsonl_text([{"text": "two", "label": "x"}])),
    ]
    assert [row["text"] for row in rows_of(*files)] == ["one", "two", "three"]
    assert rows_of(*files) == rows_of(*reversed(files))


def test_files_may_differ_in_the_columns_that_are_not_used(tmp_path: Path) -> None:
    first = local_file(tmp_path, "a.csv", "text,label\none,x\n")
    second = local_file(tmp_path, "b.csv", "id,label,text\n7,x,two\n")
    assert [row["text"] for row in rows_of(first, second)] == ["one", "two"]


def test_a_file_with_a_header_alone_is_fine_beside_one_with_rows(tmp_path: Path) -> None:
    empty = local_file(tmp_path, "a.csv", "text,label\n")
    full = local_file(tmp_path, "b.csv", "text,label\none,x\n")
    assert [row["text"] for row in rows_of(empty, full)] == ["one"]


def test_a_small_file_may_shrink_as_much_as_it_can(tmp_path: Path) -> None:
    rows = rows_of(local_file(tmp_path, "reviews.csv.bz2", csv_text([("x" * 100_000, "a")] * 20)))
    assert len(rows) == 20


def test_a_causal_job_reads_prompts_and_completions(tmp_path: Path) -> None:
    file = local_file(tmp_path, "qa.csv", csv_text([("why?", "because")], ("question", "answer")))
    (row,), _ = read([file], fields_of(causal()), "spec.dataset.uri")
    assert row.values == ("why?", "because")


def test_a_pair_reads_its_second_text(tmp_path: Path) -> None:
    columns = fields_of(classification(columns={"text": "a", "textPair": "b", "label": "c"}))
    (row,), _ = read([local_file(tmp_path, "pairs.csv", "c,b,a\nyes,two,one\n")], columns, "spec.dataset.uri")
    assert row.values == ("one", "two", "yes")
