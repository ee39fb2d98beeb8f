"""Metrics of the user's own: which are found, what they are given, and what is said of one that goes wrong."""

import math
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from kubetune_api.job import RegressionSettings
from kubetune_api.tasks import TASKS
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.errors import RunError
from kubetune_trainer.figures import SliceRecord
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.tasks import TASK_OBJECTS
from kubetune_trainer.tasks.base import Comparing, Losses, MicroBatch, TrainingTask
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.tasks.classification import Classification, Labels
from kubetune_trainer.tasks.custom_metrics import TimeLimit, load_metrics, measured, try_out
from kubetune_trainer.tasks.multi_label import LabelSets, MultiLabelClassification
from kubetune_trainer.tasks.regression import Regression, Scale
from kubetune_trainer.tasks.tagging import Tagging, Tags
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.custom import MOST_ROWS, ComparedRows, judge_custom
from support.metric_packages import install
from support.one_rank import group_of_one
from support.tiny_models import PAD, VOCABULARY, classification_rows, label_set_rows, tag_rows, value_rows
from support.training_cases import FRAMES

OFFERED = {
    **{name: name for name in ("cost", "share_right", "raises", "nothing", "words", "raises_on_many")},
    "number": "not_a_function",
    "gone": "is_not_there",
}
LABELS = Labels(("no", "yes"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(tmp_path, "shop", OFFERED)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def refused(*names: str, task: TrainingTask | None = None, space: Any = LABELS) -> str:
    with pytest.raises(RunError) as error:
        try_out(load_metrics(names), task or Classification(), space)
    assert error.value.reason == "InvalidManifest"
    return str(error.value)


@pytest.mark.usefixtures("package")
def test_a_metric_is_found_by_the_name_that_its_package_offers() -> None:
    metrics = load_metrics(["cost"])
    assert metrics["cost"]([{"label": "no"}, {"label": "no"}], ["yes", "no"]) == 2.5
    try_out(metrics, Classification(), LABELS)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "price",
            "no installed package offers a metric `price` (entry points of the group kubetune.metrics; those that",
        ),
        ("gone", "`gone` of shop cannot be imported: AttributeError: "),
        ("number", "`number` of shop is no function; mend the package"),
        ("raises", "`raises` raised KeyError: 'price list', when it was tried on 2 made-up rows"),
        ("nothing", "`nothing` returned nan, when it was tried"),
        ("words", "`words` raised ValueError: could not convert string to float"),
    ],
)
def test_one_that_cannot_be_used_is_refused_before_the_training(name: str, said: str) -> None:
    message = refused(name)
    assert message.startswith(f"spec.evaluation.metrics: {said}")
    assert ";" in message


def test_a_name_that_two_packages_offer_is_refused(package: Path) -> None:
    install(package, "bank", {"cost": "cost"})
    assert "the packages bank and shop all offer a metric `cost`" in refused("cost").replace(
        "shop and bank", "bank and shop"
    )


@pytest.mark.usefixtures("package")
def test_only_what_a_manifest_names_is_imported() -> None:
    assert load_metrics([]) == {}
    # Another one of the same package cannot be imported.
    assert load_metrics(["cost"]).keys() == {"cost"}


def test_one_that_takes_for_ever_has_no_value_and_costs_nothing_else() -> None:
    waits, limit = Event(), TimeLimit(0.05)
    value, said = measured("slow", lambda *_: waits.wait(), [("a", "a")], limit)
    assert math.isnan(value)
    assert said == "`slow` had no value after 0.05 seconds, which all metrics of your own have together"
    waits.set()


def test_one_that_ends_the_process_does_not() -> None:
    assert measured("ends", lambda *_: sys.exit(3), [("a", "a")], TimeLimit())[1] == "`ends` raised SystemExit: 3"


def test_every_task_that_compares_is_one_of_the_apis() -> None:
    for name, task in TASK_OBJECTS.items():
        assert isinstance(task, Comparing) == (TASKS[name].compared not in {None, "Text"})
        assert bool(TASKS[name].generated_metrics) == (TASKS[name].compared == "Text")


class Model:
    """Answers from the tokens alone."""

    def __init__(self, outputs: int, *, per_token: bool) -> None:
        self.table = torch.randn(VOCABULARY, outputs, generator=torch.Generator().manual_seed(0))
        self.per_token = per_token

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        read = self.table[input_ids] * attention_mask[..., None]
        self.logits = read if self.per_token else read.sum(dim=1)
        return self


TAGS = Tags(("O", "B-A", "I-A", "B-B", "I-B"))
SETS = LabelSets(("a", "b", "c"), threshold=0.5)


@pytest.mark.parametrize(
    ("task", "space", "split", "metric", "ours"),
    [
        pytest.param(
            Classification(), Labels(("a", "b", "c")), classification_rows(23),
            lambda said, true: np.mean([one["label"] == label for one, label in zip(said, true, strict=True)]),
            "accuracy", id="labels",
        ),
        pytest.param(
            Classification(), Labels(("a", "b", "c")), classification_rows(23),
            lambda said, true: -np.mean([math.log(one["scores"][of]) for one, of in zip(said, true, strict=True)]),
            "loss", id="probabilities",
        ),
        pytest.param(
            MultiLabelClassification(), SETS, label_set_rows(23),
            lambda said, true: np.mean([one["labels"] == of for one, of in zip(said, true, strict=True)]),
            "subset_accuracy", id="sets of labels",
        ),
        pytest.param(
            Tagging(), TAGS, tag_rows(23),
            lambda said, true: np.mean([one == of for one, of in zip(chain(*said), chain(*true), strict=True)]),
            "accuracy", id="tags",
        ),
        pytest.param(
            Regression(), Scale(FRAMES, RegressionSettings()), value_rows(23),
            lambda said, true: np.mean(np.abs(np.array(said) - np.array(true))),
            "mae", id="numbers",
        ),
    ],
)  # fmt: skip
def test_a_metric_is_given_what_our_own_are_of(
    task: Any, space: Any, split: EncodedSplit, metric: Any, ours: str
) -> None:
    batch = collate(split, np.arange(split.rows), PAD, torch.device("cpu"))
    outputs = len(space.labels) or len(space.frames)
    losses = task.losses(Model(outputs, per_token=isinstance(task, Tagging)), batch, space)
    rows = ComparedRows(task, wanted=True)
    rows.add(losses, batch)
    tally = {name: counts.double().numpy() for name, counts in task.tally(losses, batch, space).items()}
    value, problem = measured("own", metric, [compared for _, compared in rows.of_this_rank(space)], TimeLimit())
    assert problem is None
    assert value == pytest.approx(task.measure(tally, space).metrics[ours], abs=1e-5)
    assert measured("own", metric, task.made_up(space), TimeLimit())[1] is None


def test_one_number_of_a_row_is_no_list() -> None:
    scale = Scale(FRAMES[:1], RegressionSettings())
    batch = MicroBatch({}, torch.tensor([[[1.5, 0.0]]]), np.array([0]))
    assert Regression().compared(Losses(torch.zeros(1), torch.tensor([[2.5]])), batch, scale) == [(2.5, 1.5)]


@pytest.fixture
def _group() -> Iterator[None]:
    with group_of_one():
        yield


@pytest.mark.usefixtures("_group", "package")
def test_a_metric_is_of_the_split_and_of_each_slice() -> None:
    masks = {"even": np.arange(6) % 2 == 0, "none": np.zeros(6, dtype=np.bool_)}
    slices = tuple(SliceRecord(name, int(mask.sum()), {"loss": 1.0}) for name, mask in masks.items())
    before = EvaluationRecord("test", 7, 1.0, {"loss": 1.0}, slices=slices)
    rows = [(row, ("a", "a" if row % 2 else "b")) for row in (5, 4, 3, 2, 1, 0)]
    found = judge_custom(before, load_metrics(["share_right"]), rows, masks)
    assert found.metrics == {"loss": 1.0, "custom.share_right": 0.5}
    assert found.slices[0].metrics == {"loss": 1.0, "custom.share_right": 0.0}
    assert found.slices[1].metrics == {"loss": 1.0}


@pytest.mark.usefixtures("_group", "package")
def test_one_that_goes_wrong_after_the_training_has_no_value_and_the_model_is_not_lost() -> None:
    rows = [(row, ("a", "a")) for row in range(6)]
    before = EvaluationRecord("test", 7, 1.0, {"loss": 1.0})
    found = judge_custom(before, load_metrics(["raises_on_many"]), rows, {})
    assert math.isnan(found.metrics["custom.raises_on_many"])
    (note,) = found.notes
    assert note.startswith(
        "spec.evaluation.metrics: `raises_on_many` raised ValueError: too many rows on the test split"
    )


def test_no_more_rows_are_held_than_the_first_ones() -> None:
    rows = ComparedRows(Classification(), wanted=True)
    batch = MicroBatch({}, torch.tensor([0, 1, 0]), np.array([3, MOST_ROWS, MOST_ROWS - 1]))
    losses = Classification().losses(lambda: type("Out", (), {"logits": torch.zeros(3, 2)}), batch, LABELS)
    rows.add(losses, batch)
    assert [row for row, _ in rows.of_this_rank(LABELS)] == [3, MOST_ROWS - 1]


@pytest.mark.usefixtures("package")
def test_a_metric_of_texts_is_tried_on_texts() -> None:
    try_out(load_metrics(["share_right"]), CausalLanguageModel(), Vocabulary())
