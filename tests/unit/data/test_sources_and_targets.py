"""From a source and its target to two sequences of tokens, of which the second always ends."""

from typing import Any

import numpy as np
import pytest

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.samples import samples_of
from kubetune_trainer.data.tokens import Encoded
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks.seq2seq import SequenceTargets, SequenceToSequence, WrittenTexts
from support.tiny_models import written_rows
from support.tiny_tokenizers import bert_like, gpt_like

TASK = SequenceToSequence()


def rows(*pairs: tuple[str, str]) -> list[Row]:
    return [Row(("source", "target"), pair, "s3://data/a.csv", line) for line, pair in enumerate(pairs, 2)]


def ending_itself() -> Any:
    """Puts the end-of-sequence token behind each text, as T5's does."""
    tokenizer = bert_like()
    tokenizer.eos_token = "[SEP]"
    return tokenizer


def targets_of(encoded: Encoded, tokenizer: Any) -> list[list[str]]:
    targets = encoded.split.targets
    assert isinstance(targets, SequenceTargets)
    return [tokenizer.convert_ids_to_tokens(targets.of(row)) for row in range(encoded.split.rows)]


def test_a_target_ends_where_the_tokenizer_ends_each_text() -> None:
    tokenizer = ending_itself()
    encoded = TASK.encode(rows(("the film was great", "great film")), tokenizer, 16, WrittenTexts(16))
    assert targets_of(encoded, tokenizer) == [["[CLS]", "great", "film", "[SEP]"]]
    assert encoded.split.lengths.tolist() == [6]
    assert encoded.split.targets.per_row(encoded.split).tolist() == [4]


def test_a_target_ends_where_the_tokenizer_ends_none() -> None:
    tokenizer = gpt_like()
    pairs = rows(("the film", "good"), ("a story", "bad cast"))
    encoded = TASK.encode(pairs, tokenizer, 16, WrittenTexts(16))
    found = [tokenizer.decode(encoded.split.targets.learned(encoded.split, row, ())) for row in (0, 1)]
    assert found == ["good<|endoftext|>", "bad cast<|endoftext|>"]


@pytest.mark.parametrize("make", [ending_itself, gpt_like])
def test_a_target_that_is_cut_ends_all_the_same_and_is_noted(make: Any) -> None:
    tokenizer = make()
    long = "the film was great " * 9
    encoded = TASK.encode(rows(("a", long), ("a film", "good")), tokenizer, 16, WrittenTexts(7))
    targets = encoded.split.targets
    assert isinstance(targets, SequenceTargets)
    assert len(targets.of(0)) == 7
    assert [targets.of(row)[-1] for row in (0, 1)] == [tokenizer.eos_token_id] * 2
    assert encoded.notes == (
        "1 of 2 targets of the training data are longer than 7 tokens and are cut, so the model learns to end as they"
        " do; raise spec.task.seq2Seq.maxTargetLength",
    )
    assert encoded.truncated == 0


def test_a_row_of_which_nothing_is_left_takes_its_target_along() -> None:
    """The tokenizer drops what it takes for a control character."""
    tokenizer = gpt_like()
    pairs = rows(("", "good"), ("the film", "bad"), ("a story", ""), ("a cast", "dull"))
    encoded = TASK.encode(pairs, tokenizer, 16, WrittenTexts(16))
    assert encoded.sources.tolist() == [1, 3]
    assert [words[:-1] for words in targets_of(encoded, tokenizer)] == [
        tokenizer.tokenize("bad"),
        tokenizer.tokenize("dull"),
    ]


def test_a_tokenizer_that_ends_nothing_is_refused() -> None:
    tokenizer = bert_like()
    with pytest.raises(RunError, match="the tokenizer has no end-of-sequence token, so no target would end"):
        TASK.encode(rows(("a", "b")), tokenizer, 16, WrittenTexts(16))


def test_the_sample_shows_the_source_and_the_whole_target() -> None:
    tokenizer = ending_itself()
    encoded = TASK.encode(rows(("the film was great", "great film")), tokenizer, 16, WrittenTexts(16))
    (sample,) = samples_of(encoded.split, WrittenTexts(16), tokenizer)
    assert "".join(piece.text for piece in sample.pieces) == "[CLS] the film was great [SEP]"
    assert (sample.answer, sample.tokens) == ("[CLS] great film [SEP]", 6)
    assert not any(piece.counted for piece in sample.pieces)


def test_targets_are_padded_to_the_longest_of_the_batch_alone() -> None:
    split = written_rows(9)
    assert isinstance(split.targets, SequenceTargets)
    padded = split.targets.padded(split, np.array([0, 4, 7]), 99)
    lengths = split.targets.per_row(split)[[0, 4, 7]]
    assert padded.shape == (3, lengths.max())
    assert ((padded != -100).sum(axis=1) == lengths).all()


def test_the_shortest_targets_of_sources_that_are_not_long_are_asked_for() -> None:
    split = written_rows(20)
    assert isinstance(split.targets, SequenceTargets)
    found = TASK.generation.answers(split, None)
    assert [len(answer.tokens) for answer in found] == sorted(split.targets.per_row(split).tolist())[:3]
    assert all(answer.tokens[-1] == 2 for answer in found)
    one = SequenceTargets(split.targets.of(0), np.array([0, len(split.targets.of(0))]))
    long = EncodedSplit(np.ones(600, np.int32), None, np.array([0, 600]), one)
    assert TASK.generation.answers(long, None) == []
