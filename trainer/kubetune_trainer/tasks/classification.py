"""SequenceClassification: a new softmax head gives a text, or a pair of texts, one of its labels."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kubetune_api import text
from kubetune_api.job import ClassificationSettings, FineTuneJobSpec
from kubetune_api.metrics import LOSS
from kubetune_trainer.data import labels
from kubetune_trainer.data.encode import encode_texts
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.data.rows import Column, Field, Row
from kubetune_trainer.data.tokens import Encoded
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import DataReport, EvaluationRecord, SplitReport
from kubetune_trainer.tasks import heads, texts
from kubetune_trainer.tasks.base import IGNORED, CardText, Compared, Forward, Losses, Measured, MicroBatch, Tally
from kubetune_trainer.tasks.choice_losses import PLAIN, ChoiceLoss, balanced, choice_losses, on_average_one
from kubetune_trainer.tasks.class_metrics import ACCURACY, ClassificationDetails, class_metrics
from kubetune_trainer.tasks.scores import calibration_bins, calibration_error, ranking, score_counts

RARE_LABEL_ROWS = 20
ECE, POOR_CALIBRATION = "ece", 0.1


@dataclass(frozen=True)
class Labels:
    """The labels, in the order of the head's outputs."""

    labels: tuple[str, ...]
    loss: ChoiceLoss = PLAIN


@dataclass(frozen=True)
class ClassTargets:
    """One label for each row."""

    classes: NDArray[np.int32]
    """[rows]: the index of the label."""

    def per_row(self, split: EncodedSplit) -> NDArray[np.int64]:
        """See `Targets`."""
        return np.ones(split.rows, dtype=np.int64)

    def padded(self, split: EncodedSplit, rows: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """[rows]: the indexes."""
        return self.classes[rows].astype(np.int64)

    def learned(self, split: EncodedSplit, row: int, labels: Sequence[str]) -> str:
        """The label."""
        return labels[int(self.classes[row])]


class Classification:
    """See the module, and `TrainingTask` for each method."""

    name = "SequenceClassification"
    new_head = True
    generation = None
    details = ClassificationDetails

    def fields(self, spec: FineTuneJobSpec) -> tuple[Field, ...]:
        """A text, for pairs a second one, and the label."""
        choices = None if spec.task.labels is None else tuple(spec.task.labels)
        label = Field("label", Column.of(spec, "label"), labels.label_of, label=True, choices=choices)
        return (*texts.text_fields(spec), label)

    def space(
        self, spec: FineTuneJobSpec, sources: Mapping[str, Sequence[Row]], classes: Mapping[str, Sequence[str]]
    ) -> Labels:
        """The labels that the manifest gives or the training data shows, which every source must keep to."""
        given = spec.task.labels
        names = labels.label_set(sources["train"], given, Column.of(spec, "label"), classes.get("label", ()))
        for source, rows in sources.items():
            labels.refuse_unknown(rows, names, source, given=given is not None)
        _refuse_weights_of_nothing(spec, names)
        return Labels(names, ChoiceLoss(spec.training.label_smoothing, _settings(spec).gamma))

    def group(self, row: Row) -> str:
        """The text, with its pair."""
        return texts.same_texts(row)

    def stratum(self, row: Row) -> str:
        """The label."""
        return row["label"]

    def refuse_untaught(self, spec: FineTuneJobSpec, space: Labels, training: Sequence[Row]) -> Labels:
        """Every label needs a row to learn from; the weights of the labels follow from these rows."""
        labels.refuse_untaught(training, space.labels, given=spec.task.labels is not None)
        counts = np.array([rows for _, rows in labels.label_rows(training, space.labels)])
        return replace(space, loss=replace(space.loss, weights=_weights(_settings(spec), space.labels, counts)))

    def data_notes(self, sources: Mapping[str, Sequence[Row]], tokenizer: Any) -> Iterator[str]:
        """A text is a text."""
        return iter(())

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int, space: Labels) -> Encoded:
        """With the special tokens that the model expects; rows without any token are not kept."""
        tokens = encode_texts(rows, tokenizer, max_length)
        index = {name: position for position, name in enumerate(space.labels)}
        kept = list(compress(rows, tokens.kept))
        classes = np.fromiter((index[row["label"]] for row in kept), dtype=np.int32, count=len(kept))
        return tokens.with_targets(ClassTargets(classes), labels.label_rows(kept, space.labels))

    def model_class(self) -> Any:
        """With a softmax head."""
        return texts.model_class()

    def configure(self, config: Any, space: Labels) -> None:
        """An output for each label."""
        heads.name_outputs(config, space.labels)
        config.problem_type = "single_label_classification"

    def fits_head(self, config: Any, space: Labels) -> bool:
        """A classifier of these very labels is trained further."""
        return texts.has_head(config) and heads.names_outputs_so(config, space.labels)

    def losses(self, forward: Forward, batch: MicroBatch, space: Labels) -> Losses:
        """The cross-entropy of each row's label."""
        logits = forward(**batch.inputs).logits
        trained, plain = choice_losses(logits.float(), batch.targets, space.loss)
        return Losses(trained, logits, plain)

    def tally(self, losses: Losses, batch: MicroBatch, space: Labels) -> Tally:
        """The loss, the confusion matrix ([labels, labels], rows the true ones), and the probabilities in bins."""
        import torch

        size = len(space.labels)
        counted = batch.targets != IGNORED
        pairs = batch.targets[counted] * size + losses.outputs.argmax(dim=-1)[counted]
        confusion = torch.bincount(pairs, minlength=size * size).reshape(size, size)
        scores = score_counts(losses.outputs, batch.targets)
        return {"loss": losses.judged.double().sum(), "confusion": confusion, **scores}

    def answers(self, losses: Losses, batch: MicroBatch, space: Labels) -> list[str]:
        """The labels with the highest scores."""
        return [space.labels[index] for index in losses.outputs.argmax(dim=-1).tolist()]

    def compared(self, losses: Losses, batch: MicroBatch, space: Labels) -> list[Compared]:
        """The label with the highest score, and the probability of each."""
        answers, scores = self.answers(losses, batch, space), losses.outputs.float().softmax(dim=-1).tolist()
        true = [space.labels[index] for index in batch.targets.tolist()]
        return [
            ({"label": answer, "scores": dict(zip(space.labels, of_row, strict=True))}, target)
            for answer, of_row, target in zip(answers, scores, true, strict=True)
        ]

    def made_up(self, space: Labels) -> list[Compared]:
        """One of each label."""
        return [
            ({"label": label, "scores": {other: float(other == label) for other in space.labels}}, label)
            for label in space.labels
        ]

    def measure(self, tally: dict[str, NDArray[np.float64]], space: Labels) -> Measured:
        """The mean loss, and what follows from the confusion matrix and from the probabilities."""
        confusion = tally["confusion"]
        metrics, details = class_metrics(confusion, space.labels)
        ranked = ranking(tally["scores"])
        metrics |= {"auc": ranked.auc, ECE: calibration_error(tally["calibration"])}
        bins = calibration_bins(tally["calibration"])
        details = replace(details, calibration=bins, auc_within=ranked.within)
        return Measured({LOSS: float(tally["loss"] / confusion.sum()), **metrics}, details)

    def notes(self, metric: str, evaluation: EvaluationRecord, data: DataReport) -> list[str]:
        """What always giving one answer would reach."""
        baseline = baseline_accuracy(data, evaluation.split) if metric == ACCURACY else None
        if baseline is None:
            return []
        label, accuracy = baseline
        return [f"{accuracy:.3f} by always predicting “{text.elide(text.printable(label), 20)}”"]

    def findings(self, evaluation: EvaluationRecord | None, data: DataReport) -> Iterator[str]:
        """A model no better than a guess, labels too rare to learn, labels never answered."""
        if evaluation is not None and (baseline := baseline_accuracy(data, evaluation.split)) is not None:
            label, reached = baseline
            accuracy = evaluation.metrics.get(ACCURACY, math.nan)
            if accuracy <= reached:
                yield (
                    f"Always predicting {listed_names([label])} would reach {text.percent(reached)} on the"
                    f" {evaluation.split} split; the model's {text.percent(accuracy)} is no better."
                )
        yield from rare_labels(data)
        silent = never_predicted(evaluation)
        if evaluation is not None and silent:
            split = evaluation.split
            yield f"The model never predicted {listed_names(silent)} on the {split} split, though it has such rows."
        error = evaluation.metrics.get(ECE, 0.0) if evaluation else 0.0
        if evaluation is not None and error > POOR_CALIBRATION:
            yield (
                f"The probabilities of the answers are {_lean(evaluation)} on the {evaluation.split} split: ECE"
                f" {error:.3f}, which is how far they are from the share of right answers on average."
            )

    def card(self, spec: FineTuneJobSpec, data: DataReport) -> CardText:
        """What the answers mean, and how to get them."""
        what = f"A classifier of texts into {text.plural(len(data.labels), 'label')}"
        return CardText(what, _LIMITS, texts.MODEL_CLASS, _USAGE)


def _settings(spec: FineTuneJobSpec) -> ClassificationSettings:
    return spec.task.sequence_classification or ClassificationSettings()


def _refuse_weights_of_nothing(spec: FineTuneJobSpec, names: tuple[str, ...]) -> None:
    unknown = [each.label for each in _settings(spec).weights or [] if each.label not in names]
    if unknown:
        raise invalid_data(
            f"spec.task.sequenceClassification.weights: there is no label {labels.listed_labels(unknown)}; the labels"
            f" are {labels.listed_labels(names)}"
        )


def _weights(
    settings: ClassificationSettings, names: tuple[str, ...], counts: NDArray[np.int64]
) -> tuple[float, ...] | None:
    if settings.weights is not None:
        given = {each.label: each.weight for each in settings.weights}
        return on_average_one([given.get(name, 1.0) for name in names], counts)
    return balanced(counts) if settings.class_weights == "Balanced" else None


def baseline_accuracy(data: DataReport, split_name: str) -> tuple[str, float] | None:
    """The label most frequent in training, and the accuracy in the split of always answering it."""
    train, judged = data.split("train"), data.split(split_name)
    if train is None or judged is None or not train.label_rows or not judged.label_rows:
        return None
    label = most_frequent(train)
    total = sum(rows for _, rows in judged.label_rows)
    return (label, dict(judged.label_rows).get(label, 0) / total) if total else None


def most_frequent(split: SplitReport) -> str:
    """The label with the most rows."""
    return max(split.label_rows, key=lambda item: item[1])[0]


def rare_labels(data: DataReport) -> Iterator[str]:
    """A finding where labels have too few rows to learn from."""
    train = data.split("train")
    rare = [label for label, rows in train.label_rows if rows < RARE_LABEL_ROWS] if train else []
    if rare:
        yield f"{_named(rare)} fewer than {RARE_LABEL_ROWS} rows to learn from: {listed_names(rare)}."


def never_predicted(evaluation: EvaluationRecord | None) -> list[str]:
    """Labels that the evaluation's rows have and the model never gave."""
    details = evaluation.details if evaluation else None
    if not isinstance(details, ClassificationDetails):
        return []
    totals = [sum(column) for column in zip(*details.confusion, strict=True)]
    return [one.label for one, total in zip(details.per_class, totals, strict=True) if total == 0 and one.rows > 0]


def _lean(evaluation: EvaluationRecord) -> str:
    details = evaluation.details
    bins = details.calibration if isinstance(details, ClassificationDetails) else ()
    lean = sum((one.confidence - one.accuracy) * one.rows for one in bins)
    return "too high" if lean > 0 else "too low"


def _named(names: list[str]) -> str:
    return "One label has" if len(names) == 1 else f"{len(names):,} labels have"


def listed_names(names: list[str], limit: int = 5) -> str:
    """The names for a finding, the first of many."""
    shown = ", ".join(f"“{text.elide(text.printable(name), 24)}”" for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"


_LIMITS = """\
The model gives one of its labels to a text like those in its training data. It gives one to any other text too, and
then its answer means nothing. Its scores are not calibrated probabilities."""
_USAGE = """
inputs = tokenizer("A text to classify.", truncation=True, return_tensors="pt")
scores = model(**inputs).logits.softmax(-1)[0]
print({model.config.id2label[place]: round(score.item(), 4) for place, score in enumerate(scores)})
"""
