"""What holds for every task: it has its row, and an evaluation is a sum, however its rows are shared out."""

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kubetune_api.job import RegressionSettings
from kubetune_api.job.task_settings import PreferenceSettings
from kubetune_api.tasks import TASKS
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.tasks import TASK_OBJECTS
from kubetune_trainer.tasks.base import Losses, MicroBatch, TrainingTask
from kubetune_trainer.tasks.causal import CausalLanguageModel, Vocabulary
from kubetune_trainer.tasks.classification import Classification, Labels
from kubetune_trainer.tasks.embedding import Embedding, VectorSpace
from kubetune_trainer.tasks.multi_label import LabelSets, MultiLabelClassification
from kubetune_trainer.tasks.number_metrics import Frame
from kubetune_trainer.tasks.preference import Preference, Rewards
from kubetune_trainer.tasks.regression import Regression, Scale
from kubetune_trainer.tasks.scored_pairs import ScoreTargets
from kubetune_trainer.tasks.seq2seq import SequenceToSequence, WrittenTexts
from kubetune_trainer.tasks.tagging import Tagging, Tags
from kubetune_trainer.training.bootstrap import row_tallies
from kubetune_trainer.training.collate import collate
from support.tiny_models import (
    PAD,
    VOCABULARY,
    classification_rows,
    completion_rows,
    label_set_rows,
    pair_rows,
    preference_rows,
    scored_rows,
    tag_rows,
    value_rows,
    written_rows,
)
from support.training_cases import FRAMES

CPU = torch.device("cpu")
EACH = [
    pytest.param(Classification(), Labels(("a", "b", "c")), classification_rows(23), id="classification"),
    pytest.param(MultiLabelClassification(), LabelSets(("a", "b", "c")), label_set_rows(23), id="sets of labels"),
    pytest.param(Tagging(), Tags(("O", "B-A", "I-A", "B-B", "I-B")), tag_rows(23), id="tags of words"),
    pytest.param(Regression(), Scale(FRAMES, RegressionSettings()), value_rows(23), id="regression"),
    pytest.param(CausalLanguageModel(), Vocabulary(), completion_rows(23), id="language model"),
    pytest.param(Preference(), Rewards(PreferenceSettings()), preference_rows(23), id="preferences"),
    pytest.param(SequenceToSequence(), WrittenTexts(32), written_rows(23), id="encoder and decoder"),
    pytest.param(Embedding(), VectorSpace(("anchor", "positive"), "Mean", 0.05), pair_rows(23), id="embedding"),
    pytest.param(
        Embedding(),
        VectorSpace(("sentence1", "sentence2"), "Mean", 0.05, Frame.of(np.array([-1.0, 1.0]))),
        scored_rows(23),
        id="embedding by scores",
    ),
]


class Model:
    """Answers from the tokens alone, so that a row has the same answer in every batch."""

    def __init__(self, space: Any, *, per_token: bool) -> None:
        outputs = len(space.labels) or len(getattr(space, "frames", ())) or VOCABULARY
        self.table = torch.randn(VOCABULARY, outputs, generator=torch.Generator().manual_seed(0))
        self.per_token = per_token
        self.config = SimpleNamespace(pad_token_id=PAD)

    def __call__(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        decoder_input_ids: torch.Tensor | None = None,
        use_cache: bool = True,
    ) -> Any:
        read = self.table[input_ids] * attention_mask[..., None]
        answers = read if decoder_input_ids is None else self.table[decoder_input_ids] + read.sum(1, keepdim=True)
        self.last_hidden_state = answers
        self.logits = answers if self.per_token else answers.sum(dim=1)
        return self

    def prepare_decoder_input_ids_from_labels(self, targets: torch.Tensor) -> torch.Tensor:
        shifted = targets.roll(1, dims=1).clamp(min=0)
        shifted[:, 0] = PAD
        return shifted


def batch_of(split: EncodedSplit, rows: list[int]) -> MicroBatch:
    return collate(split, np.array(rows, dtype=np.int64), PAD, CPU)


def tally_of(task: TrainingTask, space: Any, split: EncodedSplit, rows: list[int]) -> dict[str, np.ndarray]:
    batch = batch_of(split, rows)
    losses: Losses = task.losses(
        Model(space, per_token=isinstance(space, Tags | Vocabulary | Rewards | WrittenTexts)), batch, space
    )
    return {name: counts.double().numpy() for name, counts in task.tally(losses, batch, space).items()}


def test_every_task_of_the_api_is_one_of_the_trainers() -> None:
    assert TASK_OBJECTS.keys() == TASKS.keys()


@pytest.mark.parametrize(("task", "space", "split"), EACH)
def test_an_evaluation_has_the_metrics_of_its_row(task: TrainingTask, space: Any, split: EncodedSplit) -> None:
    measured = task.measure(tally_of(task, space, split, list(range(split.rows))), space)
    row = TASKS[task.name]
    metrics = row.scored.metrics if row.scored and isinstance(split.targets, ScoreTargets) else row.metrics
    assert tuple(measured.metrics) == metrics


@pytest.mark.parametrize(("task", "space", "split"), EACH)
def test_tallies_of_any_shares_add_up_to_that_of_the_whole(task: TrainingTask, space: Any, split: EncodedSplit) -> None:
    order = np.random.default_rng(0).permutation(split.rows).tolist()
    shares = [tally_of(task, space, split, rows) for rows in (order[:7], order[7:8], order[8:], [])]
    whole = tally_of(task, space, split, list(range(split.rows)))
    for name, counts in whole.items():
        assert all(share[name].shape == counts.shape for share in shares)
        assert sum(share[name] for share in shares) == pytest.approx(counts, abs=1e-4)


@pytest.mark.parametrize(("task", "space", "split"), EACH)
def test_a_batch_is_tallied_by_rows_as_it_is_whole(task: TrainingTask, space: Any, split: EncodedSplit) -> None:
    batch = batch_of(split, [3, 0, 11])
    losses = task.losses(
        Model(space, per_token=isinstance(space, Tags | Vocabulary | Rewards | WrittenTexts)), batch, space
    )
    alone = row_tallies(task, space, losses, batch)
    for name, counts in task.tally(losses, batch, space).items():
        assert alone[name].sum(axis=0) == pytest.approx(counts.double().numpy(), abs=1e-4)


@pytest.mark.parametrize(("task", "space", "split"), EACH)
def test_a_share_without_rows_adds_nothing(task: TrainingTask, space: Any, split: EncodedSplit) -> None:
    assert not any(counts.any() for counts in tally_of(task, space, split, []).values())


@pytest.mark.parametrize(("task", "space", "split"), EACH)
def test_the_losses_of_a_batch_are_one_number_a_row(task: TrainingTask, space: Any, split: EncodedSplit) -> None:
    batch = batch_of(split, [3, 0, 11])
    losses = task.losses(
        Model(space, per_token=isinstance(space, Tags | Vocabulary | Rewards | WrittenTexts)), batch, space
    )
    assert (losses.rows.shape, losses.rows.dtype) == ((3,), torch.float32)


def test_what_an_evaluation_tells_comes_through_the_processes_between() -> None:
    task, space = Classification(), Labels(("a", "b", "c"))
    details = task.measure(tally_of(task, space, classification_rows(9), list(range(9))), space).details
    assert details is not None
    assert pickle.loads(pickle.dumps(details)) == details
