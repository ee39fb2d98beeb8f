"""Words and their tags: from cells of any kind to a tag for the first token of each word."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_trainer.data import PreparedData, prepare
from kubetune_trainer.data.encode_words import encode_words
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.tagged import tagged
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.tagging import TagTargets
from support.data_files import csv_text, jsonl_text, local_file, tagging
from support.tiny_tokenizers import bert_like, gpt_like, llama_2_like, llama_like, t5_like

WORDS = {"tokens": "words", "tags": "ner"}
SPANS = {"text": "text", "spans": "entities"}
NONE_HELD_OUT = {"validationFraction": 0, "testFraction": 0}
EU = (["EU", "rejects", "German", "films"], ["B-ORG", "O", "B-MISC", "O"])


def spec_of(columns: dict[str, str] = WORDS, labels: list[str] | None = None, **dataset: Any) -> FineTuneJobSpec:
    return tagging(columns, task={} if labels is None else {"labels": labels}, **{**NONE_HELD_OUT, **dataset})


def prepared(
    folder: Path, content: str | bytes, name: str = "a.jsonl", spec: FineTuneJobSpec | None = None, **more: Any
) -> PreparedData:
    spec = spec or spec_of()
    tokenizer, length = more.pop("tokenizer", None) or bert_like(), more.pop("max_length", 32)
    files = {split: [local_file(folder, f"{split}.jsonl", text)] for split, text in more.items()}
    return prepare(task_of(spec), spec, {"train": [local_file(folder, name, content)], **files}, tokenizer, length)


def rows_of(*rows: tuple[list[str], list[Any]]) -> str:
    return jsonl_text([{"words": words, "ner": tags} for words, tags in rows])


def learned(data: PreparedData, row: int = 0, split: str = "train", tokenizer: Any = None) -> list[tuple[str, str]]:
    """The tokens that have a tag, with it."""
    found = data.splits[split]
    assert isinstance(found.targets, TagTargets)
    start, end = found.offsets[row], found.offsets[row + 1]
    pairs = zip(found.tokens[start:end].tolist(), found.targets.tags[start:end].tolist(), strict=True)
    tokens = (tokenizer or bert_like()).convert_ids_to_tokens
    return [(tokens(token), data.space.labels[tag]) for token, tag in pairs if tag != -100]


def refused(folder: Path, content: str, **more: Any) -> str:
    with pytest.raises(RunError) as caught:
        prepared(folder, content, **more)
    assert caught.value.reason == Reason.INVALID_DATA
    return str(caught.value)


def test_the_first_token_of_each_word_has_its_tag_and_no_other_token(tmp_path: Path) -> None:
    data = prepared(tmp_path, rows_of((["great", "stories", "was"], ["B-A", "I-A", "O"])))
    assert learned(data) == [("great", "B-A"), ("s", "I-A"), ("was", "O")]
    assert data.splits["train"].targets.per_row(data.splits["train"]).tolist() == [3]
    assert data.report.samples[0].answer == "B-A I-A O"


@pytest.mark.parametrize("make", [bert_like, t5_like], ids=lambda make: make.__name__)
def test_tokens_and_words_are_those_of_a_tokenizer_that_is_given_words(make: Callable[[], Any]) -> None:
    words, tokenizer = ["the", "film's", "great!", "unheard-of", "cast", "(2)"], make()
    tokens = encode_words([row(words)], tokenizer, 64)
    theirs = tokenizer(words, is_split_into_words=True)
    before, begins = None, []
    for word in theirs.word_ids():
        begins.append(-1 if word is None or word == before else word)
        before = word
    assert tokens.tokens.tolist() == theirs["input_ids"]
    assert tokens.begins.tolist() == begins


def row(words: list[str]) -> Row:
    cells = (json.dumps(words, ensure_ascii=False), json.dumps(["O"] * len(words)))
    return Row(("tokens", "tags"), cells, "s3://data/a.jsonl", 3)


@pytest.mark.parametrize("make", [bert_like, gpt_like, llama_like, t5_like], ids=lambda make: make.__name__)
def test_every_word_is_found_whatever_the_tokenizer_makes_of_spaces(make: Callable[[], Any]) -> None:
    words, tokenizer = ["the", "film", "zz", "was", "9", "!", "great"], make()
    begins = encode_words([row(words)], tokenizer, 64).begins
    assert begins[begins >= 0].tolist() == list(range(len(words)))


def test_a_token_of_two_words_has_the_tag_of_the_first(tmp_path: Path) -> None:
    data = prepared(tmp_path, rows_of((["the", "film", "was"], ["B-A", "O", "O"])), tokenizer=llama_2_like())
    assert learned(data, tokenizer=llama_2_like())[0] == ("▁the▁film", "B-A")
    assert any(note.startswith("1 word of 3 of the training split are not learned") for note in data.report.notes)


def test_a_control_token_among_the_words_stays_letters(tmp_path: Path) -> None:
    tokens = encode_words([row(["the", "[SEP]", "film"])], tokenizer := bert_like(), 64)
    assert tokens.tokens.tolist().count(tokenizer.sep_token_id) == 1
    assert tokens.begins[tokens.begins >= 0].tolist() == [0, 1, 2]


def test_words_behind_the_greatest_length_are_not_learned_and_rows_cut_are_counted(tmp_path: Path) -> None:
    data = prepared(tmp_path, rows_of((["film"] * 9, ["B-A"] * 9), (["cast", "was"], ["O", "O"])), max_length=8)
    assert len(learned(data)) == 6 or len(learned(data, 1)) == 6
    assert data.report.splits[0].truncated == 1
    assert any(note.startswith("3 words of 11 of the training split are not learned") for note in data.report.notes)


def test_words_keep_their_number_when_they_are_normalized(tmp_path: Path) -> None:
    data = prepared(tmp_path, rows_of((["cafe\u0301", "\x00", "film"], ["B-A", "O", "O"])))
    assert learned(data) == [("c", "B-A"), ("film", "O")]
    assert data.report.cleaning[0].rows == 1


def test_lists_of_a_text_are_read_from_csv_with_spaces_or_as_json(tmp_path: Path) -> None:
    cells = [("the film", "B-A O"), ('["great", "cast"]', '["B-A", "O"]')]
    data = prepared(tmp_path, csv_text(cells, ("words", "ner")), "a.csv")
    assert sorted(learned(data, 0) + learned(data, 1)) == [
        ("cast", "O"),
        ("film", "O"),
        ("great", "B-A"),
        ("the", "B-A"),
    ]


def parquet(feature: Any, tags: list[list[int]]) -> bytes:
    table, buffer = pa.table({"words": [["the", "film"]] * len(tags), "ner": tags}), io.BytesIO()
    metadata = {"huggingface": json.dumps({"info": {"features": {"ner": feature}}})}
    pq.write_table(table.replace_schema_metadata(metadata), buffer)
    return buffer.getvalue()


CLASSES = {"names": ["O", "B-PER", "I-PER", "B-LOC"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "feature",
    [[CLASSES], {"feature": CLASSES, "_type": "Sequence"}, {"feature": CLASSES, "_type": "List"}],
    ids=["a list", "a Sequence", "a List"],
)
def test_numbers_are_the_classes_that_a_file_names(tmp_path: Path, feature: Any) -> None:
    data = prepared(tmp_path, parquet(feature, [[1, 0]]), "a.parquet")
    assert learned(data) == [("the", "B-PER"), ("film", "O")]
    assert data.space.labels == ("O", "B-PER", "I-PER")


def test_numbers_are_the_tags_that_the_manifest_names_in_its_order(tmp_path: Path) -> None:
    spec = spec_of(labels=["O", "I-A", "B-A"])
    data = prepared(tmp_path, rows_of((["the", "film"], [2, 0])), spec=spec)
    assert learned(data) == [("the", "B-A"), ("film", "O")]
    assert data.space.labels == ("O", "I-A", "B-A")


def test_a_type_that_begins_may_go_on_in_the_validation_data(tmp_path: Path) -> None:
    spec = tagging(WORDS, testFraction=0, validation={"uri": "s3://data/v.jsonl"})
    train, validation = rows_of((["the", "film"], ["B-A", "O"])), rows_of((["a", "cast"], ["B-A", "I-A"]))
    data = prepared(tmp_path, train, spec=spec, validation=validation)
    assert data.space.labels == ("O", "B-A", "I-A")
    assert learned(data, split="validation") == [("a", "B-A"), ("cast", "I-A")]
    assert "no word that is trained on has the tag I-A: the model will hardly give it" in data.report.notes


def test_entities_of_a_text_become_tags_of_whole_words(tmp_path: Path) -> None:
    text = "The great cast (dull): 好film"
    entities = [
        {"start": 4, "end": 14, "label": "GROUP"}, {"start": 16, "end": 20, "label": "MOOD"}, [23, 27, "FILM"],
    ]  # fmt: skip
    rows = jsonl_text([{"text": text, "entities": entities}, {"text": "a film", "entities": []}])
    data = prepared(tmp_path, rows, spec=spec_of(SPANS))
    tags = next(learned(data, row) for row in (0, 1) if len(learned(data, row)) > 2)
    assert [tag for _, tag in tags] == [
        "O", "B-GROUP", "I-GROUP", "O", "B-MOOD", "O", "O", "B-FILM", "I-FILM",
    ]  # fmt: skip
    assert "1 span begin or end within a word: the whole word has the tag" in data.report.notes


def test_a_text_with_spans_is_left_as_it_is_since_they_count_its_characters(tmp_path: Path) -> None:
    rows = jsonl_text([{"text": "cafe\u0301\x00 film", "entities": [{"start": 7, "end": 11, "label": "A"}]}])
    assert learned(prepared(tmp_path, rows, spec=spec_of(SPANS)))[-1] == ("film", "B-A")


def test_labels_name_the_types_of_spans(tmp_path: Path) -> None:
    rows = jsonl_text([{"text": "the film", "entities": [[4, 8, "A"]]}, {"text": "a cast", "entities": [[2, 6, "B"]]}])
    spec = spec_of(SPANS, labels=["B", "C"], cleaning={"dropOtherLabels": True})
    data = prepared(tmp_path, rows, spec=spec)
    assert data.space.labels == ("O", "B-B", "I-B", "B-C", "I-C")
    assert [(step.name, step.rows) for step in data.report.cleaning if step.name == "dropOtherLabels"] == [
        ("dropOtherLabels", 1)
    ]


def test_rows_with_a_tag_that_the_job_does_not_use_are_dropped_on_demand(tmp_path: Path) -> None:
    spec = spec_of(labels=["O", "B-A"], cleaning={"dropOtherLabels": True})
    data = prepared(tmp_path, rows_of((["the", "film"], ["B-A", "O"]), (["a"], ["B-B"])), spec=spec)
    assert data.splits["train"].rows == 1


def test_entities_that_begin_with_i_are_learned_and_noted(tmp_path: Path) -> None:
    notes = prepared(tmp_path, rows_of((["the", "film", "was"], ["I-A", "B-A", "O"]))).report.notes
    assert any(note.startswith("1 entity begin with I- and not with B-, as in IOB1") for note in notes)


@pytest.mark.parametrize(
    ("words", "tags", "said"),
    [
        pytest.param(["a", "film"], ["O"], "2 tokens and 1 tag; each token needs one tag", id="too few tags"),
        pytest.param(["a", 3], ["O", "B-A"], "holds an integer in its list; a word must be a string", id="a number"),
        pytest.param(["a"], [None], "holds a missing value in its list", id="a missing tag"),
        pytest.param(["a", "b"], [0, 1], "numbers without names; name the tags in spec.task.labels", id="numbers"),
        pytest.param(["a", "b"], ["U-A", "O"], "write E- for L-, S- for U-, and I- for M-", id="BILOU"),
        pytest.param(["a", "b"], ["A-B", "A-I"], "write B-PER for PER-B", id="the place behind the type"),
        pytest.param(["a", "b"], ["B-A", "A"], "('A') that are plain beside others", id="a mixture"),
        pytest.param(
            ["a", "b"], ["O", "O"], "every word has the tag 'O'; there is nothing to tell apart", id="one tag"
        ),
        pytest.param({"a": 1}, ["O"], "holds an object; write a list of words", id="no list"),
    ],
)
def test_words_and_tags_that_do_not_fit_are_refused(tmp_path: Path, words: Any, tags: list[Any], said: str) -> None:
    assert said in refused(tmp_path, rows_of((words, tags)))


@pytest.mark.parametrize(
    ("entities", "said"),
    [
        pytest.param([[0, 99, "A"]], "the entity 'A' is from 0 to 99, and the text has 8 characters", id="too far"),
        pytest.param([[3, 3, "A"]], "is from 3 to 3; start and end are whole numbers", id="of nothing"),
        pytest.param([[3, 4, "A"]], "from 3 to 4, and there is no word", id="of a space"),
        pytest.param([[0, 8, "A"], [4, 8, "B"]], "another entity has a word of it", id="overlapping"),
        pytest.param([{"start": 0, "label": "A"}], "entity 1, has no end", id="without an end"),
        pytest.param(["A"], "entity 1, is a value of type str; write", id="a word"),
        pytest.param({"start": 0}, "holds an object; write a list", id="no list"),
    ],
)
def test_spans_that_do_not_fit_are_refused(tmp_path: Path, entities: Any, said: str) -> None:
    rows = jsonl_text([{"text": "the film", "entities": entities}])
    assert said in refused(tmp_path, rows, spec=spec_of(SPANS))


def test_a_python_list_in_a_cell_of_csv_is_refused_with_the_remedy(tmp_path: Path) -> None:
    content = csv_text([("['the', 'film']", "B-A O")], ("words", "ner"))
    assert "in Python json.dumps, not str" in refused(tmp_path, content, name="a.csv")


def test_tags_that_the_manifest_does_not_name_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, rows_of(EU), spec=spec_of(labels=["O", "B-ORG"]))
    assert "has tags that spec.task.labels does not name: 'B-MISC'" in said


def test_a_number_without_a_name_is_refused(tmp_path: Path) -> None:
    assert "holds the tag 7, and spec.task.labels names those of 0 to 1" in refused(
        tmp_path, rows_of((["a"], [7])), spec=spec_of(labels=["O", "B-A"])
    )


def test_a_number_of_thousands_of_digits_is_refused_as_any_other_without_a_name(tmp_path: Path) -> None:
    said = refused(tmp_path, rows_of((["a"], ["7" * 5000])), spec=spec_of(labels=["O", "B-A"]))
    assert "holds the tag 777" in said
    assert "and spec.task.labels names those of 0 to 1" in said
    assert len(said) < 500


class Place(int):
    """A character's number that counts how often places are compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        Place.compared += 1
        return int(self) < other

    def __gt__(self, other: int) -> bool:
        Place.compared += 1
        return int(self) > other


def test_the_words_of_a_span_are_found_without_looking_at_all_words(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = [[place, place + 1, "A"] for place in range(0, 4000, 4)]
    read = json.loads
    monkeypatch.setattr(
        json, "loads", lambda text: [[Place(start), Place(end), label] for start, end, label in read(text)]
    )
    row = Row(("text", "spans"), ("a " * 2000, json.dumps(spans)), "a.jsonl", 1)
    assert tagged(row).tags == ("B-A", "O") * 1000
    assert Place.compared < 100 * len(spans)


def test_a_tokenizer_that_does_not_know_its_places_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(RunError, match=r"choose a model with a tokenizer\.json"):
        encode_words([row(["a"])], Slow(), 32)


def test_rows_with_the_same_words_are_one_group(tmp_path: Path) -> None:
    task = task_of(spec_of())
    assert task.group(row(["The", "film"])) == task.group(row(["the", "film"])) != task.group(row(["a", "film"]))
    assert np.issubdtype(encode_words([row(["a"])], bert_like(), 8).begins.dtype, np.integer)
