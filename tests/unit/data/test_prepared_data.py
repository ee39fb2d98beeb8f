"""The whole way from files to encoded splits, and what the report says of it."""

import io
import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data import EncodedSplit, PreparedData, prepare
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StoredFile
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.causal import TokenTargets
from kubetune_trainer.tasks.classification import ClassTargets
from support.data_files import causal, classification, csv_text, jsonl_text, local_file, with_classes
from support.tiny_tokenizers import CHATML, bert_like, gpt_like

FILMS = [(f"film {number}", "good" if number % 4 else "bad") for number in range(100)]


def prepared(
    folder: Path,
    rows: Sequence[tuple[Any, ...]] = FILMS,
    spec: FineTuneJobSpec | None = None,
    *,
    tokenizer: Any = None,
    max_length: int = 32,
    **separate: Sequence[tuple[Any, ...]],
) -> PreparedData:
    spec = spec or classification()
    header = list(spec.dataset.columns.to_dict().values())
    files = {
        name: [local_file(folder, f"{name}.csv", csv_text(content, header))]
        for name, content in {"train": rows, **separate}.items()
    }
    return prepare(task_of(spec), spec, files, tokenizer or bert_like(), max_length)


def texts(split: EncodedSplit) -> list[str]:
    """`film 12`, of which `film 1 ##2` was made."""
    tokenizer = bert_like()
    rows = zip(split.offsets, split.offsets[1:], strict=False)
    decoded = [tokenizer.decode(split.tokens[start:end], skip_special_tokens=True) for start, end in rows]
    return [f"{text[:4]} {text[4:].replace('##', '').replace(' ', '')}" for text in decoded]


def classes(split: EncodedSplit) -> np.ndarray:
    assert isinstance(split.targets, ClassTargets)
    return split.targets.classes


def beginnings(split: EncodedSplit) -> np.ndarray:
    """Where the completion of each row begins."""
    assert isinstance(split.targets, TokenTargets)
    starts = zip(split.offsets, split.offsets[1:], strict=False)
    return np.array([split.targets.marks[start:end].argmax() for start, end in starts])


def counts(data: PreparedData) -> dict[str, int]:
    return {step.name: step.rows for step in data.report.cleaning if step.rows}


def test_a_classification_is_ready_to_train_on(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    assert data.space.labels == data.report.labels == ("bad", "good")
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 80, "validation": 10, "test": 10}
    for split in data.splits.values():
        assert len(classes(split)) == split.rows
        assert split.offsets[-1] == len(split.tokens)
        for text, label in zip(texts(split), classes(split), strict=True):
            assert (text, data.space.labels[label]) in FILMS


def test_the_report_tells_of_every_row_and_token(tmp_path: Path) -> None:
    rows = [
        *FILMS,
        ("film 0", "bad"),
        ("film 1", "bad"),
        (" ", "good"),
        ("film \x07", "good"),
        ("film " * 20, "bad"),
    ]
    data = prepared(tmp_path, rows, max_length=16)
    report = data.report
    assert report.rows_read == len(rows)
    assert counts(data) == {"unicodeNormalization": 1, "dropEmpty": 1, "dropDuplicates": 1, "conflictingDuplicates": 1}
    dropped = sum(step.rows for step in report.cleaning if step.dropped)
    assert report.rows_read - dropped == sum(split.rows for split in report.splits)
    assert sum(split.truncated for split in report.splits) == 1
    assert max(split.longest for split in report.splits) == 16
    for described in report.splits:
        encoded = data.splits[described.name]
        assert described.rows == encoded.rows
        assert described.tokens == len(encoded.tokens)
        assert described.longest == encoded.lengths.max()
        assert dict(described.label_rows)["good"] == (classes(encoded) == data.space.labels.index("good")).sum()


def test_the_report_names_the_files_with_their_digests(tmp_path: Path) -> None:
    spec = classification(test={"uri": "s3://data/test.csv"})
    files = {
        "train": [local_file(tmp_path, name, csv_text(FILMS)) for name in ("b.csv", "a.csv.gz")],
        "test": [local_file(tmp_path, "test.csv", csv_text([("new", "good")]))],
    }
    report = prepare(task_of(spec), spec, files, bert_like(), 32).report
    assert report.files == tuple(
        StoredFile(file.uri, file.size, file.sha256) for source in files.values() for file in source
    )


def test_given_labels_keep_their_order(tmp_path: Path) -> None:
    data = prepared(tmp_path, spec=classification(task={"labels": ["good", "bad"]}))
    assert data.space.labels == ("good", "bad")
    assert data.report.splits[0].label_rows == (("good", 61), ("bad", 19))


def test_found_integers_are_ordered_by_their_value(tmp_path: Path) -> None:
    data = prepared(tmp_path, [(f"film {number}", number % 12) for number in range(120)])
    assert data.space.labels == tuple(str(number) for number in range(12))


def test_rows_of_other_labels_can_be_dropped(tmp_path: Path) -> None:
    spec = classification(task={"labels": ["good", "bad"]}, cleaning={"dropOtherLabels": True})
    data = prepared(tmp_path, [*FILMS, *((f"plot {number}", "plot") for number in range(7))], spec)
    assert counts(data) == {"dropOtherLabels": 7}
    assert data.report.rows_read == 107


@pytest.mark.parametrize("drop_duplicates", [True, False])
def test_neither_the_order_of_rows_nor_of_files_changes_what_is_trained_on(
    tmp_path: Path, drop_duplicates: bool
) -> None:
    spec = classification(cleaning={"dropDuplicates": drop_duplicates})
    rows = [*FILMS, *FILMS[:10]]
    shuffled = random.Random(7).sample(rows, len(rows))
    one = prepared(tmp_path, rows, spec)
    parts = [local_file(tmp_path, f"{start}.csv", csv_text(shuffled[start : start + 40])) for start in (0, 40, 80)]
    other = prepare(task_of(spec), spec, {"train": list(reversed(parts))}, bert_like(), 32)
    for name, split in one.splits.items():
        assert split.tokens.tolist() == other.splits[name].tokens.tolist()
        assert classes(split).tolist() == classes(other.splits[name]).tolist()


def test_the_seed_of_the_split_changes_the_split(tmp_path: Path) -> None:
    one, other = (prepared(tmp_path, spec=classification(splitSeed=seed)).splits["test"] for seed in (0, 1))
    assert one.tokens.tolist() != other.tokens.tolist()


def test_a_split_that_is_not_asked_for_is_not_there(tmp_path: Path) -> None:
    data = prepared(tmp_path, spec=classification(validationFraction=0.0, testFraction=0.25))
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 75, "test": 25}
    assert list(prepared(tmp_path, spec=classification(validationFraction=0.0, testFraction=0.0)).splits) == ["train"]


def test_training_rows_that_stand_in_the_held_out_files_are_dropped(tmp_path: Path) -> None:
    spec = classification(validation={"uri": "s3://data/v.csv"}, test={"uri": "s3://data/t.csv"})
    data = prepared(
        tmp_path,
        spec=spec,
        validation=[("Film  1", "good"), ("film 2", "good"), ("new", "bad"), ("shared", "good")],
        test=[("FILM 3", "good"), ("shared ", "bad"), ("shared", "bad")],
    )
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 97, "validation": 3, "test": 3}
    assert counts(data) == {"leakedRows": 3, "leakedValidationRows": 1}
    assert data.report.rows_read == 107


def test_a_separate_validation_file_goes_with_a_test_share_of_the_rest(tmp_path: Path) -> None:
    spec = classification(validation={"uri": "s3://data/v.csv"}, testFraction=0.5)
    data = prepared(tmp_path, spec=spec, validation=[("film 1", "good"), ("new", "bad")])
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 49, "validation": 2, "test": 50}
    assert "film 1" in texts(data.splits["validation"])
    assert "film 1" not in texts(data.splits["train"]) + texts(data.splits["test"])


def test_pairs_carry_token_types(tmp_path: Path) -> None:
    spec = classification(columns={"text": "a", "textPair": "b", "label": "c"})
    data = prepared(tmp_path, [(f"what {i}", f"film {i}", i % 2) for i in range(40)], spec)
    for split in data.splits.values():
        assert split.token_types is not None
        assert len(split.token_types) == len(split.tokens)
        assert set(split.token_types.tolist()) == {0, 1}


def test_a_causal_job_learns_the_completions_only(tmp_path: Path) -> None:
    tokenizer = gpt_like(CHATML)
    rows = [(f"what film {number}", f"the story {number}") for number in range(50)]
    data = prepared(tmp_path, rows, causal(), tokenizer=tokenizer, max_length=128)
    assert data.space.labels == ()
    assert {name: split.rows for name, split in data.splits.items()} == {"train": 40, "validation": 5, "test": 5}
    for split in data.splits.values():
        for index, begin in enumerate(beginnings(split)):
            row = split.tokens[split.offsets[index] : split.offsets[index + 1]]
            assert tokenizer.decode(row[begin:]).startswith("the story ")
            assert tokenizer.decode(row[:begin]).endswith("<|im_start|>assistant\n")
    assert all(split.label_rows == () for split in data.report.splits)


def test_questions_stay_together_and_answers_without_room_are_counted(tmp_path: Path) -> None:
    rows = [(f"what {number // 2}", f"film {number}") for number in range(100)]
    rows += [("what film " * 30 + str(number), "bad") for number in range(5)]
    data = prepared(tmp_path, rows, causal(), tokenizer=gpt_like(), max_length=24)
    assert counts(data) == {"noTarget": 5}
    assert sum(split.rows for split in data.splits.values()) == 100
    prompts = []
    for split in data.splits.values():
        starts = zip(split.offsets, beginnings(split), strict=False)
        prompts.append({tuple(split.tokens[start : start + begin].tolist()) for start, begin in starts})
    assert sum(map(len, prompts)) == len(set().union(*prompts)) == 50


def test_formulas_are_trained_on_as_they_stand(tmp_path: Path) -> None:
    rows = [(f"=cmd|' /C calc {number}'!A0", "=good" if number % 2 else "+bad") for number in range(20)]
    data = prepared(tmp_path, rows)
    assert data.space.labels == ("+bad", "=good")
    encoded = data.splits["train"]
    first = bert_like().decode(encoded.tokens[1 : encoded.offsets[1]])
    assert first.replace(" ", "").replace("##", "").startswith("=cmd|'/ccalc")


def test_a_boolean_label_of_json_is_a_class(tmp_path: Path) -> None:
    content = jsonl_text([{"text": f"film {number}", "label": number % 2 == 0} for number in range(20)])
    data = prepare(
        task_of(classification()),
        classification(),
        {"train": [local_file(tmp_path, "r.jsonl", content)]},
        bert_like(),
        32,
    )
    assert data.space.labels == ("false", "true")


def test_the_arrays_travel_without_a_copy(tmp_path: Path) -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = prepared(tmp_path)
    pickled = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    arrays = [array for split in data.splits.values() for array in (split.tokens, split.offsets, classes(split))]
    arrays += [array for places in data.places.values() for array in (places.file, places.line)]
    assert [buffer.raw().nbytes for buffer in buffers] == [array.nbytes for array in arrays]
    restored = pickle.loads(pickled, buffers=buffers)
    assert restored.splits["train"].tokens.tolist() == data.splits["train"].tokens.tolist()


WHOLE = [1.0, 0.0, 1.0, None, 0.0, 1.0, float("nan"), 0.0, 1.0, 0.0, -0.0, 1.0]


def parquet(values: Sequence[Any], type_: pa.DataType | None = None) -> bytes:
    buffer = io.BytesIO()
    labels = pa.array(values, type_, from_pandas=False)
    pq.write_table(pa.table({"text": [f"film {number}" for number in range(len(values))], "label": labels}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("r.parquet", parquet(WHOLE), id="Parquet"),
        pytest.param("r.parquet", parquet(WHOLE, pa.float16()), id="Parquet of 16 bits"),
        pytest.param("r.jsonl", jsonl_text([{"text": f"{i}", "label": one} for i, one in enumerate(WHOLE)]), id="JSON"),
        pytest.param("r.csv", csv_text([(f"film {i}", one) for i, one in enumerate(WHOLE) if one == one]), id="CSV"),
    ],
)
def test_whole_numbers_with_a_decimal_point_are_the_integers_that_the_job_names(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    """T10."""
    spec = classification(task={"labels": ["0", "1"]}, validationFraction=0.2, testFraction=0.0)
    data = prepare(task_of(spec), spec, {"train": [local_file(tmp_path, name, content)]}, bert_like(), 32)
    assert data.space.labels == ("0", "1")
    assert sum(dict(split.label_rows)["1"] for split in data.report.splits) == 5
    assert sum(dict(split.label_rows)["0"] for split in data.report.splits) == 5


@pytest.mark.parametrize(
    ("names", "given", "labels"),
    [
        pytest.param(["sad", "happy", "cross"], None, ("sad", "happy", "cross"), id="in the file's order"),
        pytest.param([" sad", "happy", "cross"], None, ("sad", "happy", "cross"), id="as the labels are spelled"),
        pytest.param(["sad", "happy", "cross"], ["cross", "sad", "happy"], ("cross", "sad", "happy"), id="as given"),
        pytest.param(["sad", "happy", "cross"], ["2", "0", "1"], ("2", "0", "1"), id="given by their numbers"),
        pytest.param(["3", "1", "2"], ["1", "2", "3"], ("1", "2", "3"), id="given by names that are numbers"),
        pytest.param(["3", "1", "2"], None, ("3", "1", "2"), id="names that are numbers"),
    ],
)
def test_names_of_classes_that_a_parquet_file_carries_are_its_labels(
    tmp_path: Path, names: list[str], given: list[str] | None, labels: tuple[str, ...]
) -> None:
    """T11."""
    spec = classification(task={"labels": given} if given else None)
    columns = {"text": [f"film {number}" for number in range(40)], "label": [number % 4 - 1 for number in range(40)]}
    file = local_file(tmp_path, "r.parquet", with_classes(names, **columns))
    data = prepare(task_of(spec), spec, {"train": [file]}, bert_like(), 32)
    assert data.space.labels == labels
    assert counts(data) == {"dropEmpty": 10}
    assert {sum(dict(split.label_rows)[label] for split in data.report.splits) for label in labels} == {10}


def test_classes_of_several_files_stand_in_the_order_of_the_first_and_others_behind_them(tmp_path: Path) -> None:
    """T11."""
    texts = [f"film {number}" for number in range(40)]
    first = with_classes(["unused", "sad", "happy"], text=texts[:20], label=[number % 2 + 1 for number in range(20)])
    second = with_classes(["cross", "happy"], text=texts[20:], label=[number % 2 for number in range(20)])
    third = csv_text([(f"book {number}", ["z", "y"][number % 2]) for number in range(20)])
    files = [
        local_file(tmp_path, name, content)
        for name, content in (("1.parquet", first), ("2.parquet", second), ("3.csv", third))
    ]
    data = prepare(task_of(classification()), classification(), {"train": files}, bert_like(), 32)
    assert data.space.labels == ("sad", "happy", "cross", "y", "z")


@pytest.mark.parametrize(
    "metadata", ["", "null", "[]", '{"info": {"features": {"label": {"_type": "ClassLabel"}}}}', "{"]
)
def test_metadata_that_names_no_classes_is_passed_over(tmp_path: Path, metadata: str) -> None:
    buffer = io.BytesIO()
    table = pa.table(
        {"text": [f"film {number}" for number in range(40)], "label": [number % 2 for number in range(40)]}
    )
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), buffer)
    files = {"train": [local_file(tmp_path, "r.parquet", buffer.getvalue())]}
    assert prepare(task_of(classification()), classification(), files, bert_like(), 32).space.labels == ("0", "1")


def weights_of(data: PreparedData) -> list[float] | None:
    weights = data.space.loss.weights
    return None if weights is None else [round(weight, 6) for weight in weights]


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        pytest.param({}, None, id="none"),
        # 25 rows are bad and 75 good, of which the test and the validation get a fifth each.
        pytest.param({"classWeights": "Balanced"}, [60 / (2 * 15), round(60 / (2 * 45), 6)], id="balanced"),
        pytest.param({"weights": [{"label": "bad", "weight": 5}]}, [2.5, 0.5], id="given, to a mean of 1"),
    ],
)
def test_weights_of_labels_follow_from_the_training_split(
    tmp_path: Path, settings: dict[str, Any], weights: list[float] | None
) -> None:
    spec = classification(task={"sequenceClassification": settings}, validationFraction=0.2, testFraction=0.2)
    assert weights_of(prepared(tmp_path, spec=spec)) == weights


def test_a_weight_of_a_label_that_is_not_there_is_refused(tmp_path: Path) -> None:
    spec = classification(task={"sequenceClassification": {"weights": [{"label": "Good", "weight": 5}]}})
    with pytest.raises(
        RunError, match=r"sequenceClassification.weights: there is no label 'Good'; the labels are 'bad'"
    ):
        prepared(tmp_path, spec=spec)
