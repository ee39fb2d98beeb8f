"""What a user reads when the data is wrong: the place, the error, the remedy."""

import bz2
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_trainer.data import prepare
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks import task_of
from support.data_files import causal, classification, csv_text, jsonl_text, local_file, packed_file, with_classes
from support.tiny_tokenizers import bert_like, gpt_like

FILMS = [(f"film {number}", "good" if number % 2 else "bad") for number in range(20)]
GOOD = csv_text(FILMS)
OBJECTS = [{"text": text, "label": label} for text, label in FILMS]
UNPACKED = 1_048_576


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def columnar_bomb() -> bytes:
    """80 MiB of one letter, with pages that cannot be read: refused, if at all, before anything is unpacked."""
    sink = io.BytesIO()
    table = pa.table({"text": ["a" * 2**20] * 80, "label": ["good", "bad"] * 40})
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    content = bytearray(sink.getvalue())
    content[4:200] = bytes(196)
    return bytes(content)


def not_utf8() -> pa.Array:
    raw = pa.array([b"fine", b"\xff\xfe"], pa.binary())
    return pa.StringArray.from_buffers(len(raw), raw.buffers()[1], raw.buffers()[2])


@dataclass(frozen=True)
class Case:
    what: str
    name: str
    content: str | bytes
    message: str
    spec: FineTuneJobSpec = field(default_factory=classification)
    packed: bool = False
    """Whether `content` is already compressed, or pretends to be."""


FILES = [
    Case(
        "an unknown ending",
        "r.tsv",
        GOOD,
        "s3://data/r.tsv: the format is not known from the name; it must end in .csv, .csv.gz, .csv.bz2, .jsonl,"
        " .jsonl.gz, .jsonl.bz2, .parquet",
    ),
    Case(
        "an empty file",
        "r.csv",
        "",
        "s3://data/r.csv is empty (0 bytes); upload it again, or remove it",
    ),
    Case(
        "a header without rows",
        "r.csv",
        "text,label\n",
        "spec.dataset.uri: there are no rows in s3://data/r.csv; add rows, or name another file",
    ),
    Case(
        "a missing column with a near name",
        "r.csv",
        csv_text(FILMS, ("text", "labels")),
        "spec.dataset.columns.label: there is no column 'label' in s3://data/r.csv; its columns are 'text', 'labels'."
        " Did you mean 'labels'?",
    ),
    Case(
        "a missing column with a space around its name",
        "r.csv",
        csv_text(FILMS, ("text", " Label ")),
        "spec.dataset.columns.label: there is no column 'label' in s3://data/r.csv; its columns are 'text', ' Label '."
        " Did you mean ' Label '?",
    ),
    Case(
        "a missing column among many",
        "r.csv",
        csv_text([], ("label", *(f"x{number}" for number in range(30)))),
        "spec.dataset.columns.text: there is no column 'text' in s3://data/r.csv; its columns are 'label', 'x0', 'x1',"
        " 'x2', 'x3', 'x4', 'x5', 'x6', 'x7', 'x8', 'x9', 'x10', 'x11', 'x12', 'x13', 'x14', 'x15', 'x16', 'x17',"
        " 'x18' and 11 more",
    ),
    Case(
        "semicolons for commas",
        "r.csv",
        GOOD.replace(",", ";"),
        "spec.dataset.columns.text: there is no column 'text'; spec.dataset.columns.label: there is no column 'label'"
        " in s3://data/r.csv; its columns are 'text;label'; the values must be separated by commas",
    ),
    *(
        Case(
            f"both columns under other names in {name}",
            name,
            data,
            "spec.dataset.columns.text: there is no column 'text'; spec.dataset.columns.label: there is no column"
            f" 'label' in s3://data/{name}; its columns are 'Text', 'labels'. Did you mean 'Text' and"
            " 'labels'?",
        )
        for name, data in (
            ("r.csv", csv_text(FILMS, ("Text", "labels"))),
            ("r.jsonl", jsonl_text([{"Text": "good", "labels": "a"}])),
        )
    ),
    Case(
        "a column that stands twice in the header",
        "r.csv",
        "text,label,text\na,b,c\n",
        "spec.dataset.columns.text: the column 'text' is 2 times in the header of s3://data/r.csv; rename all but one",
    ),
    Case(
        "a byte of another encoding",
        "r.csv",
        GOOD.encode() + "café,good\n".encode("latin-1"),
        "s3://data/r.csv, line 22: byte 275 of the file (0xe9) is not UTF-8; save the file as UTF-8"
        " (`iconv -f WINDOWS-1252 -t UTF-8 in > out`, with the encoding it really has)",
    ),
    Case(
        "a byte of another encoding behind a byte order mark, in a compressed file",
        "r.csv.gz",
        b"\xef\xbb\xbftext\xe9,label\n",
        "s3://data/r.csv.gz, line 1: byte 7 of the file (0xe9) is not UTF-8; save the file as UTF-8"
        " (`iconv -f WINDOWS-1252 -t UTF-8 in > out`, with the encoding it really has)",
    ),
    Case(
        "UTF-16",
        "r.csv",
        GOOD.encode("utf-16"),
        "s3://data/r.csv is UTF-16; save the file as UTF-8 (`iconv -f UTF-16 -t UTF-8 in > out`)",
    ),
    Case(
        "a NUL byte",
        "r.csv",
        GOOD + "a\0b,good\n",
        "s3://data/r.csv, line 22: holds a NUL byte, which text has none of; if the file is UTF-16, save the file as"
        " UTF-8 (`iconv -f UTF-16 -t UTF-8 in > out`), otherwise remove the byte (`tr -d '\\000' < in > out`)",
    ),
    Case(
        "a line of 50 MB",
        "r.csv",
        GOOD + "a" * 50_000_000 + ",good\n",
        "s3://data/r.csv, line 22: the line is longer than 16 MiB; check that the file has line ends and that its"
        " format is what its name says",
    ),
    Case(
        "a cell of 2 MB",
        "r.csv",
        GOOD + "a" * 2_000_000 + ",good\n",
        's3://data/r.csv, line 22: a cell that begins here is longer than 1,048,576 characters, or its quote (") is'
        " never closed; shorten the text, or close the quote",
    ),
    Case(
        "a quote that is never closed",
        "r.csv",
        GOOD + '"never closed,good\nanother,bad\n',
        's3://data/r.csv, line 22: a quote (") opens here and is never closed; close it, or double it inside a cell',
    ),
    Case(
        "a quote inside a quoted cell",
        "r.csv",
        GOOD + '"he said "no"",good\n',
        "s3://data/r.csv, line 22: a quoted cell continues after its closing quote; double the quotes inside a cell"
        ' ("he said ""no""")',
    ),
    Case(
        "carriage returns for line ends",
        "r.csv",
        GOOD.replace("\r\n", "\r"),
        "s3://data/r.csv, line 1: there is a carriage return without a line feed; end the lines with LF or CRLF"
        " (`tr '\\r' '\\n' < in > out`)",
    ),
    Case(
        "a row with a cell too many",
        "r.csv",
        GOOD + "well, it moves,good\n",
        "s3://data/r.csv, line 22: the row has 3 cells, the header has 2; put a cell that holds a comma or a line end"
        ' into quotes (")',
    ),
    Case(
        "commas at the ends of lines",
        "r.csv",
        "text,label\nwell,good,\n",
        "s3://data/r.csv, line 2: the line ends in a comma, and the header does not; remove the commas at the ends of"
        " lines (`sed 's/,\\r*$//' in > out`)",
    ),
    Case(
        "a comma at the end of the header",
        "r.csv",
        "text,label,\nwell,good\n",
        "s3://data/r.csv, line 2: the header ends in a comma, and this line does not; remove the comma at the end of"
        " the header",
    ),
    *[
        Case(
            what,
            "r.csv",
            content,
            f's3://data/r.csv, line {line}: a space stands before a quote ("), which makes the quote a part of the'
            " cell; remove the spaces between commas and quotes (`sed -E 's/, +\"/,\"/g' in > out`)",
        )
        for what, content, line in (
            ("a space before the quote of a cell with a comma", 'label,text\ngood, "well, well"\n', 2),
            ("a space before the quote of a cell without one", 'text,label\n"well", "good"\n', 2),
            ("a space before the quote of a column's name", 'text, "label"\nwell,good\n', 1),
        )
    ],
    Case(
        "blank lines alone",
        "r.csv",
        "\n\n\n",
        "s3://data/r.csv has blank lines alone; upload it again, or remove it",
    ),
    Case(
        "a line for spreadsheets",
        "r.csv",
        "sep=,\n" + GOOD,
        "s3://data/r.csv, line 1: a line for spreadsheets (sep=); remove it",
    ),
    Case(
        "a row with a cell too few",
        "r.csv",
        GOOD + "well\n",
        "s3://data/r.csv, line 22: the row has 1 cell, the header has 2; put a cell that holds a comma or a line end"
        ' into quotes (")',
    ),
    Case(
        "a gzip file cut short",
        "r.csv.gz",
        gzip.compress(GOOD.encode())[:20],
        "s3://data/r.csv.gz, line 1: the compressed file is damaged or cut short (Compressed file ended before the"
        " end-of-stream marker was reached); upload it again",
        packed=True,
    ),
    Case(
        "a gzip file that is none",
        "r.csv.gz",
        GOOD.encode(),
        "s3://data/r.csv.gz is not compressed with gzip; rename it to r.csv",
        packed=True,
    ),
    Case(
        "a bz2 file cut short",
        "r.csv.bz2",
        bz2.compress(GOOD.encode())[:-20],
        "s3://data/r.csv.bz2, line 1: the compressed file is damaged or cut short (Compressed file ended before the"
        " end-of-stream marker was reached); upload it again",
        packed=True,
    ),
    Case(
        "a bz2 file that is none",
        "r.jsonl.bz2",
        b"{}\n",
        "s3://data/r.jsonl.bz2 is not compressed with bzip2; rename it to r.jsonl",
        packed=True,
    ),
    Case(
        "T13: gzip that is named CSV",
        "r.csv",
        gzip.compress(GOOD.encode()),
        "s3://data/r.csv is compressed with gzip; rename it to r.csv.gz",
        packed=True,
    ),
    Case(
        "T13: bzip2 that is named gzip",
        "r.csv.gz",
        bz2.compress(GOOD.encode()),
        "s3://data/r.csv.gz is compressed with bzip2; rename it to r.csv.bz2",
        packed=True,
    ),
    Case(
        "T13: a workbook that is named CSV",
        "r.csv",
        b"PK\x03\x04\x14\x00\x06\x00",
        "s3://data/r.csv is an Excel workbook or another ZIP archive; save the table as CSV, or give the file the name"
        " of its format",
        packed=True,
    ),
    Case(
        "T13: Parquet that is named JSON Lines",
        "r.jsonl",
        parquet(text=["film"], label=["good"]),
        "s3://data/r.jsonl is Parquet; save the table as JSONL, or give the file the name of its format",
        packed=True,
    ),
    Case(
        "T13: a pointer of Git LFS",
        "r.parquet",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "s3://data/r.parquet is a pointer of Git LFS and not the file itself; run `git lfs pull` where it was cloned,"
        " and copy it again",
        packed=True,
    ),
    Case(
        "a decompression bomb",
        "r.jsonl.gz",
        (" " * 1_000_000 + "\n") * 70,
        "s3://data/r.jsonl.gz becomes more than 500 times larger when it is unpacked, as a decompression bomb does; if"
        " the data is real, upload it uncompressed",
    ),
    Case(
        "a line that is no JSON",
        "r.jsonl",
        jsonl_text(OBJECTS) + "{'text': 'film'}\n",
        "s3://data/r.jsonl, line 21: not valid JSON (Expecting property name enclosed in double quotes, at character"
        " 2); a .jsonl file has one object per line",
    ),
    Case(
        "a JSON list for lines",
        "r.jsonl",
        '[{"text": "film", "label": "good"}]',
        "s3://data/r.jsonl, line 1: the line is a JSON list; each line must be an object, one per row"
        " (`jq -c '.[]' in.json > out.jsonl` turns a list into lines)",
    ),
    Case(
        "a JSON number for an object",
        "r.jsonl",
        jsonl_text(OBJECTS) + "5\n",
        "s3://data/r.jsonl, line 21: the line is a JSON number; each line must be an object, one per row"
        " (`jq -c '.[]' in.json > out.jsonl` turns a list into lines)",
    ),
    Case(
        "JSON nested to exhaust the stack",
        "r.jsonl",
        "[" * 100_000,
        "s3://data/r.jsonl, line 1: holds a number too long or a nesting too deep to read; remove it",
    ),
    Case(
        "an object in a text column",
        "r.jsonl",
        jsonl_text([*OBJECTS, {"text": {"en": "film"}, "label": "good"}]),
        "s3://data/r.jsonl, line 21: the column 'text' (spec.dataset.columns.text) holds an object; a text must be a"
        " string",
    ),
    Case(
        "a list for a label",
        "r.jsonl",
        jsonl_text([*OBJECTS, {"text": "film", "label": ["good"]}]),
        "s3://data/r.jsonl, line 21: the column 'label' (spec.dataset.columns.label) holds a list; a label must be a"
        " string, an integer or a boolean",
    ),
    Case(
        "a key that every object lacks",
        "r.jsonl",
        jsonl_text([{"txt": "film", "label": "good"}]),
        "spec.dataset.columns.text: there is no column 'text' in s3://data/r.jsonl; its columns are 'txt', 'label'."
        " Did you mean 'txt'?",
    ),
    Case(
        "half of a surrogate pair",
        "r.jsonl",
        jsonl_text([*OBJECTS, {"text": "film \ud83c", "label": "good"}]),
        "s3://data/r.jsonl, line 21: the column 'text' (spec.dataset.columns.text) holds half of a surrogate pair"
        " (\\ud800 to \\udfff), which is not a character; write the data again from its source",
    ),
    Case(
        "a JSON text of 2 MB",
        "r.jsonl",
        jsonl_text([{"text": "a" * 2_000_000, "label": "good"}]),
        "s3://data/r.jsonl, line 1: the column 'text' (spec.dataset.columns.text) holds 2,000,000 characters in one"
        " cell; at most 1,048,576 are read; shorten or split the text",
    ),
    Case(
        "a Parquet file that is none",
        "r.parquet",
        GOOD.encode(),
        "s3://data/r.parquet is not Parquet; write it again",
    ),
    Case(
        "a Parquet file without the column",
        "r.parquet",
        parquet(Text=["film"], label=["good"]),
        "spec.dataset.columns.text: there is no column 'text' in s3://data/r.parquet; its columns are 'Text', 'label'."
        " Did you mean 'Text'?",
    ),
    Case(
        "a Parquet column of lists",
        "r.parquet",
        parquet(text=[["film"]], label=["good"]),
        "s3://data/r.parquet, row 1: the column 'text' (spec.dataset.columns.text) holds a list; a text must be a"
        " string",
    ),
    Case(
        "Parquet strings that are not UTF-8",
        "r.parquet",
        parquet(text=not_utf8(), label=["good", "bad"]),
        "s3://data/r.parquet, row 2: the column 'text' (spec.dataset.columns.text) holds bytes that are not UTF-8;"
        " write the file again with UTF-8 strings",
    ),
    Case(
        "a decompression bomb in Parquet",
        "r.parquet",
        columnar_bomb(),
        "s3://data/r.parquet becomes more than 500 times larger when it is unpacked, as a decompression bomb does; if"
        " the data is real, upload it uncompressed",
    ),
]

LABELS = [
    Case(
        "a column of fractions in CSV",
        "r.csv",
        csv_text([(text, number % 8 / 2) for number, (text, _) in enumerate(FILMS)]),
        "s3://data/r.csv, line 2: the column 'label' (spec.dataset.columns.label) holds 0.0, which looks like numbers"
        " on a scale; a classification needs classes; use integers or strings",
    ),
    Case(
        "a column of floats in Parquet",
        "r.parquet",
        parquet(text=["a", "b"], label=[3.5, 1.0]),
        "s3://data/r.parquet, row 1: the column 'label' (spec.dataset.columns.label) holds 3.5, which looks like"
        " numbers on a scale; a classification needs classes; use integers or strings",
    ),
    Case(
        "a float among integers in JSON",
        "r.jsonl",
        jsonl_text([{"text": "a", "label": 1}, {"text": "b", "label": 2.0}]),
        "s3://data/r.jsonl, line 2: the column 'label' (spec.dataset.columns.label) holds 2.0: its numbers are whole,"
        " with a decimal point, as pandas writes integers beside missing values; if they are classes, name them in"
        ' spec.task.labels, ["1", "2"], and 2.0 is read as 2',
    ),
    Case(
        "a decimal fraction in Parquet",
        "r.parquet",
        parquet(text=["a", "b"], label=pa.array([Decimal("1.0"), Decimal("2.5")])),
        "s3://data/r.parquet, row 2: the column 'label' (spec.dataset.columns.label) holds 2.5, which looks like"
        " numbers on a scale; a classification needs classes; use integers or strings",
    ),
    Case(
        "whole numbers with a decimal point in CSV",
        "r.csv",
        csv_text([(text, f"{number % 3}.0") for number, (text, _) in enumerate(FILMS)]),
        "s3://data/r.csv, line 2: the column 'label' (spec.dataset.columns.label) holds 0.0: its numbers are whole,"
        " with a decimal point, as pandas writes integers beside missing values; if they are classes, name them in"
        ' spec.task.labels, ["0", "1", "2"], and 0.0 is read as 0',
    ),
    Case(
        "a whole number that the job does not name",
        "r.parquet",
        parquet(text=["a", "b", "c"], label=[1.0, 0.0, 2.0]),
        "s3://data/r.parquet, row 3: the training data has labels that spec.task.labels does not name: '2' (1 row); add"
        " them to the list, or set spec.dataset.cleaning.dropOtherLabels to drop their rows",
        classification(task={"labels": ["0", "1"]}),
    ),
    Case(
        "a class that the file has no name for",
        "r.parquet",
        with_classes(["neg", "pos"], text=["a", "b"], label=[1, 2]),
        "s3://data/r.parquet, row 2: the column 'label' (spec.dataset.columns.label) holds 2, and the file's own names"
        " of its classes are for 0 to 1; correct the value, and write the file again",
    ),
    Case(
        "a single class",
        "r.csv",
        csv_text([(text, "good") for text, _ in FILMS]),
        "spec.dataset.columns.label: every row has the label 'good' (20 rows); a classification needs at least two"
        " different labels in the training data",
    ),
    Case(
        "a label for every row",
        "r.csv",
        csv_text([(f"film {number}", f"tt{number}") for number in range(1001)]),
        "spec.dataset.columns.label: the column 'label' has 1,001 different values in 1,001 rows; at most 1,000 labels"
        " are possible; is it the right column?",
    ),
    Case(
        "texts in the label column",
        "r.csv",
        csv_text([("good", "a long review " * 30), ("bad", "another")]),
        "spec.dataset.columns.label: the column 'label' has a value of 419 characters; labels of at most 256 are"
        " possible; is it the right column?",
    ),
    Case(
        "a label that the job does not name",
        "r.csv",
        csv_text([*FILMS, ("a plot", "plot")]),
        "s3://data/r.csv, line 22: the training data has labels that spec.task.labels does not name: 'plot' (1 row);"
        " add them to the list, or set spec.dataset.cleaning.dropOtherLabels to drop their rows",
        classification(task={"labels": ["good", "bad"]}),
    ),
    Case(
        "a label that no row has",
        "r.csv",
        GOOD,
        "spec.dataset.uri: no row of the training split has the label 'so-so'; add rows with it, or remove it"
        " from spec.task.labels",
        classification(task={"labels": ["good", "so-so", "bad"]}),
    ),
]

SPLITS = [
    Case(
        "an empty cell that may not be dropped",
        "r.csv",
        csv_text([*FILMS, (" ", "good"), ("film", "")]),
        "s3://data/r.csv, line 22: the column 'text' is empty, and so is a value in 1 row more; fill it, or set"
        " spec.dataset.cleaning.dropEmpty to true",
        classification(cleaning={"dropEmpty": False}),
    ),
    Case(
        "a cleaning that drops everything",
        "r.csv",
        csv_text([*FILMS, (" ", "good"), ("film", "")]),
        "spec.dataset.uri: no row is left of the 22 that were read: 2 rows with a missing or blank value (dropEmpty);"
        " 20 rows with a text that is too short (minCharacters); change spec.dataset.cleaning or the data",
        classification(cleaning={"minCharacters": 100}),
    ),
    Case(
        "too few rows for the fraction",
        "r.csv",
        csv_text(FILMS[:4]),
        "spec.dataset.validationFraction: the validation split is empty: 0.1 of 4 rows is less than half a row; raise"
        " it to 0.25 or more, or add rows",
    ),
    Case(
        "one row of each label",
        "r.csv",
        csv_text([(f"film {number}", f"label {number}") for number in range(10)]),
        "spec.dataset.testFraction: the test split is empty: 10 rows are too few to hold any out, since rows with the"
        " same text stay together and every label keeps one in training; add rows, or set the fraction to 0",
        classification(testFraction=0.5, validationFraction=0.0),
    ),
    Case(
        "prompts that fill the sequence",
        "q.csv",
        csv_text([("why? " * 20 + str(number), "so") for number in range(10)], ("question", "answer")),
        "spec.task.maxLength: no row of the train split has a token left to learn from: at 16 tokens (the model's own"
        " limit considered) each is cut before its completion begins; raise it, or shorten the prompts",
        causal(),
    ),
]


@pytest.mark.parametrize("case", [*FILES, *LABELS, *SPLITS], ids=lambda case: case.what)
def test_the_message_names_the_place_and_the_remedy(tmp_path: Path, case: Case) -> None:
    if case.packed:
        assert isinstance(case.content, bytes)
        file = packed_file(tmp_path, case.name, case.content)
    else:
        file = local_file(tmp_path, case.name, case.content)
    tokenizer = bert_like() if case.spec.task.type == "SequenceClassification" else gpt_like()
    with pytest.raises(RunError) as raised:
        prepare(task_of(case.spec), case.spec, {"train": [file]}, tokenizer, 16)
    assert raised.value.message == case.message
    assert raised.value.reason == Reason.INVALID_DATA


@dataclass(frozen=True)
class SeparateCase:
    what: str
    test: Sequence[tuple[str, str]]
    message: str
    labels: list[str] | None = None


SEPARATE = [
    SeparateCase(
        "a label never seen in training",
        [("new", "awful"), ("newer", "good"), ("newest", "awful")],
        "s3://data/test.csv, line 2: the test data has labels that are not in the training data: 'awful' (2 rows);"
        " correct them, add training rows with them, or name the labels to keep in spec.task.labels and set"
        " spec.dataset.cleaning.dropOtherLabels",
    ),
    SeparateCase(
        "a label that the job does not name",
        [("new", "awful")],
        "s3://data/test.csv, line 2: the test data has labels that spec.task.labels does not name: 'awful' (1 row); add"
        " them to the list, or set spec.dataset.cleaning.dropOtherLabels to drop their rows",
        ["bad", "good"],
    ),
    SeparateCase(
        "the training data itself",
        FILMS,
        "spec.dataset.uri: no row is left: the text of each of its 20 rows is in the test data as well; name"
        " different files",
    ),
    SeparateCase(
        "a header alone",
        [],
        "spec.dataset.test.uri: there are no rows in s3://data/test.csv; add rows, or name another file",
    ),
    SeparateCase(
        "the only rows of a label",
        [(text, label) for text, label in FILMS if label == "bad"],
        "spec.dataset.uri: no row of the training split has the label 'bad'; add rows with it, or set"
        " spec.dataset.stratify to true",
    ),
]


@pytest.mark.parametrize("case", SEPARATE, ids=lambda case: case.what)
def test_a_separate_test_file_is_refused_with(tmp_path: Path, case: SeparateCase) -> None:
    spec = classification(test={"uri": "s3://data/test.csv"}, task={"labels": case.labels} if case.labels else {})
    files = {
        "train": [local_file(tmp_path, "train.csv", GOOD)],
        "test": [local_file(tmp_path, "test.csv", csv_text(case.test))],
    }
    with pytest.raises(RunError) as raised:
        prepare(task_of(spec), spec, files, bert_like(), 16)
    assert raised.value.message == case.message


def test_the_file_that_lacks_the_column_is_named_among_many(tmp_path: Path) -> None:
    spec = classification()
    files = [local_file(tmp_path, "a.csv", GOOD), local_file(tmp_path, "b.csv", "text,verdict\nfilm,good\n")]
    with pytest.raises(RunError) as raised:
        prepare(task_of(spec), spec, {"train": files}, bert_like(), 16)
    assert raised.value.message == (
        "spec.dataset.columns.label: there is no column 'label' in s3://data/b.csv; its columns are 'text', 'verdict'"
    )


def test_the_longest_cell_that_is_read_is_read(tmp_path: Path) -> None:
    file = local_file(tmp_path, "r.csv", csv_text([*FILMS, ("a" * UNPACKED, "good")]))
    assert (
        prepare(task_of(classification()), classification(), {"train": [file]}, bert_like(), 16).report.rows_read == 21
    )
