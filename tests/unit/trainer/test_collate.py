"""Rows as padded tensors."""

import numpy as np
import pytest
import torch

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.tasks.base import IGNORED
from kubetune_trainer.tasks.causal import TokenTargets
from kubetune_trainer.tasks.classification import ClassTargets
from kubetune_trainer.tasks.embedding import TextNumbers
from kubetune_trainer.training.collate import collate

PAD = 9
CPU = torch.device("cpu")
TOKENS = np.array([1, 2, 3, 4, 5, 6], dtype=np.int32)
OFFSETS = np.array([0, 1, 4, 6], dtype=np.int64)
TYPES = np.array([0, 0, 1, 1, 0, 1], dtype=np.uint8)

TEXTS = EncodedSplit(TOKENS, None, OFFSETS, ClassTargets(np.array([2, 0, 1], dtype=np.int32)))
PAIRS = EncodedSplit(TOKENS, TYPES, OFFSETS, ClassTargets(np.array([2, 0, 1], dtype=np.int32)))
COMPLETIONS = EncodedSplit(TOKENS, None, OFFSETS, TokenTargets(np.array([0, 0, 0, 1, 0, 1], dtype=np.bool_)))


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def test_rows_are_padded_on_the_right_to_the_longest() -> None:
    batch = collate(TEXTS, rows(2, 1, 0), PAD, CPU)
    assert batch.inputs["input_ids"].tolist() == [[5, 6, PAD], [2, 3, 4], [1, PAD, PAD]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert batch.targets.tolist() == [1, 0, 2]
    assert batch.rows.tolist() == [2, 1, 0]
    assert set(batch.inputs) == {"input_ids", "attention_mask"}


def test_the_padding_of_one_row_is_none() -> None:
    assert collate(TEXTS, rows(2), PAD, CPU).inputs["input_ids"].tolist() == [[5, 6]]


def test_pairs_carry_their_token_types() -> None:
    assert collate(PAIRS, rows(1, 2), PAD, CPU).inputs["token_type_ids"].tolist() == [[0, 1, 1], [0, 1, 0]]


def test_the_sequences_of_a_row_follow_one_another() -> None:
    split = EncodedSplit(
        np.arange(10, dtype=np.int32), None, np.array([0, 1, 4, 6, 10]), TextNumbers(np.array([[0, 1], [2, 3]])),
        parts=("anchor", "positive"),
    )  # fmt: skip
    assert (split.rows, split.lengths.tolist(), split.longest.tolist()) == (2, [4, 6], [3, 4])
    batch = collate(split, rows(1, 0), PAD, CPU)
    assert batch.inputs["input_ids"].tolist() == [[4, 5, 9, 9], [6, 7, 8, 9], [0, 9, 9, 9], [1, 2, 3, 9]]
    assert batch.inputs["attention_mask"].sum(dim=1).tolist() == [2, 4, 1, 3]
    assert batch.targets.tolist() == [[2, 3], [0, 1]]


def test_only_the_completion_is_a_target() -> None:
    batch = collate(COMPLETIONS, rows(0, 1, 2), PAD, CPU)
    assert batch.targets.tolist() == [[IGNORED] * 3, [IGNORED, IGNORED, 4], [IGNORED, 6, IGNORED]]


@pytest.mark.parametrize(
    ("split", "shape"),
    [
        pytest.param(TEXTS, (1,), id="classification"),
        pytest.param(COMPLETIONS, (1, 1), id="language model"),
    ],
)
def test_an_empty_share_is_one_row_that_teaches_nothing(split: EncodedSplit, shape: tuple[int, ...]) -> None:
    batch = collate(split, rows(), PAD, CPU)
    assert batch.inputs["input_ids"].tolist() == [[1]]
    assert batch.targets.shape == shape
    assert (batch.targets == IGNORED).all()
    assert len(batch.rows) == 0


@pytest.mark.parametrize(
    ("split", "targets"),
    [
        pytest.param(TEXTS, [1, 1, 1], id="one class a row"),
        pytest.param(COMPLETIONS, [0, 1, 1], id="the tokens of the completion"),
    ],
)
def test_targets_of_a_row(split: EncodedSplit, targets: list[int]) -> None:
    assert split.targets.per_row(split).tolist() == targets


def test_the_targets_of_a_batch_are_as_many_as_the_rows_say() -> None:
    everything = rows(0, 1, 2)
    counted = (collate(COMPLETIONS, everything, PAD, CPU).targets != IGNORED).sum(dim=1)
    assert counted.tolist() == COMPLETIONS.targets.per_row(COMPLETIONS).tolist()
