"""SequenceRegression: a new linear head tells the number, or the numbers, of a text or a pair of texts.

Values are learned as they are, as in transformers: a head of other units than the data's would surprise whoever loads
it. A note tells where their scale will make learning slow.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api import text
from kubetune_api.job import FineTuneJobSpec, RegressionSettings
from kubetune_api.metrics import LOSS
from kubetune_api.numbers import number
from kubetune_trainer.data.encode import encode_texts
from kubetune_trainer.data.numbers import as_numbers, numbers_of, shown
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.tokens import Encoded
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import DataReport, EvaluationRecord
from kubetune_trainer.tasks import texts
from kubetune_trainer.tasks.base import CardText, Compared, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.number_metrics import Frame, RegressionDetails, number_metrics, ranks, sums

if TYPE_CHECKING:
    import torch

_LEAST, _MOST = 0.1, 10.0
"""Between these a spread is near enough to 1, and below the larger one a mean is near enough to 0."""
_FLAT = 0.05
"""Predictions that vary less than this share of the values are all the same to a reader."""


@dataclass(frozen=True)
class Scale:
    """The values, and what is made small."""

    frames: tuple[Frame, ...]
    """Of each number of a row."""
    settings: RegressionSettings
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ValueTargets:
    """As many numbers for each row."""

    values: NDArray[np.float32]
    """[rows, numbers]"""
    ranks: NDArray[np.float32]
    """[rows, numbers]: the place of each in its split, for the correlation of ranks."""

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`."""
        return np.full(split.rows, self.values.shape[1], dtype=np.int64)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.float32]:
        """[rows, numbers, 2]: each with its rank."""
        return np.stack([self.values[rows], self.ranks[rows]], axis=-1)

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> str:
        """The numbers."""
        return shown(self.values[row].tolist())


class Regression:
    """See the module, and `TrainingTask` for each method."""

    name = "SequenceRegression"
    new_head = True
    generation = None
    details = RegressionDetails

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """A text, for pairs a second one, and the numbers; rows that differ in them alone are several judgements."""
        return (*texts.text_fields(spec), Field("value", Column.of(spec, "value"), numbers_of))

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> Scale:
        """How many numbers a row has, and where those of the training data lie."""
        column = Column.of(spec, "value")
        _refuse_unequal([row for rows in sources.values() for row in rows], column)
        frames = tuple(_frame(values, column) for values in _values(sources["train"]).T)
        return Scale(frames, spec.task.sequence_regression or RegressionSettings())

    def group(self, row: Row) -> str:
        """The text, with its pair."""
        return texts.same_texts(row)

    def stratum(self, row: Row) -> None:
        """Numbers have no shares."""

    def refuse_untaught(self, spec: FineTuneJobSpec, space: Scale, training: Sequence[Row]) -> None:
        """Whatever is there teaches."""

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """Values far from what a new head answers, and held-out ones that training never sees."""
        known = _values(sources["train"])
        for place, values in enumerate(known.T):
            yield from _notes_of_scale(values, f" of number {place + 1} of each row" if known.shape[1] > 1 else "")
        low, high = known.min(axis=0), known.max(axis=0)
        for source, rows in sources.items():
            if beyond := [row for row in rows if _is_beyond(as_numbers(row["value"]), low, high)]:
                yield (
                    f"{text.plural(len(beyond), 'row')} of the {source} data"
                    f" {'has' if len(beyond) == 1 else 'have'} a value outside of the training data's range, first"
                    f" {beyond[0].where}; a model rarely predicts what it has never seen: add such rows to the training"
                )

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: Scale) -> Encoded:
        """With the special tokens that the model expects; rows without any token are not kept."""
        tokens = encode_texts(rows, tokenizer, max_length)
        kept = list(compress(rows, tokens.kept))
        values = _values(kept).reshape(len(kept), len(space.frames))
        return tokens.with_targets(ValueTargets(values.astype(np.float32), ranks(values)))

    def model_class(self) -> Any:
        """With a linear head."""
        return texts.model_class()

    def configure(self, config: Any, space: Scale) -> None:
        """An output for each number."""
        config.num_labels = len(space.frames)
        config.problem_type = "regression"

    def fits_head(self, config: Any, space: Scale) -> bool:
        """A head of as many numbers is trained further; one output of no declared kind is one, as in transformers."""
        kind = getattr(config, "problem_type", None)
        regresses = kind == "regression" or (kind is None and config.num_labels == 1)
        return texts.has_head(config) and regresses and config.num_labels == len(space.frames)

    def losses(self, forward: Forward, batch: MicroBatch, space: Scale) -> Losses:
        """The loss of each row, summed over its numbers."""
        said = forward(**batch.inputs).logits
        return Losses(value_losses(said, batch.targets[..., 0], space.settings), said)

    def tally(self, losses: Losses, batch: MicroBatch, space: Scale) -> Tally:
        """The loss, and what the metrics are sums of."""
        known = ~batch.targets[:, 0, 0].isnan()
        true, rank = batch.targets[known].double().unbind(dim=-1)
        return {"loss": losses.rows.double().sum(), **sums(true, losses.outputs[known].double(), rank, space.frames)}

    def answers(self, losses: Losses, batch: MicroBatch, space: Scale) -> list[str]:
        """The numbers."""
        return [shown(numbers) for numbers in losses.outputs.tolist()]

    def compared(self, losses: Losses, batch: MicroBatch, space: Scale) -> list[Compared]:
        """The numbers; one alone is no list."""
        return [*zip(map(_alone, losses.outputs.tolist()), map(_alone, batch.targets[..., 0].tolist()), strict=True)]

    def made_up(self, space: Scale) -> list[Compared]:
        """The ends of the scale."""
        ends = ([frame.low for frame in space.frames], [frame.high for frame in space.frames])
        return [(_alone(end), _alone(end)) for end in ends]

    def measure(self, tally: dict[str, NDArray[np.float64]], space: Scale) -> Measured:
        """The mean loss of a number, and what follows from the sums."""
        metrics, details = number_metrics(tally, space.frames)
        return Measured({LOSS: float(tally["loss"] / (details.rows * len(space.frames))), **metrics}, details)

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """What always predicting the mean would reach."""
        details = evaluation.details
        if not isinstance(details, RegressionDetails):
            return []
        if metric == "rmse":
            return [f"{number(details.baseline_rmse)} by always predicting the training data's mean, {_means(details)}"]
        if metric == "r2":
            return ["1 is perfect, and 0 what always predicting the mean reaches"]
        return []

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """A model no better than the mean, or one that answers the same to all."""
        details = evaluation.details if evaluation else None
        if evaluation is None or not isinstance(details, RegressionDetails):
            return
        rmse = evaluation.metrics.get("rmse", math.nan)
        if rmse >= details.baseline_rmse:
            yield (
                f"Always predicting the training data's mean, {_means(details)}, would reach an RMSE of"
                f" {number(details.baseline_rmse)} on the {evaluation.split} split; the model's {number(rmse)} is no"
                " better."
            )
        if all(one.spread < _FLAT for one in details.per_value):
            yield (
                "The model predicts nearly the same for every text: its predictions vary less than a twentieth as much"
                " as the values. A higher training.learningRate or more epochs are the usual remedy."
            )

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """What the answers mean, and how to get them."""
        return CardText("A model that tells the number of a text", _LIMITS, texts.MODEL_CLASS, _USAGE)


def _alone(numbers: Sequence[float]) -> float | Sequence[float]:
    return numbers[0] if len(numbers) == 1 else numbers


def value_losses(said: "torch.Tensor", true: "torch.Tensor", settings: RegressionSettings) -> "torch.Tensor":
    """The loss of each row, summed over its numbers, in 32-bit numbers. Both [rows, numbers]; NaN is not counted."""
    from torch.nn import functional

    known, true = ~true.isnan(), true.nan_to_num()
    match settings.loss:
        case "MSE":
            losses = functional.mse_loss(said.float(), true, reduction="none")
        case "MAE":
            losses = functional.l1_loss(said.float(), true, reduction="none")
        case "Huber":
            losses = functional.huber_loss(said.float(), true, reduction="none", delta=settings.delta)
    return (losses * known).sum(dim=1)


def _values(rows: Sequence[Row]) -> NDArray[np.float64]:
    return np.array([as_numbers(row["value"]) for row in rows], dtype=np.float64)


def _refuse_unequal(rows: Sequence[Row], column: Column) -> None:
    first = len(as_numbers(rows[0]["value"]))
    for row in rows:
        if (found := len(as_numbers(row["value"]))) != first:
            raise invalid_data(
                f"{row.where}: the column {column.name!r} ({column.field}) holds {text.plural(found, 'number')}, and"
                f" {rows[0].where} holds {first}; every row must have as many"
            )


def _frame(values: NDArray[np.float64], column: Column) -> Frame:
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise invalid_data(
            f"{column.field}: every row has the value {low:g}; a regression needs different ones in the training data"
        )
    return Frame.of(values)


def _notes_of_scale(values: NDArray[np.float64], which: str) -> Iterator[str]:
    mean, spread = float(values.mean()), float(values.std())
    if abs(mean) > _MOST or not _LEAST <= spread <= _MOST:
        yield (
            f"the values{which} have a mean of {number(mean)} and a standard deviation of {number(spread)}; a new head"
            " begins near 0 and learns numbers around 1 fastest: subtract the mean from them and divide by the"
            " deviation in the data, and undo both in what the model answers"
        )


def _is_beyond(values: Sequence[float], low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
    return bool(np.any(values < low) or np.any(values > high))


def _means(details: RegressionDetails) -> str:
    return shown(details.means[:3]) + (", …" if len(details.means) > 3 else "")


_LIMITS = """\
The model tells a number for a text like those in its training data. It tells one for any other text too, and then it
means nothing. Nothing keeps its answers within the range of the values that it was trained on."""
_USAGE = """
inputs = tokenizer("A text to judge.", truncation=True, return_tensors="pt")
print(model(**inputs).logits[0].tolist())
"""
