"""Probabilities of answers: how they rank, and how far they can be believed, from counts in bins."""

from math import isnan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from kubetune_trainer.tasks.base import IGNORED, Losses, MicroBatch
from kubetune_trainer.tasks.classification import Classification, Labels
from kubetune_trainer.tasks.scores import (
    CALIBRATION_BINS,
    calibration_bins,
    calibration_error,
    ranking,
    score_bins,
    score_counts,
)


def counts_of(logits: torch.Tensor, targets: torch.Tensor, batches: int = 3) -> dict[str, np.ndarray]:
    parts = [score_counts(logits[part::batches], targets[part::batches]) for part in range(batches)]
    return {name: sum(part[name].double() for part in parts).numpy() for name in parts[0]}


def rows_of(rows: int, labels: int, seed: int, sure: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores that say something of the label; the larger `sure`, the nearer probabilities are to 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, labels, (rows,), generator=generator)
    logits = torch.randn(rows, labels, generator=generator)
    logits[torch.arange(rows), targets] += 1.0
    return logits * sure, targets


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 7), st.integers(0, 50), st.sampled_from([0.1, 1.0, 5.0, 30.0]))
def test_the_auc_is_that_of_scikit_learn_within_what_it_says(labels: int, seed: int, sure: float) -> None:
    logits, targets = rows_of(60, labels, seed, sure)
    if len(targets.unique()) < labels:
        return
    told = ranking(counts_of(logits, targets)["scores"])
    probabilities = logits.double().softmax(-1).numpy()
    scores = probabilities[:, 1] if labels == 2 else probabilities
    theirs = roc_auc_score(targets.numpy(), scores, multi_class="ovr", average="macro")
    assert told.auc == pytest.approx(theirs, abs=told.within + 1e-9)


@pytest.mark.parametrize(("labels", "within"), [(2, 0.0005), (4, 0.0005), (50, 0.003)])
def test_the_auc_of_many_rows_is_near(labels: int, within: float) -> None:
    logits, targets = rows_of(4000, labels, 1, 2.0)
    told = ranking(counts_of(logits, targets)["scores"])
    probabilities = logits.double().softmax(-1).numpy()
    theirs = roc_auc_score(
        targets.numpy(), probabilities[:, 1] if labels == 2 else probabilities, multi_class="ovr", average="macro"
    )
    assert told.auc == pytest.approx(theirs, abs=within)


def test_there_is_no_auc_of_rows_with_one_label_and_labels_without_rows_are_left_out() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    assert isnan(ranking(counts_of(logits, torch.tensor([1, 1, 1]))["scores"]).auc)
    assert ranking(counts_of(logits, torch.tensor([0, 1, 1]))["scores"]).auc == 1.0


def expected_error(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """By its definition: bins of equal width, each weighed by its rows."""
    confidence, answer = logits.double().softmax(-1).max(-1)
    total = 0.0
    for low in np.arange(CALIBRATION_BINS) / CALIBRATION_BINS:
        inside = (confidence > low) & (confidence <= low + 1 / CALIBRATION_BINS)
        if inside.any():
            right = (answer == targets)[inside].double().mean()
            total += float((right - confidence[inside].mean()).abs() * inside.double().mean())
    return total


@pytest.mark.parametrize("sure", [0.3, 1.0, 4.0])
def test_the_calibration_error_is_the_mean_distance_over_fifteen_bins(sure: float) -> None:
    logits, targets = rows_of(500, 3, 7, sure)
    counts = counts_of(logits, targets)["calibration"]
    assert calibration_error(counts) == pytest.approx(expected_error(logits, targets), abs=1e-6)
    assert sum(one.rows for one in calibration_bins(counts)) == 500


def test_rows_without_a_target_and_scores_that_are_no_numbers_do_no_harm() -> None:
    logits = torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [3.0, 1.0]])
    counts = counts_of(logits, torch.tensor([1, 0, IGNORED]), batches=1)
    assert counts["scores"].sum() == 2
    assert counts["calibration"][0].sum() == 2


def test_the_bins_of_a_thousand_labels_take_half_a_megabyte() -> None:
    assert score_bins(2) == 2048
    assert 1000 * 2 * score_bins(1000) * 8 < 2**20


def test_probabilities_that_are_too_high_are_a_finding() -> None:
    logits, targets = rows_of(300, 2, 3, 20.0)
    task, space = Classification(), Labels(("a", "b"))
    batch = MicroBatch({}, targets, np.arange(300))
    tally = task.tally(Losses(torch.zeros(300), logits), batch, space)
    measured = task.measure({name: counts.double().numpy() for name, counts in tally.items()}, space)
    assert measured.metrics["ece"] > 0.1
    assert measured.details is not None
    assert {"calibration", "aucWithin"} < measured.details.to_dict().keys()
