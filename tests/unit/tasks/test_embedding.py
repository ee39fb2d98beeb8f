"""Vectors of texts: their loss against its definition, what is no rival, and where a text is found."""

from itertools import product
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.job.task import Task
from kubetune_trainer.data.rows import Row
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import DataReport, EvaluationRecord
from kubetune_trainer.tasks.base import IGNORED, Losses, MicroBatch
from kubetune_trainer.tasks.embedding import COMPARED, MOST_CANDIDATES, Embedding, contrastive_losses, pooled
from kubetune_trainer.tasks.retrieval import RetrievalDetails, ranks_of, similarities_of
from support.tiny_models import pair_rows, spec_for
from support.tiny_tokenizers import bert_like

TEMPERATURE = 0.05
TRIPLETS = {"anchor": "q", "positive": "a", "negative": "n"}


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.randn(*shape, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(random, dim=-1)


def different(rows: int, parts: int) -> torch.Tensor:
    return torch.arange(rows * parts).reshape(rows, parts)


def written_out(anchor: torch.Tensor, candidates: list[torch.Tensor]) -> float:
    """The first candidate is the right one."""
    scores = [float(anchor @ candidate) / TEMPERATURE for candidate in candidates]
    return log(sum(map(exp, scores))) - scores[0]


def job_with(settings: dict[str, Any]) -> FineTuneJobSpec:
    spec = spec_for("Embedding")
    given = {**spec.task.model_dump(by_alias=True), "embedding": settings}
    return spec.model_copy(update={"task": Task.model_validate(given)})


def rows_of(*texts: tuple[str, ...]) -> list[Row]:
    return [Row(("anchor", "positive", "negative")[: len(row)], row, "file:///pairs.csv", 2) for row in texts]


@pytest.mark.parametrize("parts", [2, 3])
def test_the_loss_is_the_cross_entropy_of_the_own_text_among_all_of_the_batch(parts: int) -> None:
    given = vectors(4, parts)
    expected = [
        written_out(
            given[row, 0],
            [given[row, 1], *(given[place] for place in product(range(4), range(1, parts)) if place != (row, 1))],
        )
        for row in range(4)
    ]
    losses = contrastive_losses(given, different(4, parts), TEMPERATURE)
    assert losses.tolist() == pytest.approx(expected, abs=1e-4)


def test_a_text_that_is_as_right_as_the_own_one_is_no_rival() -> None:
    given, texts = vectors(3, 2), different(3, 2)
    texts[2, 1] = texts[0, 1]  # the same positive
    texts[1, 0] = texts[0, 0]  # the same anchor: each may find the other's text
    losses = contrastive_losses(given, texts, TEMPERATURE).tolist()
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[2] == pytest.approx(written_out(given[2, 0], [given[2, 1], given[1, 1]]), abs=1e-4)


def test_a_batch_that_only_keeps_step_has_no_loss() -> None:
    assert contrastive_losses(vectors(1, 3), torch.full((1, 3), IGNORED), TEMPERATURE).tolist() == [0.0]


def test_padding_is_no_part_of_a_mean_and_cls_is_the_first_token() -> None:
    states = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    mean, first = pooled(states, mask, "Mean"), pooled(states, mask, "CLS")
    assert torch.allclose(mean[0], torch.nn.functional.normalize(states[0, :2].mean(0), dim=0))
    assert torch.allclose(first[1], torch.nn.functional.normalize(states[1, 0], dim=0))


def test_a_text_is_found_at_its_place_among_the_different_ones() -> None:
    random = np.random.default_rng(0)
    anchors, found = (random.normal(size=(60, 5)) for _ in range(2))
    anchors, found = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (anchors, found))
    asked, texts = random.integers(0, 40, 60), random.integers(0, 30, 60)
    found = found[[texts.tolist().index(text) for text in texts]]  # a text has one vector
    ranks = ranks_of(anchors, found, asked, texts)
    for row in range(60):
        right = set(texts[asked == asked[row]].tolist())
        others = {text: anchors[row] @ found[texts.tolist().index(text)] for text in set(texts.tolist()) - right}
        assert ranks[row] == 1 + sum(score >= anchors[row] @ found[row] for score in others.values())


def test_vectors_that_are_all_alike_find_nothing() -> None:
    same = np.ones((20, 4)) / 2
    assert ranks_of(same, same, np.arange(20), np.arange(20, 40)).tolist() == [20] * 20


def test_the_cosines_of_own_texts_and_of_others_are_counted_apart() -> None:
    anchors = np.array([[1.0, 0.0], [0.0, 1.0]])
    details = similarities_of(anchors, anchors, np.arange(2), np.arange(2, 4))
    assert details.to_dict() == {
        "candidates": 2,
        "cosines": [
            {"from": 0.0, "to": 0.05, "own": 0, "others": 2},
            {"from": 0.95, "to": 1.0, "own": 2, "others": 0},
        ],
    }


def test_each_text_is_a_sequence_and_has_one_number_wherever_it_stands() -> None:
    rows = rows_of(("the film", "was great", "was dull"), ("the story", "was great", "was bad"))
    task, spec = Embedding(), spec_for("Embedding", dataset={"uri": "file:///p.csv", "columns": TRIPLETS})
    encoded = task.encode(rows, bert_like(), 16, task.space(spec, {}, {}))
    split = encoded.split
    assert (split.rows, split.parts, split.lengths.tolist()) == (2, ("anchor", "positive", "negative"), [12, 12])
    assert split.targets.padded(split, np.array([0, 1]), 4).tolist() == [[0, 1, 2], [3, 1, 4]]
    assert split.compares_rows


def test_texts_that_are_all_the_same_teach_nothing() -> None:
    task, spec = Embedding(), spec_for("Embedding")
    with pytest.raises(RunError, match="all rows of the training split have the same text here"):
        task.refuse_untaught(spec, task.space(spec, {}, {}), rows_of(("a", "x"), ("b", "x")))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, ("Mean", 0.05), id="unset"),
        pytest.param({"pooling": "CLS", "temperature": 0.1}, ("CLS", 0.1), id="given"),
    ],
)
def test_the_space_is_what_the_manifest_says(settings: dict[str, Any], expected: tuple[str, float]) -> None:
    spec = job_with(settings)
    space = Embedding().space(spec, {}, {})
    assert (space.pooling, space.temperature) == expected


@pytest.mark.parametrize("micro_batch", [2, 8, 64])
def test_the_loss_of_an_evaluation_compares_the_same_rows_whatever_is_trained_on_at_a_time(micro_batch: int) -> None:
    rows = 2 * COMPARED
    task, spec = Embedding(), spec_for("Embedding", training={"microBatchSize": micro_batch, "globalBatchSize": 64})
    both, numbers = vectors(rows, 2), different(rows, 2)
    tally = {"vectors": both.double().numpy(), "texts": numbers.numpy() + 1.0}
    found = task.measure(tally, task.space(spec, {}, {})).metrics["loss"]
    parts = (slice(COMPARED), slice(COMPARED, rows))
    halves = [contrastive_losses(both[part], numbers[part], TEMPERATURE) for part in parts]
    assert found == pytest.approx(float(torch.cat(halves).mean()), abs=1e-5)


def test_the_report_says_among_how_many_rows_the_loss_and_the_search_compare() -> None:
    details = RetrievalDetails(246, (1,), (2,))
    evaluation, data = EvaluationRecord("test", 1, 1.0, {}, details), DataReport((), 0, (), ())
    notes = {metric: Embedding().notes(metric, evaluation, data) for metric in ("loss", "mrr")}
    assert notes == {
        "loss": [f"each text among those of at most {COMPARED} rows"], "mrr": ["among 246 texts of the test split"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pooling", "said"), [("Mean", "vectors = (states * mask).sum(1) / mask.sum(1)"), ("CLS", "vectors = states[:, 0]")]
)
def test_the_card_pools_as_the_model_was_trained(pooling: str, said: str) -> None:
    usage = Embedding().card(job_with({"pooling": pooling}), DataReport((), 0, (), ())).usage
    assert [line for line in usage.splitlines() if line.startswith("vectors")] == [said]


def test_rows_beyond_those_that_are_kept_are_not_judged() -> None:
    split = pair_rows(MOST_CANDIDATES + 5)
    task, space = Embedding(), Embedding().space(spec_for("Embedding"), {}, {})
    rows = np.array([3, MOST_CANDIDATES + 1])
    batch = MicroBatch({}, torch.from_numpy(split.targets.padded(split, rows, 9)), rows)
    tally = task.tally(Losses(torch.zeros(2), vectors(2, 2)), batch, space)
    assert torch.nonzero(tally["texts"][:, 0])[:, 0].tolist() == [3]
