"""MultiLabelClassification: a new sigmoid head gives a text, or a pair of texts, any number of its labels, or none.

From which score on a label is given is one threshold for all labels: that of the manifest, or the one at which F1 over
all labels is highest on the validation split. One for each label would follow the few rows that a rare label has there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api import text
from kubetune_api.job import FineTuneJobSpec, MultiLabelSettings
from kubetune_api.metrics import LOSS
from kubetune_trainer.data import labels
from kubetune_trainer.data.encode import encode_texts
from kubetune_trainer.data.label_sets import NAME, as_labels, labels_in, one_by_one, refuse_too_few
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.tokens import Encoded
from kubetune_trainer.records import DataReport, EvaluationRecord
from kubetune_trainer.tasks import heads, texts
from kubetune_trainer.tasks.base import CardText, Compared, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.class_metrics import ClassMetrics, of_each_class
from kubetune_trainer.tasks.classification import listed_names, most_frequent, rare_labels
from kubetune_trainer.tasks.thresholds import GRID, MIDDLE, at_thresholds, counts

if TYPE_CHECKING:
    import torch

_KIND = "multi_label_classification"
_NONE = "no label"


@dataclass(frozen=True)
class LabelSets:
    """The labels, in the order of the head's outputs, and from which score on one is given."""

    labels: tuple[str, ...]
    thresholds: tuple[float, ...] = GRID
    """Those at which an evaluation is judged."""
    threshold: float | None = None
    """The one that counts; None: the validation split has to choose it."""
    tuned: bool = False
    """Whether it has chosen."""


@dataclass(frozen=True)
class SetTargets:
    """Any number of labels for each row."""

    members: NDArray[np.int32]
    """The indexes of the labels of all rows, those of row i are `members[starts[i]:starts[i + 1]]`."""
    starts: NDArray[np.int64]
    """[rows + 1]"""
    labels: int
    """How many there are."""

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`."""
        return np.full(split.rows, self.labels, dtype=np.int64)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.float32]:
        """[rows, labels]: 1 where the row has the label, else 0."""
        targets = np.zeros((len(rows), self.labels), dtype=np.float32)
        for place, row in enumerate(rows):
            targets[place, self._of(int(row))] = 1.0
        return targets

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> str:
        """The labels."""
        return ", ".join(labels[index] for index in self._of(row)) or _NONE

    def _of(self, row: int) -> NDArray[np.int32]:
        return self.members[self.starts[row] : self.starts[row + 1]]


@dataclass(frozen=True)
class Point:
    """How a split is judged at one threshold, over all labels."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LabelSetDetails:
    """How each label fared at the threshold, and how all did at others."""

    per_class: tuple[ClassMetrics, ...]
    given: tuple[int, ...]
    """The rows that each label was given to."""
    threshold: float
    tuned: bool
    """Whether the validation split has chosen it."""
    curve: tuple[Point, ...]

    def to_dict(self) -> dict[str, Any]:
        """See `Details`."""
        return {
            "perClass": [asdict(one) for one in self.per_class],
            "threshold": self.threshold,
            "thresholds": [asdict(point) for point in self.curve],
        }


class MultiLabelClassification:
    """See the module, and `TrainingTask` for each method."""

    name = "MultiLabelClassification"
    new_head = True
    generation = None
    details = LabelSetDetails

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """A text, for pairs a second one, and the labels."""
        choices = None if spec.task.labels is None else tuple(spec.task.labels)
        settings = spec.task.multi_label_classification or MultiLabelSettings()
        read = partial(labels_in, separator=settings.separator)
        field = Field(NAME, Column.of(spec, NAME), read, label=True, choices=choices, labels=as_labels)
        return (*texts.text_fields(spec), field)

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> LabelSets:
        """The labels that the manifest gives or the training data shows, which every source must keep to."""
        given, column = spec.task.labels, Column.of(spec, NAME)
        single = {source: one_by_one(rows) for source, rows in sources.items()}
        if given is None:
            refuse_too_few(sorted({row["label"] for row in single["train"]}), column)
        names = labels.label_set(single["train"], given, column, ())
        for source, rows in single.items():
            labels.refuse_unknown(rows, names, source, given=given is not None)
        fixed = (spec.task.multi_label_classification or MultiLabelSettings()).threshold
        if fixed is None and "validation" in spec.dataset.splits:
            return LabelSets(names)
        threshold = MIDDLE if fixed is None else fixed
        return LabelSets(names, tuple(sorted({*GRID, threshold})), threshold)

    def group(self, row: Row) -> str:
        """The text, with its pair."""
        return texts.same_texts(row)

    def stratum(self, row: Row) -> Sequence[str]:
        """Its labels; the rarest of them counts."""
        return as_labels(row[NAME])

    def refuse_untaught(self, spec: FineTuneJobSpec, space: LabelSets, training: Sequence[Row]) -> None:
        """Every label needs a row to learn from."""
        labels.refuse_untaught(one_by_one(training), space.labels, given=spec.task.labels is not None)

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """A text is a text."""
        return iter(())

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: LabelSets) -> Encoded:
        """With the special tokens that the model expects; rows without any token are not kept."""
        tokens = encode_texts(rows, tokenizer, max_length)
        index = {name: position for position, name in enumerate(space.labels)}
        kept = list(compress(rows, tokens.kept))
        found = [sorted(index[label] for label in dict.fromkeys(as_labels(row[NAME]))) for row in kept]
        members = np.array([place for of_row in found for place in of_row], dtype=np.int32)
        starts = np.cumsum([0, *map(len, found)], dtype=np.int64)
        targets = SetTargets(members, starts, len(space.labels))
        return tokens.with_targets(targets, labels.label_rows(one_by_one(kept), space.labels))

    def model_class(self) -> Any:
        """With a head for the whole text."""
        return texts.model_class()

    def configure(self, config: Any, space: LabelSets) -> None:
        """An output for each label, and from which score on it is given."""
        heads.name_outputs(config, space.labels)
        config.problem_type = _KIND
        if space.threshold is not None:
            config.threshold = space.threshold

    def fits_head(self, config: Any, space: LabelSets) -> bool:
        """A head of these very labels that may give several of them is trained further."""
        return texts.has_head(config) and config.problem_type == _KIND and heads.names_outputs_so(config, space.labels)

    def losses(self, forward: Forward, batch: MicroBatch, space: LabelSets) -> Losses:
        """The binary cross-entropy of each row, summed over the labels."""
        logits = forward(**batch.inputs).logits
        return Losses(label_losses(logits, batch.targets), logits)

    def tally(self, losses: Losses, batch: MicroBatch, space: LabelSets) -> Tally:
        """The loss, and the scores of each label."""
        known = ~batch.targets[:, 0].isnan()
        scores = losses.outputs[known].float().sigmoid()
        return {"loss": losses.rows.double().sum(), **counts(scores, batch.targets[known], space.thresholds)}

    def answers(self, losses: Losses, batch: MicroBatch, space: LabelSets) -> list[str]:
        """The labels whose score reaches the threshold, or a half where none has been chosen yet."""
        return [", ".join(found["labels"]) or _NONE for found, _ in self.compared(losses, batch, space)]

    def compared(self, losses: Losses, batch: MicroBatch, space: LabelSets) -> list[Compared]:
        """The labels that are given, and the score of each."""
        scores = losses.outputs.float().sigmoid()
        given = (scores >= (space.threshold or MIDDLE)).tolist()
        return [
            (
                {"labels": [*compress(space.labels, chosen)], "scores": dict(zip(space.labels, of_row, strict=True))},
                [*compress(space.labels, true)],
            )
            for chosen, of_row, true in zip(given, scores.tolist(), (batch.targets > 0).tolist(), strict=True)
        ]

    def made_up(self, space: LabelSets) -> list[Compared]:
        """One of each label."""
        return [
            ({"labels": [label], "scores": {other: float(other == label) for other in space.labels}}, [label])
            for label in space.labels
        ]

    def measure(self, tally: dict[str, NDArray[np.float64]], space: LabelSets) -> Measured:
        """What follows at the threshold that counts, or at the best one, which then counts for the test split."""
        judged = at_thresholds(tally)
        chosen = space.threshold
        place = judged.best(space.thresholds) if chosen is None else space.thresholds.index(chosen)
        settled = space if chosen is not None else replace(space, threshold=space.thresholds[place], tuned=True)
        per_class = of_each_class(space.labels, judged.right[place], judged.given[place], judged.true)
        metrics = {
            LOSS: float(tally["loss"] / tally["scores"].sum()),
            "f1_micro": float(judged.f1_micro[place]),
            "f1_macro": float(np.mean([one.f1 for one in per_class])),
            "precision_micro": float(judged.precision_micro[place]),
            "recall_micro": float(judged.recall_micro[place]),
            "subset_accuracy": float(judged.whole[place]),
        }
        curve = zip(space.thresholds, judged.precision_micro, judged.recall_micro, judged.f1_micro, strict=True)
        details = LabelSetDetails(
            per_class,
            tuple(judged.given[place].astype(np.int64).tolist()),
            space.thresholds[place],
            settled.tuned,
            tuple(Point(*map(float, values)) for values in curve),
        )
        return Measured(metrics, details, settled)

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """At which threshold, and what giving every text the most frequent label would reach."""
        details = evaluation.details
        if metric != "f1_micro" or not isinstance(details, LabelSetDetails):
            return []
        how = "as the validation split chose" if details.tuned else "as set"
        notes = [f"labels are given from a score of {details.threshold:g} on, {how}"]
        judged, train = data.split(evaluation.split), data.split("train")
        if judged is not None and train is not None and judged.label_rows:
            label = most_frequent(train)
            in_rows, total = dict(judged.label_rows).get(label, 0), sum(rows for _, rows in judged.label_rows)
            shown = text.elide(text.printable(label), 20)
            notes.append(f"{2 * in_rows / (judged.rows + total):.3f} by giving “{shown}” to every text")
        return notes

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """Labels too rare to learn, and labels never given."""
        yield from rare_labels(data)
        details = evaluation.details if evaluation else None
        if evaluation is not None and isinstance(details, LabelSetDetails):
            found = zip(details.per_class, details.given, strict=True)
            silent = [one.label for one, given in found if one.rows and not given]
            if silent:
                yield (
                    f"The model never gave {listed_names(silent)} on the {evaluation.split} split, though it has such"
                    f" rows: no score reached the threshold of {details.threshold:g}."
                )

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """What the answers mean, and how to get them."""
        what = f"A classifier that gives a text any of {text.plural(len(data.labels), 'label')}"
        return CardText(what, _LIMITS, texts.MODEL_CLASS, _USAGE)


def label_losses(logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """The binary cross-entropy of each row in nats, summed over its labels, in 32-bit numbers. Both [rows, labels]."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    known = ~targets.isnan()
    losses = binary_cross_entropy_with_logits(logits.float(), targets.nan_to_num(), reduction="none")
    return (losses * known).sum(dim=1)


_LIMITS = """\
The model gives its labels to a text like those in its training data: each from the score on that `threshold` of
config.json has. It judges any other text too, and then its answer means nothing. Its scores are not calibrated
probabilities."""
_USAGE = """
inputs = tokenizer("A text to classify.", truncation=True, return_tensors="pt")
scores = model(**inputs).logits.sigmoid()[0]
print([model.config.id2label[place] for place, score in enumerate(scores) if score >= model.config.threshold])
"""
