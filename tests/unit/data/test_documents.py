"""Texts that a model learns to go on with: every token is learned once, and the one that ends a text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kubetune_trainer.data import prepare
from kubetune_trainer.data.encode_documents import Documents, encode_documents
from kubetune_trainer.data.rows import Row
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import DataReport
from kubetune_trainer.tasks.base import CardText
from kubetune_trainer.tasks.causal import CausalLanguageModel, TokenTargets, Vocabulary
from support.data_files import csv_text, documents, local_file
from support.tiny_models import spec_for
from support.tiny_tokenizers import CHATML, WORDS, bert_like, gpt_like, llama_like

TASK, SPACE = CausalLanguageModel(), Vocabulary(of_documents=True)
EACH = pytest.mark.parametrize("make", [gpt_like, llama_like], ids=["without a first token", "with a first token"])


def rows(*texts: str) -> list[Row]:
    return [Row(("text",), (text,), "s3://data/a.csv", line) for line, text in enumerate(texts, 2)]


def long_text(words: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def pieces(found: Documents, marks: bool = False) -> list[list[Any]]:
    values = found.tokens.learned if marks else found.tokens.tokens
    return [part.tolist() for part in np.split(values, found.tokens.offsets[1:-1])]


def words(tokenizer: Any, found: Documents, piece: int = 0) -> list[str]:
    kept: list[str] = tokenizer.convert_ids_to_tokens(pieces(found)[piece])
    return kept


def test_a_text_is_learned_from_its_second_token_to_the_one_that_ends_it() -> None:
    tokenizer = gpt_like()
    found = encode_documents(rows("the film was great"), tokenizer, 32)
    assert words(tokenizer, found) == ["the", "Ġfilm", "Ġwas", "Ġgreat", "<|endoftext|>"]
    assert pieces(found, marks=True) == [[False, True, True, True, True]]


def test_a_model_that_begins_each_text_with_a_token_learns_the_whole_text() -> None:
    tokenizer = llama_like()
    found = encode_documents(rows("the film"), tokenizer, 32)
    assert words(tokenizer, found) == ["<s>", "▁the", "▁film", "</s>"]
    assert pieces(found, marks=True) == [[False, True, True, True]]


def test_a_chat_template_writes_nothing_into_a_text() -> None:
    tokenizer = gpt_like(CHATML)
    found = encode_documents(rows("the film"), tokenizer, 32)
    assert words(tokenizer, found) == ["the", "Ġfilm", "<|im_end|>"]


@EACH
@pytest.mark.parametrize("longest", [8, 9, 13, 57, 58, 59, 200])
def test_each_token_of_a_long_text_is_learned_once_after_those_before_it(make: Callable[[], Any], longest: int) -> None:
    tokenizer = make()
    whole = encode_documents(rows(long_text(57)), tokenizer, 10_000)
    found = encode_documents(rows(long_text(57)), tokenizer, longest)
    assert max(map(len, pieces(found))) <= longest
    learned = found.tokens.tokens[found.tokens.learned]
    assert learned.tolist() == whole.tokens.tokens[1:].tolist()
    opening = pieces(whole)[0][: int(make is llama_like)]
    for before, behind in zip(pieces(found), pieces(found)[1:], strict=False):
        assert behind[: len(opening) + 1] == [*opening, before[-1]]


def test_only_the_last_sequence_of_a_text_ends_it() -> None:
    tokenizer = gpt_like()
    found = encode_documents(rows(long_text(34), "the film"), tokenizer, 16)
    ends = [part[-1] == tokenizer.eos_token_id for part in pieces(found)]
    assert ends == [False, False, True, True]
    assert found.sources.tolist() == [0, 0, 0, 1]
    assert found.divided == 1


def test_a_text_that_spells_a_control_token_is_learned_as_letters() -> None:
    tokenizer = gpt_like()
    text = "the film <|endoftext|> was good"
    (found,) = pieces(encode_documents(rows(text), tokenizer, 99))
    assert found.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(found[:-1]) == text


def test_a_text_of_which_no_token_is_left_is_not_kept() -> None:
    encoded = TASK.encode(rows("the film", "", "a cast"), gpt_like(), 32, SPACE)
    assert encoded.sources.tolist() == [0, 2]


def test_a_tokenizer_that_ends_nothing_is_refused() -> None:
    with pytest.raises(RunError, match="the model's tokenizer has no end-of-sequence token"):
        TASK.encode(rows("the film"), bert_like(), 32, SPACE)


def test_long_texts_are_noted_with_the_rows_that_they_become() -> None:
    encoded = TASK.encode(rows(long_text(34), "the film"), gpt_like(), 16, SPACE)
    assert encoded.notes == (
        "1 of 2 texts of the training data are longer than 16 tokens (spec.task.maxLength, the model's own limit"
        " considered) and are learned as several sequences, whose number, 4, is that of the rows of the training split",
    )
    assert (encoded.split.rows, encoded.truncated) == (4, 0)
    assert TASK.encode(rows("the film"), gpt_like(), 16, SPACE).notes == ()


def test_the_published_model_stops_where_a_text_ends_and_is_asked_nothing() -> None:
    tokenizer = gpt_like(CHATML)
    tokenizer.eos_token = "<|endoftext|>"
    stops = TASK.generation.stop_tokens(tokenizer, [], SPACE)
    assert stops == [tokenizer.eos_token_id]
    assert TASK.generation.stop_tokens(tokenizer, [], Vocabulary()) != stops
    encoded = TASK.encode(rows("the film", "a cast"), tokenizer, 32, SPACE)
    assert isinstance(encoded.split.targets, TokenTargets)
    assert TASK.generation.answers(encoded.split, tokenizer) == ()


def test_the_card_shows_how_a_text_is_continued_without_a_template() -> None:
    def card(*fields: str) -> CardText:
        return TASK.card(spec_for("CausalLM"), DataReport(files=(), rows_read=2, cleaning=(), splits=(), fields=fields))

    assert "apply_chat_template" not in card("text").usage
    assert "it was not taught to answer" in card("text").limits
    assert "apply_chat_template" in card("messages").usage


def test_a_template_that_fits_no_answer_does_not_matter_to_texts() -> None:
    tokenizer = gpt_like("{{ raise_exception('never') }}")
    assert list(TASK.data_notes({"train": rows("the film")}, tokenizer)) == []


def test_texts_in_chat_markup_are_noted_with_the_column_to_use() -> None:
    (note,) = TASK.data_notes({"train": rows("the film", "<|im_start|>user\nwhat<|im_end|>")}, gpt_like(CHATML))
    assert note == (
        "s3://data/a.csv, line 3: the text already is in chat markup ('<|im_start|>'), as 1 row of 2 is; it is trained"
        " as plain letters, not as control tokens; give each turn as a message of its own in"
        " spec.dataset.columns.messages, and its bare text as the content"
    )


def test_a_text_is_in_one_split_with_all_its_sequences_and_known_by_its_place(tmp_path: Path) -> None:
    spec = documents(testFraction=0.25, validationFraction=0.25)
    texts = [(long_text(30 + number, seed=number),) for number in range(20)]
    files = {"train": [local_file(tmp_path, "texts.csv", csv_text([*texts, texts[3]], ["body"]))]}
    data = prepare(TASK, spec, files, gpt_like(), 16)
    lines = {name: {places.of(row) for row in range(data.splits[name].rows)} for name, places in data.places.items()}
    assert (len(lines["test"]), len(lines["validation"])) == (5, 5)
    assert not lines["test"] & lines["validation"]
    assert all(data.splits[name].rows > 10 for name in data.splits)
    dropped = {step.name: step.rows for step in data.report.cleaning if step.rows}
    assert dropped == {"dropDuplicates": 1}
    assert data.report.fields == ("text",)
    assert [split.truncated for split in data.report.splits] == [0, 0, 0]


def test_slices_take_in_all_sequences_of_their_texts(tmp_path: Path) -> None:
    spec = documents(evaluation={"slices": [{"name": "one", "column": "lang", "values": ["de"]}]}, testFraction=0.5)
    texts = [(long_text(40, seed=number), "de" if number % 2 else "en") for number in range(12)]
    files = {"train": [local_file(tmp_path, "texts.csv", csv_text(texts, ["body", "lang"]))]}
    data = prepare(TASK, spec, files, gpt_like(), 16)
    test, places = data.splits["test"], data.places["test"]
    german = {f"line {line}" for line, (_, lang) in enumerate(texts, 2) if lang == "de"}
    assert [places.of(row).rpartition(", ")[2] in german for row in range(test.rows)] == test.slices["one"].tolist()
    assert test.slices["one"].any()
