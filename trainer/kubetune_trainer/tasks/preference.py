"""Preference: a language model learns to find one answer to a prompt likelier than another one.

Where the loss measures that against the model as it was before the training, its log-probabilities are worked out once
for all rows: no second model is in the memory while it trains.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.job.task_settings import PreferenceSettings
from kubetune_api.metrics import LOSS
from kubetune_api.numbers import number
from kubetune_api.tasks import TASKS
from kubetune_trainer.data.encode_conversations import encode_conversations
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.prompt_format import PromptFormat
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.split import folded
from kubetune_trainer.data.tokens import Encoded, side_by_side
from kubetune_trainer.data.values import text_of
from kubetune_trainer.records import Answer, DataReport, EvaluationRecord
from kubetune_trainer.tasks.base import IGNORED, CardText, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.causal import CausalLanguageModel, Completions
from kubetune_trainer.tasks.preference_losses import preference_losses, rewards
from kubetune_trainer.tasks.targets import in_lines, learned_ids
from kubetune_trainer.tasks.token_losses import token_losses

if TYPE_CHECKING:
    import torch

_LANGUAGE = CausalLanguageModel()


@dataclass(frozen=True)
class Rewards:
    """What one answer's likelihood over the other's is worth."""

    settings: PreferenceSettings
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnswerTargets:
    """The tokens of both answers of each row."""

    marks: NDArray[np.bool_]
    """[tokens]: which of them are of an answer."""

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`: a row is one comparison."""
        return np.ones(split.rows, dtype=np.int64)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """[rows, parts, longest]: the ids of the answers' tokens, in their own places."""
        found = learned_ids(self.marks, split.tokens, split.offsets, split.sequences(rows))
        return in_lines(found, longest).reshape(len(rows), len(split.parts), longest)

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Those of the answers."""
        first = row * len(split.parts)
        return self.marks[split.offsets[first] : split.offsets[first + len(split.parts)]]


class _Stops(Completions):
    def answers(self, split: EncodedSplit, tokenizer: Any) -> Sequence[Answer]:
        """The model is not taught to say the one answer, only to prefer it to the other."""
        return ()


class Preference:
    """See the module, and `TrainingTask` for each method."""

    name = "Preference"
    new_head = False
    generation = _Stops()
    model_class = staticmethod(_LANGUAGE.model_class)

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """A prompt, and two answers to it."""
        return tuple(
            Field(name, Column.of(spec, name), text_of, measured=name != "prompt") for name in TASKS[self.name].columns
        )

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> Rewards:
        """What the manifest says of the loss."""
        return Rewards(spec.task.preference or PreferenceSettings())

    def group(self, row: Row) -> str:
        """The prompt: no answer is judged to a question that training has seen."""
        return folded(row["prompt"])

    def stratum(self, row: Row) -> None:
        """There is nothing to share out."""

    def refuse_untaught(self, spec: FineTuneJobSpec, space: Rewards, training: Sequence[Row]) -> None:
        """Whatever is there teaches."""

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """What kubetune adds to the model's chat template, and rows that say nothing."""
        if note := PromptFormat.of(tokenizer).note:
            yield note
        same = [row for rows in sources.values() for row in rows if row["chosen"] == row["rejected"]]
        if same:
            yield (
                f"{same[0].where}: the chosen answer is the rejected one, as in {len(same):,} rows of all; such a row"
                " teaches nothing: remove it"
            )

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: Rewards) -> Encoded:
        """Each answer with the prompt, by the model's chat template; a row of which one answer was cut away whole is
        not kept."""
        parts = {
            part: encode_conversations([_asked(row, part) for row in rows], tokenizer, max_length)
            for part in TASKS[self.name].parts
        }
        tokens = side_by_side(parts)
        return tokens.with_targets(AnswerTargets(tokens.learned))

    def configure(self, config: Any, space: Rewards) -> None:
        """Nothing of the model changes."""

    def fits_head(self, config: Any, space: Rewards) -> bool:
        """The output layer is always trained further."""
        return True

    def refers(self, space: Rewards) -> bool:
        """By the loss."""
        return space.settings.row.refers

    def reference(self, forward: Forward, batch: MicroBatch, space: Rewards) -> "torch.Tensor":
        """[rows, parts]: the log-probabilities of the answers."""
        return log_probabilities(forward, batch)

    def losses(self, forward: Forward, batch: MicroBatch, space: Rewards) -> Losses:
        """How little likelier the chosen answer is than the rejected one; also tells the difference of their
        rewards."""
        gained = log_probabilities(forward, batch)
        if self.refers(space):
            assert batch.reference is not None, "the answers' log-probabilities before the training are not known"
            gained = gained - batch.reference
        counted, settings = batch.targets != IGNORED, space.settings
        tokens, known = counted.sum(dim=-1), counted.any(dim=-1).any(dim=-1)
        plain = preference_losses(gained, tokens, settings) * known
        worth = rewards(gained, tokens, settings)
        margins = (worth[:, 0] - worth[:, 1]) * known
        if not settings.label_smoothing:
            return Losses(plain, margins)
        trained = preference_losses(gained, tokens, settings, smoothing=settings.label_smoothing) * known
        return Losses(trained, margins, plain)

    def tally(self, losses: Losses, batch: MicroBatch, space: Rewards) -> Tally:
        """Sums over rows. Answers that are worth the same are half right, as by chance."""
        known, margins = (batch.targets != IGNORED).any(dim=-1).any(dim=-1), losses.outputs.double()
        right = (margins > 0).double() + (margins == 0).double() / 2
        return {
            "loss": losses.judged.double().sum(),
            "right": (right * known).sum(),
            "margin": margins.sum(),
            "rows": known.sum(),
        }

    def answers(self, losses: Losses, batch: MicroBatch, space: Rewards) -> list[str]:
        """By how much the model has come to prefer the one or the other."""
        return [
            f"the {'chosen' if margin > 0 else 'rejected'} answer, with a margin of {number(abs(margin), 3)}"
            if margin
            else "neither answer"
            for margin in losses.outputs.tolist()
        ]

    def measure(self, tally: dict[str, NDArray[np.float64]], space: Rewards) -> Measured:
        """Means over rows."""
        rows = tally["rows"]
        right, margin = float(tally["right"] / rows), float(tally["margin"] / rows)
        return Measured({LOSS: float(tally["loss"] / rows), "reward_accuracy": right, "reward_margin": margin})

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """What chance reaches."""
        return ["0.5 by chance"] if metric == "reward_accuracy" else []

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """None of its own."""
        return iter(())

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """As any language model's."""
        return replace(
            _LANGUAGE.card(spec, data), what="A language model that prefers some answers to others", limits=_LIMITS
        )


def _asked(row: Row, part: str) -> Row:
    return Row(("prompt", "completion"), (row["prompt"], row[part]), row.file, row.line)


def log_probabilities(forward: Forward, batch: MicroBatch) -> "torch.Tensor":
    """[rows, parts]: of all tokens of each answer together, in nats."""
    rows, parts, length = batch.targets.shape
    said = batch.targets.reshape(rows * parts, length)[:, 1:]
    _, cross_entropies = token_losses(forward, batch.inputs, said)
    return -cross_entropies.reshape(rows, parts)


_LIMITS = """\
The model answers prompts like those in its training data, and was taught which of two answers is preferred there.
Nothing was measured beyond that on held-out pairs: its answers may be wrong, and may be longer than before."""
