"""What is said of the data once it is read: counts, rows as the model sees them, and what is perhaps not meant."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kubetune_api.data_counts import MOST_LABELS, DataCounts
from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data import PreparedData, prepare
from kubetune_trainer.data.counts import counts_of
from kubetune_trainer.data.samples import MOST_CHARACTERS, errors_of
from kubetune_trainer.events import JsonLinesListener, LastProgress
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.shown_rows import Piece, WorstRow
from kubetune_trainer.tasks import task_of
from support.data_files import causal, classification, csv_text, local_file
from support.tiny_tokenizers import CHATML, bert_like, gpt_like

FILMS = [(f"film {number}", "good" if number % 2 else "bad") for number in range(40)]


def read(
    folder: Path, *parts: Sequence[tuple[Any, ...]] | str, spec: FineTuneJobSpec | None = None, max_length: int = 32
) -> PreparedData:
    """Each part is a file: rows under the job's own header, or its whole text."""
    spec = spec or classification()
    header = list(spec.dataset.columns.to_dict().values())
    texts = [part if isinstance(part, str) else csv_text(part, header) for part in parts]
    files = {"train": [local_file(folder, f"{number}.csv", text) for number, text in enumerate(texts)]}
    tokenizer = gpt_like(CHATML) if spec.dataset.columns.prompt else bert_like()
    return prepare(task_of(spec), spec, files, tokenizer, max_length)


def notes(folder: Path, *parts: Sequence[tuple[Any, ...]] | str, **options: Any) -> tuple[str, ...]:
    return read(folder, *parts, **options).report.notes


def events(data: PreparedData, *, texts: bool = True) -> list[dict[str, Any]]:
    stream = io.StringIO()
    JsonLinesListener(stream, texts=texts).data(counts_of(data.report), data.report.samples)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_rows_by_split_labels_steps_and_cut_texts_are_counted(tmp_path: Path) -> None:
    rows = [*FILMS, ("film 1", "good"), ("", "good"), ("film " * 40, "bad")]
    counts = counts_of(read(tmp_path, rows).report)
    assert counts.rows_read == 43
    assert {split.name: split.rows for split in counts.splits} == {"train": 33, "validation": 4, "test": 4}
    assert {step.name: step.rows for step in counts.cleaning if step.rows} == {"dropEmpty": 1, "dropDuplicates": 1}
    assert sum(split.truncated for split in counts.splits) == 1
    assert {label.name: label.rows for label in counts.labels} == {"bad": 21, "good": 20}
    assert counts.label_count == 2


def test_the_counts_stay_small_however_many_and_long_the_labels_are(tmp_path: Path) -> None:
    rows = [(f"film {number}", "x" * 200 + f"{number % 100}") for number in range(600)]
    rows += [("film 601", "rare\x1b"), *((f"film {number}", "frequent") for number in range(700, 800))]
    counts = counts_of(read(tmp_path, rows).report)
    assert len(counts.labels) == MOST_LABELS < counts.label_count == 102
    assert (counts.labels[0].name, counts.labels[-1].name) == ("frequent", "rare")
    assert len(counts.model_dump_json().encode()) < 10_000
    assert DataCounts.model_validate_json(counts.model_dump_json(by_alias=True)) == counts


def test_a_classified_row_is_shown_with_its_special_tokens_and_its_label(tmp_path: Path) -> None:
    samples = read(tmp_path, FILMS).report.samples
    assert len(samples) == 3
    for sample in samples:
        (piece,) = sample.pieces
        assert piece.text.startswith("[CLS] film ")
        assert piece.text.endswith(" [SEP]")
        assert not piece.counted
        number = int(piece.text[len("[CLS] film ") : -len(" [SEP]")].replace(" ##", ""))
        assert sample.answer == FILMS[number][1]


def test_of_a_conversation_what_the_model_learns_to_write_is_marked(tmp_path: Path) -> None:
    rows = [(f"question {number}", f"answer {number}") for number in range(30)]
    sample = read(tmp_path, rows, spec=causal(), max_length=128).report.samples[0]
    asked, answered = sample.pieces
    number = asked.text.split("question ")[1].split("<")[0]
    assert asked == Piece(f"<|im_start|>user\nquestion {number}<|im_end|>\n<|im_start|>assistant\n", counted=False)
    assert answered == Piece(f"answer {number}<|im_end|>\n", counted=True)
    assert sample.answer is None


def test_the_pieces_of_a_row_join_to_its_text_where_a_token_is_half_a_character(tmp_path: Path) -> None:
    rows = [(f"{number} é", "é" * (number + 1)) for number in range(30)]
    for sample in read(tmp_path, rows, spec=causal(), max_length=256).report.samples:
        assert "�" not in "".join(piece.text for piece in sample.pieces)


def test_a_long_row_is_shown_without_its_middle(tmp_path: Path) -> None:
    rows = [(f"first {'word ' * 2000}last {number}", f"answer {number}") for number in range(30)]
    asked = read(tmp_path, rows, spec=causal(), max_length=20_000).report.samples[0].pieces[0].text
    assert len(asked) < MOST_CHARACTERS + 10
    assert "first" in asked
    assert "last" in asked


def test_an_error_is_shown_with_its_text_its_place_and_both_answers(tmp_path: Path) -> None:
    data, tokenizer = read(tmp_path, FILMS[:20], FILMS[20:]), bert_like()
    judged = EvaluationRecord("test", 9, 1.0, {}, worst=(WorstRow(2, 3.5, "bad"), WorstRow(0, 2.5, "good")))
    first, second = errors_of(data, judged, tokenizer)
    number = int(first.sample.pieces[0].text[len("[CLS] film ") : -len(" [SEP]")].replace(" ##", ""))
    assert first.sample.answer == FILMS[number][1]
    assert (first.loss, first.answer, second.answer) == (3.5, "bad", "good")
    # The header is line 1 of each file.
    assert first.where.endswith(f"/{number // 20}.csv, line {number % 20 + 2}")


def test_no_event_tells_the_worst_rows() -> None:
    stream = io.StringIO()
    JsonLinesListener(stream).evaluated(EvaluationRecord("test", 9, 1.0, {}, worst=(WorstRow(2, 3.5, "a secret"),)))
    assert "secret" not in stream.getvalue()


def test_a_run_in_a_cluster_prints_counts_and_no_texts(tmp_path: Path) -> None:
    data = read(tmp_path, FILMS)
    (local,), (in_cluster,) = events(data), events(data, texts=False)
    assert len(local["samples"]) == 3
    assert in_cluster == {**local, "samples": []}
    assert "film" not in json.dumps(in_cluster)


def test_what_was_read_is_remembered_for_the_end(tmp_path: Path) -> None:
    report = read(tmp_path, FILMS).report
    listener = LastProgress()
    assert listener.last_data is None
    listener.data(counts_of(report), report.samples)
    assert listener.last_data == counts_of(report)


def test_clean_data_has_no_notes(tmp_path: Path) -> None:
    assert notes(tmp_path, FILMS) == ()


@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["joined with cat", "with a byte order mark"])
def test_a_header_that_is_repeated_between_the_rows_is_noted(tmp_path: Path, bom: str) -> None:
    """T5."""
    joined = csv_text(FILMS[:20]) + bom + csv_text(FILMS[20:])
    (note,) = notes(tmp_path, joined)
    assert note == (
        "s3://data/0.csv, line 22: the columns hold their own names; it looks like a header repeated between the rows,"
        " and is learned as a row; remove it from the file"
    )


def test_a_header_between_prompts_and_completions_is_noted(tmp_path: Path) -> None:
    """T5."""
    rows = [(f"question {number}", f"answer {number}") for number in range(30)]
    (note,) = notes(tmp_path, [*rows, ("question", "answer")], spec=causal(), max_length=128)
    assert note.startswith("s3://data/0.csv, line 32: the columns hold their own names;")


@pytest.mark.parametrize(
    ("variant", "shown"),
    [
        pytest.param("Good", "'good' (20 rows), 'Good' (1 row)", id="letter case"),
        pytest.param("good\u200b", "'good' (20 rows), 'good\\u200b' (1 row)", id="a space without width"),
        pytest.param("\ufeffgood", "'good' (20 rows), '\\ufeffgood' (1 row)", id="a byte order mark"),
        pytest.param("go\u00adod", "'good' (20 rows), 'go\\xadod' (1 row)", id="a soft hyphen"),
        pytest.param("\u200egood", "'good' (20 rows), '\\u200egood' (1 row)", id="a mark of direction"),
        pytest.param("ｇood", "'good' (20 rows), 'ｇood' (1 row)", id="a letter of full width"),
    ],
)
def test_labels_that_look_alike_are_noted(tmp_path: Path, variant: str, shown: str) -> None:
    """T5."""
    (note,) = notes(tmp_path, [*FILMS, ("film 99", variant)])
    assert note.startswith(f"spec.dataset.columns.label: the label column 'label' has the labels {shown}, which differ")
    assert "write them alike, or name the labels to keep in spec.task.labels" in note


def test_true_of_a_table_beside_true_of_json_is_noted(tmp_path: Path) -> None:
    """T5."""
    rows = [(f"film {number}", ("true", "false", "True")[number % 3]) for number in range(60)]
    assert "the labels 'true' (20 rows), 'True' (20 rows), which differ" in notes(tmp_path, rows)[0]


@pytest.mark.parametrize("missing", ["nan", "NaN", "None", "null", "N/A", "#N/A", "<NA>", "?", "-"])
def test_a_label_spelled_as_a_missing_value_is_noted(tmp_path: Path, missing: str) -> None:
    """T5."""
    (note,) = notes(tmp_path, [*FILMS, ("film 98", missing), ("film 99", missing)])
    assert f"the label {missing!r} (2 rows), which is how missing values are often written" in note
    assert "leave such cells empty" in note


def test_a_label_that_is_the_columns_name_is_noted(tmp_path: Path) -> None:
    """T5."""
    (note,) = notes(tmp_path, [*FILMS, ("film 99", "Label")])
    assert "the label 'Label' (1 row), which is the column's own name" in note


def test_labels_that_the_manifest_names_are_meant(tmp_path: Path) -> None:
    spec = classification(task={"labels": ["good", "Good", "None", "label"]})
    rows = [(f"film {number}", ("good", "Good", "None", "label")[number % 4]) for number in range(80)]
    assert notes(tmp_path, rows, spec=spec) == ()


def test_rows_whose_prompt_fills_the_greatest_length_are_noted(tmp_path: Path) -> None:
    """T15."""
    rows = [("long " * (60 if number % 2 else 1) + str(number), f"answer {number}") for number in range(60)]
    assert notes(tmp_path, rows, spec=causal(), max_length=48) == (
        "50.0 % of the rows (30 of 60) were dropped: rows of which no token is left to learn from at 48 tokens"
        " (noTarget). Raise spec.task.maxLength, if the model allows it, or shorten the prompts.",
    )


def test_any_step_that_drops_many_rows_is_noted_with_what_to_do(tmp_path: Path) -> None:
    """T15."""
    rows = [*FILMS, *[("film 1", "bad")] * 8, *[("film 1", "good")] * 20, *[("", "good")] * 8]
    found = notes(tmp_path, rows)
    assert [note.split("(")[2].split(")")[0] for note in found] == [
        "dropEmpty",
        "conflictingDuplicates",
        "dropDuplicates",
    ]
    assert "26.3 % of the rows (20 of 76) were dropped: rows that repeat an earlier row" in found[2]


def test_a_step_that_drops_few_rows_is_no_news(tmp_path: Path) -> None:
    assert notes(tmp_path, [*FILMS, ("film 1", "good")]) == ()
