"""The rows that a model does worst on, of whatever batches and ranks they come from."""

import math

import numpy as np
import torch

from kubetune_api.job.task_settings import PreferenceSettings
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.shown_rows import WorstRow
from kubetune_trainer.tasks.base import IGNORED, Losses, MicroBatch
from kubetune_trainer.tasks.causal import CausalLanguageModel, TokenTargets, Vocabulary
from kubetune_trainer.tasks.classification import Classification, Labels
from kubetune_trainer.tasks.preference import Preference, Rewards
from kubetune_trainer.tasks.tagging import Tagging, Tags
from kubetune_trainer.training.worst import MOST_ROWS, WorstRows
from support.tiny_models import classification_rows

SPACE = Labels(("a", "b", "c"))


def found(losses: list[float], *batches: list[int]) -> list[WorstRow]:
    """What is found of rows with these losses, batch by batch; each is answered with "b"."""
    worst = WorstRows(Classification(), classification_rows(len(losses)))
    for rows in batches:
        of_rows = torch.tensor([losses[row] for row in rows])
        outputs = torch.tensor([[0.0, 1.0, 0.5]] * len(rows)).reshape(-1, 3)
        worst.add(Losses(of_rows, outputs), MicroBatch({}, torch.zeros(len(rows)), np.array(rows, dtype=np.int64)))
    return worst.of_this_rank(SPACE)


def test_the_greatest_losses_are_kept_the_worst_first_with_what_was_answered() -> None:
    worst = found([0.1, 3.0, 0.2, 5.0], [0, 1], [2, 3])
    assert [(row.row, row.answer) for row in worst] == [(3, "b"), (1, "b"), (2, "b"), (0, "b")]
    assert worst[0].loss == 5.0


def test_no_more_than_fifty_are_kept_and_of_equal_ones_the_first() -> None:
    rows = list(range(120))
    worst = found([1.0] * 120, rows[::-1])
    assert len(worst) == MOST_ROWS == 50
    split = found([float(row % 7) for row in rows], rows[70:], rows[:70])
    assert split == found([float(row % 7) for row in rows], rows)


def test_a_loss_that_is_no_number_is_the_worst() -> None:
    assert [row.row for row in found([9.0, math.nan, 10.0], [0, 1, 2])] == [1, 2, 0]


def test_a_batch_that_only_keeps_step_has_no_rows() -> None:
    worst = WorstRows(Classification(), classification_rows(1))
    worst.add(Losses(torch.zeros(1), torch.zeros(1, 3)), MicroBatch({}, torch.zeros(1), np.empty(0, dtype=np.int64)))
    assert worst.of_this_rank(SPACE) == []


def test_a_long_answer_is_not_worse_for_its_length_and_has_no_words() -> None:
    marks = np.array([False, True, False, True, True, True])
    split = EncodedSplit(np.arange(6, dtype=np.int32), None, np.array([0, 2, 6]), TokenTargets(marks))
    worst = WorstRows(CausalLanguageModel(), split)
    worst.add(Losses(torch.tensor([2.0, 3.0]), torch.zeros(2, 0)), MicroBatch({}, torch.zeros(2, 4), np.arange(2)))
    found = worst.of_this_rank(Vocabulary())
    assert [(row.row, row.loss, row.answer) for row in found] == [
        (0, 2.0, None),
        (1, 1.0, None),
    ]


def test_a_tagger_answers_with_the_tags_of_the_words_that_count() -> None:
    targets = torch.tensor([[IGNORED, 1, IGNORED, 2, 0, IGNORED]])
    losses = Losses(torch.ones(1), torch.tensor([[2, 1, 1, 1, 0, 2]]))
    tags = Tags(("O", "B-PER", "I-PER"))
    assert Tagging().answers(losses, MicroBatch({}, targets, np.array([0])), tags) == ["B-PER B-PER O"]


def test_a_preference_is_answered_with_its_margin() -> None:
    losses = Losses(torch.ones(3), torch.tensor([-1.5, 0.25, 0.0]))
    batch = MicroBatch({}, torch.zeros(3, 2, 4), np.arange(3))
    assert Preference().answers(losses, batch, Rewards(PreferenceSettings())) == [
        "the rejected answer, with a margin of 1.50",
        "the chosen answer, with a margin of 0.250",
        "neither answer",
    ]
