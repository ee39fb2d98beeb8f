"""Pairs of texts with a score: which scores there are, their loss, and how cosines follow them."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.rows import Row
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import DataReport, EvaluationRecord
from kubetune_trainer.tasks.base import MicroBatch
from kubetune_trainer.tasks.embedding import Embedding, VectorSpace
from kubetune_trainer.tasks.number_metrics import RegressionDetails
from kubetune_trainer.tasks.scored_pairs import cosine_losses
from support.tiny_models import spec_for
from support.tiny_tokenizers import bert_like

COLUMNS = {"sentence1": "a", "sentence2": "b", "score": "s"}


def spec(**parts: Any) -> FineTuneJobSpec:
    return spec_for("Embedding", dataset={"uri": "file:///data.csv", "columns": COLUMNS}, **parts)


def rows_of(*scores: float | str) -> list[Row]:
    names = ("sentence1", "sentence2", "score")
    return [
        Row(names, (f"the film {line}", "the cast", str(score).join("[]")), "file:///data.csv", line)
        for line, score in enumerate(scores, start=2)
    ]


def space_of(*scores: float | str) -> VectorSpace:
    return Embedding().space(spec(), {"train": rows_of(*scores)}, {})


@pytest.mark.parametrize("score", [3.8, -1.5, "0.5, 0.2"])
def test_a_score_that_is_no_cosine_is_refused_with_the_remedy(score: float | str) -> None:
    expected = (
        rf"file:///data.csv, line 3: the column 's' \(spec.dataset.columns.score\) holds {score}; a score is the cosine"
        r" of two vectors, one number from -1 to 1: divide scores of 0 to 5 by 5 in the data"
    )
    with pytest.raises(RunError, match=expected):
        space_of(0.5, score)


def test_a_score_of_a_held_out_row_is_judged_alike() -> None:
    with pytest.raises(RunError, match=r"line 2: .* holds 5;"):
        Embedding().space(spec(), {"train": rows_of(0, 1), "test": rows_of(5)}, {})


def test_scores_that_are_all_the_same_teach_nothing() -> None:
    with pytest.raises(RunError, match=r"spec.dataset.columns.score: every row has the score 0.5; pairs that are more"):
        space_of(0.5, 0.5)


def test_texts_that_are_all_the_same_may_have_different_scores() -> None:
    Embedding().refuse_untaught(spec(), space_of(0, 1), rows_of(0, 1))


def test_both_texts_are_sequences_and_the_row_has_its_score() -> None:
    rows, space = rows_of(0.25, 1, -1), space_of(0.25, 1, -1)
    split = Embedding().encode(rows, bert_like(), 16, space).split
    padded = split.targets.padded(split, np.array([2, 0]), 9)
    assert (split.rows, split.parts, split.compares_rows) == (3, ("sentence1", "sentence2"), False)
    assert padded == pytest.approx(np.array([[-1, -1 / 3], [0.25, 0]]), abs=1e-6)
    assert split.targets.learned(split, 0, ()) == "0.25"


def test_the_same_two_texts_stay_together_whichever_is_first() -> None:
    names = ("sentence1", "sentence2", "score")
    one, other = (Row(names, (*texts, "[1]"), "file:///a", 1) for texts in (("x", "y"), ("y", "x")))
    third = Row(names, ("x", "z", "[1]"), "file:///a", 2)
    group = Embedding().group
    assert group(one) == group(other) != group(third)


def test_the_loss_is_the_squared_difference_of_cosine_and_score() -> None:
    vectors = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [0.0, -1.0]]])
    losses = cosine_losses(vectors, torch.tensor([[0.5, 0.0], [1.0, 0.5]]))
    assert losses.rows.tolist() == pytest.approx([0.01, 4.0], abs=1e-6)
    assert losses.outputs.tolist() == pytest.approx(np.array([[0.6], [-1.0]]), abs=1e-6)


def judged(cosines: np.ndarray, scores: np.ndarray) -> tuple[dict[str, float], RegressionDetails]:
    task, space = Embedding(), space_of(*scores)
    split = task.encode(rows_of(*scores), bert_like(), 16, space).split
    order = np.arange(len(scores))
    batch = MicroBatch({}, torch.from_numpy(split.targets.padded(split, order, 9)), order)
    angles = torch.from_numpy(np.arccos(cosines))
    first = torch.tensor([[1.0, 0.0]]).repeat(len(order), 1)
    second = torch.stack([angles.cos(), angles.sin()], dim=1).float()
    tally = task.tally(cosine_losses(torch.stack([first, second], dim=1), batch.targets), batch, space)
    found = task.measure({name: counts.double().numpy() for name, counts in tally.items()}, space)
    assert isinstance(found.details, RegressionDetails)
    return found.metrics, found.details


def test_correlations_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    scores = random.integers(0, 21, 400) / 20
    cosines = np.clip(scores + random.normal(0, 0.2, 400), -1, 1)
    metrics, details = judged(cosines, scores)
    assert metrics["pearson"] == pytest.approx(stats.pearsonr(cosines, scores)[0], abs=1e-4)
    assert metrics["spearman"] == pytest.approx(stats.spearmanr(cosines, scores)[0], abs=1e-3)
    assert metrics["loss"] == pytest.approx(np.mean((cosines - scores) ** 2), abs=1e-5)
    assert sum(rows for *_, rows in details.scatter[0].cells) == 400


def test_cosines_that_are_all_the_same_are_told() -> None:
    scores = np.linspace(0, 1, 20)
    for spread, found in ((0.01, True), (0.5, False)):
        metrics, details = judged(0.5 + spread * (scores - 0.5), scores)
        evaluation = EvaluationRecord("test", 1, 1.0, metrics, details)
        sentences = list(Embedding().findings(evaluation, DataReport((), 0, (), ())))
        assert any("cosines of the test split are nearly all the same" in each for each in sentences) == found
