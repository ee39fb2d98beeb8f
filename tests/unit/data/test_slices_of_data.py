"""Slices: which held-out rows belong to one, and what is said where none does."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data import PreparedData, prepare
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import LocalFile
from kubetune_trainer.tasks import task_of
from support.data_files import causal, classification, csv_text, jsonl_text, local_file
from support.tiny_tokenizers import bert_like, gpt_like

GERMAN = {"name": "german", "column": "lang", "values": ["de", "de-AT"]}
LANGUAGES = ("de", "en", " de-AT", "")
FILMS = [(f"film {number}", "good" if number % 3 else "bad", LANGUAGES[number % 4]) for number in range(80)]
HEADER = ["text", "label", "lang"]


def spec_of(*slices: Any, require: tuple[str, ...] = (), **dataset: Any) -> FineTuneJobSpec:
    manifest = classification().to_dict()
    manifest["dataset"] |= dataset
    requirements = [{"metric": metric, "min": 0.5} for metric in require]
    manifest["evaluation"] = {"slices": list(slices), "require": requirements}
    return FineTuneJobSpec.model_validate(manifest)


def read(spec: FineTuneJobSpec, **files: LocalFile) -> PreparedData:
    return prepare(task_of(spec), spec, {name: [file] for name, file in files.items()}, bert_like(), 32)


def csv(folder: Path, rows: Any = FILMS, name: str = "a.csv") -> LocalFile:
    return local_file(folder, name, csv_text(rows, HEADER))


def refused(spec: FineTuneJobSpec, **files: LocalFile) -> str:
    with pytest.raises(RunError) as error:
        read(spec, **files)
    return str(error.value)


def test_rows_belong_to_a_slice_by_their_values(tmp_path: Path) -> None:
    data = read(spec_of(GERMAN), train=csv(tmp_path))
    for name in ("validation", "test"):
        # The header is line 1.
        languages = [LANGUAGES[(line - 2) % 4].strip() for line in data.places[name].line]
        assert data.splits[name].slices["german"].tolist() == [language.startswith("de") for language in languages]
    assert data.splits["train"].slices == {}


def test_slices_change_nothing_of_what_is_trained_on(tmp_path: Path) -> None:
    doubled = [*FILMS, *[(text, label, "other") for text, label, _ in FILMS[:9]]]
    plain, sliced = (read(spec, train=csv(tmp_path, doubled)) for spec in (spec_of(), spec_of(GERMAN)))
    assert sliced.report == plain.report
    for name, split in plain.splits.items():
        assert np.array_equal(split.tokens, sliced.splits[name].tokens)


def test_numbers_and_booleans_are_chosen_as_texts_and_two_slices_may_share_a_column(tmp_path: Path) -> None:
    rows = [{"text": f"film {n}", "label": n % 2, "stars": n % 5, "new": n % 3 == 0} for n in range(90)]
    spec = spec_of(
        {"name": "five", "column": "stars", "values": ["4"]},
        {"name": "low", "column": "stars", "values": ["0", "1"]},
        {"name": "new", "column": "new", "values": ["true"]},
        {"name": "good", "column": "label", "values": ["1"]},
    )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    parquet = LocalFile(tmp_path / "a.parquet", "file:///a.parquet", (tmp_path / "a.parquet").stat().st_size, "0")
    lines, table = (read(spec, train=file) for file in (local_file(tmp_path, "a.jsonl", jsonl_text(rows)), parquet))
    numbers = lines.places["test"].line - 1
    slices = lines.splits["test"].slices
    assert slices["five"].tolist() == (numbers % 5 == 4).tolist()
    assert slices["low"].tolist() == (numbers % 5 < 2).tolist()
    assert slices["new"].tolist() == (numbers % 3 == 0).tolist()
    assert slices["good"].tolist() == (numbers % 2 == 1).tolist()
    assert all(np.array_equal(mask, table.splits["test"].slices[name]) for name, mask in slices.items())


def test_a_decimal_column_is_chosen_by_as_any_number(tmp_path: Path) -> None:
    rows = [{"text": f"film {n}", "label": n % 2, "stars": Decimal(n % 5) / 2} for n in range(90)]
    spec = spec_of(
        {"name": "half", "column": "stars", "values": ["1.5"]}, {"name": "whole", "column": "stars", "values": ["1"]}
    )
    schema = pa.schema([("text", pa.string()), ("label", pa.int64()), ("stars", pa.decimal128(5, 1))])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "a.parquet")
    file = LocalFile(tmp_path / "a.parquet", "file:///a.parquet", (tmp_path / "a.parquet").stat().st_size, "0")
    data = read(spec, train=file)
    numbers = data.places["test"].line - 1
    assert data.splits["test"].slices["half"].tolist() == (numbers % 5 == 3).tolist()
    assert data.splits["test"].slices["whole"].tolist() == (numbers % 5 == 2).tolist()


def test_a_column_that_is_not_there_is_refused_by_the_slices_field(tmp_path: Path) -> None:
    wrong = {**GERMAN, "column": "language"}
    assert "spec.evaluation.slices[0].column: there is no column 'language'" in refused(
        spec_of(wrong), train=csv(tmp_path)
    )


def test_training_data_of_its_own_needs_no_column_for_slices(tmp_path: Path) -> None:
    train = local_file(tmp_path, "train.csv", csv_text([row[:2] for row in FILMS], HEADER[:2]))
    held_out = csv(tmp_path, [(f"play {n}", label, language) for n, (_, label, language) in enumerate(FILMS)], "b.csv")
    spec = spec_of(GERMAN, test={"uri": "file:///b.csv"}, validationFraction=0)
    assert read(spec, train=train, test=held_out).splits["test"].slices["german"].sum() == 40


def test_a_slice_without_a_row_is_refused_with_the_values_that_there_are(tmp_path: Path) -> None:
    message = refused(spec_of({**GERMAN, "values": ["DE"]}), train=csv(tmp_path))
    assert "spec.evaluation.slices[0]: no row of the validation or test split has one of its values" in message
    assert "'de' (" in message


def test_a_slice_that_one_split_lacks_is_a_note_and_an_error_where_it_is_required(tmp_path: Path) -> None:
    apart = {"validation": {"uri": "file:///b.csv"}, "test": {"uri": "file:///c.csv"}}
    books = [(f"book {number}", "good" if number % 2 else "bad", "") for number in range(9)]
    files = {
        "train": csv(tmp_path, books, "train.csv"),
        "validation": csv(tmp_path, name="b.csv"),
        "test": csv(tmp_path, [(f"play {n}", label, "en") for n, (_, label, _) in enumerate(FILMS)], "c.csv"),
    }
    notes = read(spec_of(GERMAN, **apart), **files).report.notes
    assert "the test split has no row of 1 slice: german" in notes
    assert "spec.evaluation.slices[0]: no row of the test split" in refused(
        spec_of(GERMAN, require=("test/german/accuracy",), **apart), **files
    )


def test_a_required_metric_of_answers_needs_a_row_of_its_slice_that_is_written_to(tmp_path: Path) -> None:
    rows = [{"question": f"Ask {n}.", "answer": f"Say {n}.", "lang": "de" if n > 7 else "en"} for n in range(9)]
    file = local_file(tmp_path, "a.jsonl", jsonl_text(rows))
    other = local_file(
        tmp_path, "b.jsonl", jsonl_text([{**row, "question": f"More {row['question']}"} for row in rows])
    )

    def spec(most: int) -> FineTuneJobSpec:
        required = [{"metric": "test/german/rouge_l", "min": 0.1}]
        manifest = causal().to_dict()
        manifest["dataset"] |= {"test": {"uri": "file:///b.jsonl"}, "validationFraction": 0}
        manifest["evaluation"] = {"slices": [GERMAN], "require": required, "generation": {"maxRows": most}}
        return FineTuneJobSpec.model_validate(manifest)

    def splits(most: int) -> PreparedData:
        given = spec(most)
        return prepare(task_of(given), given, {"train": [file], "test": [other]}, gpt_like(), 64)

    assert splits(9).splits["test"].slices["german"].sum() == 1
    with pytest.raises(
        RunError, match=r"none of them is of the slice german; raise spec\.evaluation\.generation\.maxRows"
    ):
        splits(8)


def test_a_list_chooses_no_slice(tmp_path: Path) -> None:
    rows = [{"text": f"film {n}", "label": n % 2, "lang": ["de"]} for n in range(30)]
    message = refused(spec_of(GERMAN), train=local_file(tmp_path, "a.jsonl", jsonl_text(rows)))
    assert "(spec.evaluation.slices[0].column) holds a list" in message
