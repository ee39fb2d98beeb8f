"""`spec.task`: what the model learns."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from kubetune_api.base import ApiModel, Label, Rule
from kubetune_api.job.task_settings import (
    ClassificationSettings,
    EmbeddingSettings,
    MultiLabelSettings,
    PreferenceSettings,
    RegressionSettings,
    Seq2SeqSettings,
)
from kubetune_api.tables import OneOf, filled, listed
from kubetune_api.tasks import TASKS, tasks_with_labels
from kubetune_api.unions import members_of_type


def _what_they_do() -> str:
    return " ".join(f"`{name}` {task.does}." for name, task in TASKS.items())


def _lengths() -> str:
    return ", ".join(f"{task.max_length} ({name})" for name, task in TASKS.items())


def _labels_rule() -> Iterator[Rule]:
    names = tasks_with_labels()
    yield Rule(
        cel=f"self.type in {names} || !has(self.labels)",
        message=f"labels belong to {listed(names)}; remove them, or change task.type",
        holds=lambda task: task.type in names or task.labels is None,
        field="labels",
    )


def _settings() -> dict[str, tuple[str, ...]]:
    return {name: (task.settings,) if task.settings else () for name, task in TASKS.items()}


MOST_LABEL_BYTES = 65536
"""Of all labels together: whoever watches a cluster holds those of each of its jobs."""


def _label_bytes(labels: list[str] | None) -> int:
    return sum(len(label.encode()) for label in labels or [])


class Task(ApiModel):
    """What the model learns to do."""

    type: Annotated[str, OneOf(TASKS), Field(json_schema_extra=filled(tasks=_what_they_do))]
    """{tasks}"""
    labels: (
        Annotated[
            list[Label], Field(min_length=2, max_length=1000, json_schema_extra={"x-kubernetes-list-type": "set"})
        ]
        | None
    ) = None
    """The labels of a classification, in the order of the head's outputs, with 65,536 bytes together at most. Unset:
    those found in the training split, in sorted order. Set: a row with any other label is an error, unless
    `dataset.cleaning.dropOtherLabels` drops it."""
    max_length: Annotated[int | None, Field(ge=8, le=131072, json_schema_extra=filled(lengths=_lengths))] = None
    """The longest sequence, in tokens; what is longer is cut, and the report counts how many were. The model's own
    limit applies as well. Unset: by the task, {lengths}."""
    preference: PreferenceSettings | None = None
    """How two answers are compared. Unset: by the loss of DPO."""
    embedding: EmbeddingSettings | None = None
    """How texts become vectors. Unset: the mean of their tokens."""
    seq2_seq: Seq2SeqSettings | None = None
    """How a source becomes its target."""
    multi_label_classification: MultiLabelSettings | None = None
    """How several labels are read and given. Unset: labels in a text are separated by commas, and the threshold is
    tuned."""
    sequence_regression: RegressionSettings | None = None
    """How numbers are learned. Unset: by the squared error."""
    sequence_classification: ClassificationSettings | None = None
    """What the loss makes of the labels. Unset: the cross-entropy, in which all rows count the same."""

    rules: ClassVar = (
        _labels_rule,
        members_of_type(_settings),
        Rule(
            # A list of type `set` is judged by the API server without CEL, whose price grows with the square of 1000.
            cel=None,
            message="a label is in the list twice; name each one once",
            holds=lambda task: task.labels is None or len(set(task.labels)) == len(task.labels),
            field="labels",
        ),
        Rule(
            cel=f"!has(self.labels) || self.labels.map(l, bytes(l).size()).sum() <= {MOST_LABEL_BYTES}",
            message=f"the labels have more than {MOST_LABEL_BYTES:,} bytes together; shorten them, or train on short"
            " identifiers",
            holds=lambda task: _label_bytes(task.labels) <= MOST_LABEL_BYTES,
            field="labels",
        ),
    )

    @property
    def longest_target(self) -> int:
        """The longest target, in tokens, where it is a sequence of its own."""
        return (self.seq2_seq or Seq2SeqSettings()).max_target_length

    @property
    def languages(self) -> tuple[str, str] | None:
        """The codes of the languages of sources and targets."""
        settings = self.seq2_seq or Seq2SeqSettings()
        if settings.source_language is None or settings.target_language is None:
            return None
        return settings.source_language, settings.target_language
