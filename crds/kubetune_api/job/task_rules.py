"""The rules over several parts of a job that follow from the rows of `TASKS`: what each task reads, and is judged by.

Each task has rules of its own, which hold for every other: an expression of the API server stays short, and so cheap.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from pydantic.alias_generators import to_camel

from kubetune_api.base import Rule
from kubetune_api.job.dataset import Columns
from kubetune_api.metrics import CUSTOM
from kubetune_api.tables import listed
from kubetune_api.tasks import TASKS, TaskRow

_COLUMNS = "dataset.columns"


def column_rules() -> Iterator[Rule]:
    """A task has every column that it needs, and none that it does not read."""
    for name, task in TASKS.items():
        others = [column for column in Columns.model_fields if column not in task.reads]
        yield _several_shapes(name, task) if task.other_shapes else _one_shape(name, task)
        if others:
            yield Rule(
                cel=unless(name, _has(others, "!")),
                message=f"{name} reads the {_named(task.reads)} only; remove the others, or change task.type",
                holds=holds_for(name, partial(_has_none, columns=others)),
                field=_COLUMNS,
            )


def _one_shape(name: str, task: TaskRow) -> Rule:
    return Rule(
        cel=unless(name, _has(task.columns)),
        message=f"{name} needs the {_named(task.columns)}{_not(task.columns)}; name {_all(task.columns)}",
        holds=holds_for(name, partial(_has_all, columns=task.columns)),
        field=_COLUMNS,
    )


def _several_shapes(name: str, task: TaskRow) -> Rule:
    shapes = [(shape, _of_others(task, shape)) for shape in task.shapes]
    return Rule(
        cel=unless(name, " || ".join(f"({' && '.join([*_each(own), *_each(others, '!')])})" for own, others in shapes)),
        message=f"{name} needs {', or '.join(f'the {_named(shape)}' for shape in task.shapes)}; name one of these sets,"
        " and no column of another",
        holds=holds_for(
            name, lambda spec: any(_has_all(spec, own) and _has_none(spec, others) for own, others in shapes)
        ),
        field=_COLUMNS,
    )


def _of_others(task: TaskRow, shape: Sequence[str]) -> Sequence[str]:
    """The columns of other shapes that this one has not."""
    return [column for column in dict.fromkeys(chain(*task.shapes)) if column not in shape]


def metric_rules() -> Iterator[Rule]:
    """What a job requires, and what stands for its model, exists for its task."""
    for name, task in TASKS.items():
        yield Rule(
            cel=unless(
                name,
                "self.evaluation.require.all(r,"
                f" r.metric.contains('/{CUSTOM}') || r.metric.matches('/({'|'.join(task.all_metrics)})$'))",
            ),
            message=f"a required metric does not exist for {name}, which has {listed(task.all_metrics)}; require one of"
            " these",
            holds=holds_for(name, partial(_requires_only, metrics=task.all_metrics)),
            field="evaluation.require",
        )
        yield Rule(
            cel=unless(
                name,
                f"!has(self.evaluation.primaryMetric) || self.evaluation.primaryMetric.contains('/{CUSTOM}') ||"
                f" self.evaluation.primaryMetric.matches('/({'|'.join(task.all_metrics)})$')",
            ),
            message=f"this metric does not exist for {name}, which has {listed(task.all_metrics)}; name one of these",
            holds=holds_for(name, partial(_names_only, metrics=task.all_metrics)),
            field="evaluation.primaryMetric",
        )


def micro_batch_rules() -> Iterator[Rule]:
    """Where the rows of a micro-batch are compared, it has two at least, and as many in every attempt that goes on from
    a checkpoint: the planner chooses how many by the workers."""
    for name, task in TASKS.items():
        if task.compares_rows:
            scored = f"has(self.dataset.columns.{to_camel(task.scored.column)}) || " if task.scored else ""
            for size, attribute in (("microBatchSize", "micro_batch_size"), ("globalBatchSize", "global_batch_size")):
                yield Rule(
                    cel=unless(name, f"{scored}!has(self.training.{size}) || self.training.{size} > 1"),
                    message=f"{name} compares each row with the others of its micro-batch, and one row has none; set"
                    f" {size} to 2 or more, the larger the better",
                    holds=holds_for(name, partial(_is_not_one, attribute=attribute)),
                    field=f"training.{size}",
                )
            yield Rule(
                cel=unless(name, f"{scored}!has(self.resources.minWorkers) || !has(self.training.checkpoints)"),
                message=f"{name} compares the rows of a micro-batch, which fewer workers may make another: the training"
                " could not go on from training.checkpoints; remove minWorkers, or remove training.checkpoints",
                holds=holds_for(name, _keeps_its_micro_batch),
                field="resources.minWorkers",
            )


def _keeps_its_micro_batch(spec: Any) -> bool:
    fewer = spec.resources.min_workers is not None and spec.training.checkpoints is not None
    return not fewer or not spec.task_row.compares_rows


def _is_not_one(spec: Any, attribute: str) -> bool:
    return not spec.task_row.compares_rows or bool(getattr(spec.training, attribute) != 1)


def smoothing_rules() -> Iterator[Rule]:
    """Smoothing needs something to choose among."""
    for name, task in TASKS.items():
        if not task.smooths_labels:
            yield Rule(
                cel=unless(name, "self.training.labelSmoothing == 0.0"),
                message=f"{name} does not choose among labels or tokens, so there is nothing to smooth; remove"
                " labelSmoothing, or change task.type",
                holds=holds_for(name, lambda spec: spec.training.label_smoothing == 0.0),
                field="training.labelSmoothing",
            )
    focal = "self.task.sequenceClassification.loss != 'Focal'"
    yield Rule(
        cel=f"self.training.labelSmoothing == 0.0 || !has(self.task.sequenceClassification) || {focal}",
        message="the focal loss needs the probability of the right label alone; remove labelSmoothing, or set"
        " task.sequenceClassification.loss to CrossEntropy",
        holds=_smooths_no_focal_loss,
        field="training.labelSmoothing",
    )


def _smooths_no_focal_loss(spec: Any) -> bool:
    settings = spec.task.sequence_classification
    return spec.training.label_smoothing == 0.0 or settings is None or settings.loss != "Focal"


def generation_rules() -> Iterator[Rule]:
    """Metrics of answers need answers, and answers a model that writes."""
    writing = [name for name, task in TASKS.items() if task.generated_metrics]
    yield Rule(
        cel=f"!has(self.evaluation.generation) || self.task.type in {writing}",
        message=f"only models of {listed(writing)} write answers; remove it, or change task.type",
        holds=lambda spec: spec.evaluation.generation is None or spec.task.type in writing,
        field="evaluation.generation",
    )
    for name, task in TASKS.items():
        for column in task.unanswered:
            yield Rule(
                cel=unless(name, f"!has(self.evaluation.generation) || !has(self.dataset.columns.{to_camel(column)})"),
                message=f"the rows of the column `{to_camel(column)}` hold no answer that the model's could be compared"
                f" with; remove it, or train {name} on {_other_shapes(task, column)}",
                holds=holds_for(name, partial(_asks_for_no_answer, column=column)),
                field="evaluation.generation",
            )
    generated = sorted({metric for task in TASKS.values() for metric in task.generated_metrics})
    pattern = f"/({'|'.join(generated)})$"
    needs = "is of answers that the model writes; set evaluation.generation, or name another metric"
    yield Rule(
        cel=f"has(self.evaluation.generation) || self.evaluation.require.all(r, !r.metric.matches('{pattern}'))",
        message=f"a required metric {needs}",
        holds=lambda spec: (
            spec.evaluation.generation is not None
            or not any(_ends_in(required.metric, generated) for required in spec.evaluation.require)
        ),
        field="evaluation.require",
    )
    yield Rule(
        cel="has(self.evaluation.generation) || !has(self.evaluation.primaryMetric) ||"
        f" !self.evaluation.primaryMetric.matches('{pattern}')",
        message=f"this metric {needs}",
        holds=lambda spec: (
            spec.evaluation.generation is not None or not _ends_in(spec.evaluation.primary_metric or "", generated)
        ),
        field="evaluation.primaryMetric",
    )


def _other_shapes(task: TaskRow, column: str) -> str:
    return " or ".join(_quoted(shape) for shape in task.shapes if column not in shape)


def _asks_for_no_answer(spec: Any, column: str) -> bool:
    return spec.evaluation.generation is None or getattr(spec.dataset.columns, column) is None


def custom_metric_rules() -> Iterator[Rule]:
    """A metric of the user's own compares something."""
    comparing = [name for name, task in TASKS.items() if task.compared]
    yield Rule(
        cel=f"self.evaluation.metrics.size() == 0 || self.task.type in {comparing}",
        message=f"metrics of your own compare what a model says to each row, as those of {listed(comparing)} do; remove"
        " them, or change task.type",
        holds=lambda spec: not spec.evaluation.metrics or spec.task.type in comparing,
        field="evaluation.metrics",
    )
    writing = [name for name, task in TASKS.items() if task.generated_metrics]
    yield Rule(
        cel=f"self.evaluation.metrics.size() == 0 || has(self.evaluation.generation) || !(self.task.type in {writing})",
        message="metrics of your own compare the answers that the model writes; set evaluation.generation, or remove"
        " them",
        holds=lambda spec: (
            not spec.evaluation.metrics or spec.evaluation.generation is not None or spec.task.type not in writing
        ),
        field="evaluation.metrics",
    )


def unless(task: str, condition: str) -> str:
    """In CEL: a condition that holds for every other task."""
    return f"self.task.type != '{task}' || ({condition})"


def holds_for(task: str, condition: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """The same of a specification."""
    return lambda spec: spec.task.type != task or condition(spec)


def _has(columns: Sequence[str], negation: str = "") -> str:
    return " && ".join(_each(columns, negation))


def _each(columns: Sequence[str], negation: str = "") -> Sequence[str]:
    return [f"{negation}has(self.dataset.columns.{to_camel(column)})" for column in columns]


def _has_all(spec: Any, columns: Sequence[str]) -> bool:
    return all(getattr(spec.dataset.columns, column) is not None for column in columns)


def _has_none(spec: Any, columns: Sequence[str]) -> bool:
    return all(getattr(spec.dataset.columns, column) is None for column in columns)


def _requires_only(spec: Any, metrics: Sequence[str]) -> bool:
    return all(
        _is_custom(required.metric) or _ends_in(required.metric, metrics) for required in spec.evaluation.require
    )


def _names_only(spec: Any, metrics: Sequence[str]) -> bool:
    primary = spec.evaluation.primary_metric
    return primary is None or _is_custom(primary) or _ends_in(primary, metrics)


def _ends_in(full_name: str, metrics: Sequence[str]) -> bool:
    _, separator, metric = full_name.rpartition("/")
    return bool(separator) and metric in metrics


def _is_custom(full_name: str) -> bool:
    return f"/{CUSTOM}" in full_name


def _named(columns: Sequence[str]) -> str:
    return f"column{'s' * (len(columns) > 1)} {_quoted(columns)}"


def _quoted(columns: Sequence[str]) -> str:
    return listed(map(to_camel, columns), code=True)


def _not(columns: Sequence[str]) -> str:
    """The columns of other tasks that differ from one of these in number alone."""
    alike = [other for other in Columns.model_fields for own in columns if other in (f"{own}s", own.removesuffix("s"))]
    others = [other for other in alike if other not in columns]
    return f" ({_quoted(others)} is of other tasks)" if others else ""


def _all(columns: Sequence[str]) -> str:
    return {1: "it", 2: "both"}.get(len(columns), "all")
