"""An evaluation of weights that may be published, as the loop asks for it: with intervals, worst rows and slices."""

import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kubetune_api.job import Requirement
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.tasks.classification import Classification, ClassTargets, Labels
from kubetune_trainer.tasks.embedding import Embedding, VectorSpace
from kubetune_trainer.tasks.multi_label import LabelSets, MultiLabelClassification
from kubetune_trainer.tasks.thresholds import MIDDLE
from kubetune_trainer.training.evaluate import Judged, evaluate
from kubetune_trainer.training.requirements import check_requirements, slice_metrics
from support.one_rank import group_of_one
from support.tiny_models import PAD, VOCABULARY, classification_rows, label_set_rows, pair_rows

SPACE = Labels(("a", "b", "c"))


class Engine:
    """Answers from the tokens alone."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.table = torch.randn(VOCABULARY, 3, generator=torch.Generator().manual_seed(0))

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return SimpleNamespace(logits=(self.table[input_ids] * attention_mask[..., None]).sum(dim=1))

    def eval(self) -> None: ...

    def train(self) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def _group() -> Iterator[None]:
    with group_of_one():
        yield


def judged(split: EncodedSplit, *, final: bool = True) -> EvaluationRecord:
    found = evaluate(Engine(), Classification(), split, SPACE, pad_token=PAD, micro_batch_size=4, final=final)
    return found.record("test", 7, 1.0)


def some_of(split: EncodedSplit, mask: Any) -> EncodedSplit:
    rows = np.flatnonzero(mask)
    texts = [split.tokens[split.offsets[row] : split.offsets[row + 1]] for row in rows]
    assert isinstance(split.targets, ClassTargets)
    offsets = np.cumsum([0, *map(len, texts)])
    return EncodedSplit(np.concatenate(texts), None, offsets, ClassTargets(split.targets.classes[rows]))


def test_only_a_final_evaluation_tells_more_than_its_metrics() -> None:
    split = replace(classification_rows(30), slices={"even": np.arange(30) % 2 == 0})
    plain, final = judged(split, final=False), judged(split)
    assert plain.metrics == final.metrics
    assert (plain.intervals, plain.worst, plain.slices) == ({}, (), ())
    assert final.intervals.keys() == final.metrics.keys()
    assert len(final.worst) == 30


def test_a_slice_is_judged_as_a_split_of_its_rows_would_be() -> None:
    split = classification_rows(41)
    masks = {"few": np.arange(41) < 5, "odd": np.arange(41) % 2 == 1, "none": np.zeros(41, dtype=np.bool_)}
    found = judged(replace(split, slices=masks)).slices
    assert [(one.name, one.rows) for one in found] == [("few", 5), ("odd", 20)]
    for one in found:
        assert one.metrics == pytest.approx(judged(some_of(split, masks[one.name])).metrics, abs=1e-6)
    odd = found[1]
    assert odd.intervals.keys() == odd.metrics.keys()
    assert odd.intervals["loss"].low < odd.metrics["loss"] < odd.intervals["loss"].high


def test_metrics_of_slices_have_full_names_of_the_published_weights() -> None:
    record = judged(replace(classification_rows(30), slices={"few": np.arange(30) < 5}))
    names = slice_metrics([record], kept_step=7)
    assert names["test/few/accuracy"] == record.slices[0].metrics["accuracy"]
    assert slice_metrics([replace(record, split="validation")], kept_step=6) == {}


def test_a_requirement_of_what_could_not_be_measured_is_missed() -> None:
    (result,) = check_requirements([Requirement(metric="test/few/accuracy", min=0.0)], {})
    assert not result.met


def test_slices_intervals_and_answers_are_at_the_threshold_of_the_whole_split() -> None:
    rows = 60
    split = replace(label_set_rows(rows), slices={"few": np.arange(rows) < 6})
    names, task = ("a", "b", "c"), MultiLabelClassification()

    def at(space: LabelSets) -> Judged:
        return evaluate(Engine(), task, split, space, pad_token=PAD, micro_batch_size=4, final=True)

    chosen = at(LabelSets(names))
    threshold = chosen.measured.settled.threshold
    # Rows of their own would have chosen another one, and an answer is not given from a half on.
    assert threshold != MIDDLE
    given = at(LabelSets(names, threshold=threshold))
    assert (chosen.slices, chosen.intervals, chosen.worst) == (given.slices, given.intervals, given.worst)


def test_the_interval_of_a_slice_of_all_rows_is_that_of_all_rows() -> None:
    record = judged(replace(classification_rows(30), slices={"all": np.ones(30, dtype=np.bool_)}))
    assert record.slices[0].intervals == record.intervals


class Vectors(Engine):
    """Gives each token a vector."""

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=self.table[input_ids])


def test_the_worst_rows_of_a_search_tell_in_which_place_the_text_was_found() -> None:
    space = VectorSpace(("anchor", "positive"), "Mean", 0.05)
    found = evaluate(Vectors(), Embedding(), pair_rows(30), space, pad_token=PAD, micro_batch_size=8, final=True)
    places = [re.fullmatch(r"its own text in place (\d+) of (\d+)", one.answer or "") for one in found.worst]
    ranks = [int(place[1]) for place in places if place]
    assert len(ranks) == len(found.worst) == 30
    assert np.mean([rank <= 10 for rank in ranks]) == pytest.approx(found.measured.metrics["recall_at_10"])
    assert np.mean([1 / rank for rank in ranks]) == pytest.approx(found.measured.metrics["mrr"])


def test_a_search_has_intervals_over_its_anchors() -> None:
    space = VectorSpace(("anchor", "positive"), "Mean", 0.05)
    found = evaluate(Vectors(), Embedding(), pair_rows(60), space, pad_token=PAD, micro_batch_size=8, final=True)
    assert found.intervals.keys() == found.measured.metrics.keys() - {"loss"}
    metrics = found.measured.metrics
    for name, (low, high) in found.intervals.items():
        assert low <= metrics[name] <= high
    # As for any share of independent rows, within the noise of 200 replicates.
    share, (low, high) = metrics["recall_at_10"], found.intervals["recall_at_10"]
    assert high - low == pytest.approx(2 * 1.96 * (share * (1 - share) / 60) ** 0.5, rel=0.3)
