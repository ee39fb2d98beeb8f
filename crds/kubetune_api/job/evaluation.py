"""`spec.evaluation`: what the model must reach."""

import re
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, ColumnName, Rule, words
from kubetune_api.job.names import NAME_PATTERN, NAME_WORDS
from kubetune_api.metrics import CUSTOM, METRICS, SPLITS, slice_of
from kubetune_api.tables import Matches, filled, listed
from kubetune_api.tasks import TASKS, TaskRow


def _pattern() -> str:
    names = "|".join((*METRICS, f"{re.escape(CUSTOM)}{_CUSTOM_NAME}"))
    return f"^({'|'.join(SPLITS)})/({NAME_PATTERN.strip('^$')}/)?({names})$"


_CUSTOM_NAME = "[a-z][a-z0-9_]{0,31}"


def _words() -> str:
    splits = listed((f"{split}/" for split in SPLITS), "or", code=True)
    return f"{splits}, then {listed((*METRICS, f'{CUSTOM}<name>'), 'or')}"


def _of_each_task() -> str:
    return " or ".join(
        f"{', '.join(f'`{metric}`' for metric in task.all_metrics)} ({name})" for name, task in TASKS.items()
    )


def _headlines() -> str:
    return ", ".join(f"{_first_of(task)} ({name})" for name, task in TASKS.items())


def _first_of(task: TaskRow) -> str:
    scored = f" (`{task.scored.headline[0]}` with a `{task.scored.column}`)" if task.scored else ""
    return f"`{task.headline[0]}`{scored}"


_FullName = Annotated[str, StringConstraints(max_length=96), Matches(_pattern, _words)]
MetricName = Annotated[_FullName, Field(json_schema_extra=filled(metrics=_of_each_task))]
SliceValue = Annotated[str, StringConstraints(min_length=1, max_length=128)]
SliceName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=32, pattern=NAME_PATTERN),
    Field(json_schema_extra=words(f"a name of at most 32 {NAME_WORDS}")),
]


CustomName = Annotated[
    str,
    StringConstraints(pattern=f"^{_CUSTOM_NAME}$", max_length=32),
    Field(json_schema_extra=words("a name of at most 32 lowercase letters, digits and `_` that begins with a letter")),
]


class Requirement(ApiModel):
    """A metric that the final model must reach."""

    metric: MetricName
    """The full name of the metric: `validation/` or `test/`, for rows of a slice its name and `/`, then {metrics}, or
    `custom.` and a name of `evaluation.metrics`."""
    min: float | None = None
    """The lowest value that is good enough."""
    max: float | None = None
    """The highest value that is good enough."""

    def is_met_by(self, value: float) -> bool:
        """NaN meets nothing."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    rules: ClassVar = (
        Rule(
            cel="has(self.min) || has(self.max)",
            message="a requirement needs `min`, `max` or both; give one",
            holds=lambda requirement: requirement.min is not None or requirement.max is not None,
            field="min",
        ),
        Rule(
            cel="!has(self.min) || !has(self.max) || self.min <= self.max",
            message="no value is at least `min` and at most `max`; swap them",
            holds=lambda requirement: (
                requirement.min is None or requirement.max is None or requirement.min <= requirement.max
            ),
            field="min",
        ),
    )


class Generation(ApiModel):
    """Answers that the model writes, to be compared with those of the data."""

    max_rows: Annotated[int, Field(ge=1, le=100000)] = 200
    """Of how many rows of each split it writes the answer; the first ones of the split: by the hash of their
    texts where `dataset.uri` is split, in the order of the files where these are the split's own. At the end it also
    writes to the worst errors of the report, 50 rows at most and no more than this."""
    max_new_tokens: Annotated[int, Field(ge=1, le=131072)] = 128
    """The longest answer, in tokens. None becomes longer than twice the longest of those rows' own answers."""


class Slice(ApiModel):
    """Rows of the held-out splits that are judged by themselves as well: those with certain values in a column."""

    name: SliceName
    """What the report calls it, and the names of its metrics: `test/german/accuracy`."""
    column: ColumnName
    """The column that decides. The model does not see it, unless it is one of `dataset.columns` too."""
    values: Annotated[list[SliceValue], Field(min_length=1, max_length=32)]
    """The values of the rows that belong to it, as texts: `"1"` for a number, `"true"` for a boolean."""


def _offers_each(evaluation: "Evaluation") -> bool:
    own = {f"{CUSTOM}{name}" for name in evaluation.metrics}
    plain = {required.metric.rpartition("/")[2] for required in evaluation.require}
    return {name for name in plain if name.startswith(CUSTOM)} <= own


def _has_each_slice(evaluation: "Evaluation") -> bool:
    names = {one.name for one in evaluation.slices}
    return all(slice_of(required.metric) in {None, *names} for required in evaluation.require)


_OF_SLICE = " || ".join(f"r.metric.startsWith('{split}/' + s.name + '/')" for split in SPLITS)


class Evaluation(ApiModel):
    """How the model is judged."""

    every_steps: Annotated[int, Field(ge=1, le=100000000)] | None = None
    """Evaluates on the validation split after each this many optimizer steps, and after the last one. Unset: after each
    epoch."""
    primary_metric: Annotated[_FullName | None, Field(json_schema_extra=filled(headlines=_headlines))] = None
    """The full name of the metric that stands for the model, in `kubectl get` too. Unset: by the task, {headlines}, of
    the test split; without one, or with `training.earlyStopping` or `training.keep: Best`, of the validation split."""
    require: Annotated[list[Requirement], Field(max_length=16)] = Field([])
    """What the final model must reach for the run to succeed. A model that misses any of them is kept, its
    manifest says `rejected`, and the run ends Failed."""
    generation: Generation | None = None
    """Has a model that writes answer some rows, greedily: before the training, at the end, and at every evaluation if
    a metric of answers decides when the training ends or which weights are published. Unset: nothing is written, and
    the metrics of answers do not exist."""
    slices: Annotated[list[Slice], Field(max_length=16)] = Field([])
    """Parts of the held-out rows that the published model is judged on as well, each by itself."""
    metrics: Annotated[list[CustomName], Field(max_length=16)] = Field([])
    """Metrics of your own, by the names under which a package of the image offers them: entry points of the group
    `kubetune.metrics`. They are measured on the published model, and called `custom.` and the name."""

    rules: ClassVar = (
        Rule(
            # The API server judges the default {} of the group before it fills it in.
            cel="!has(self.slices) || self.slices.all(s, self.slices.exists_one(other, other.name == s.name))",
            message="two slices have the same name; rename one of them",
            holds=lambda evaluation: len({one.name for one in evaluation.slices}) == len(evaluation.slices),
            field="slices",
        ),
        Rule(
            cel="!has(self.require) || self.require.all(r, !r.metric.matches('/.+/') ||"
            f" self.slices.exists(s, {_OF_SLICE}))",
            message="a required metric is of a slice that `slices` does not have; add the slice, or correct the name",
            holds=_has_each_slice,
            field="require",
        ),
        Rule(
            cel="!has(self.metrics) || self.metrics.all(m, self.metrics.exists_one(other, other == m))",
            message="two metrics have the same name; remove one of them",
            holds=lambda evaluation: len(set(evaluation.metrics)) == len(evaluation.metrics),
            field="metrics",
        ),
        Rule(
            cel=f"!has(self.require) || self.require.all(r, !r.metric.contains('/{CUSTOM}') ||"
            f" (has(self.metrics) && self.metrics.exists(m, r.metric.endsWith('/{CUSTOM}' + m))))",
            message="a required metric of your own is not in `metrics`; add its name there, or correct it",
            holds=_offers_each,
            field="require",
        ),
        Rule(
            cel=f"!has(self.primaryMetric) || !self.primaryMetric.contains('/{CUSTOM}')",
            message="a metric of your own does not stand for the model, as nothing says whether its highest or its"
            " lowest value is the best; require it in `require`, and name another one",
            holds=lambda evaluation: f"/{CUSTOM}" not in (evaluation.primary_metric or ""),
            field="primaryMetric",
        ),
        Rule(
            cel="!has(self.primaryMetric) || !self.primaryMetric.matches('/.+/')",
            message="what stands for the model is a metric of a whole split; leave out the name of the slice, and"
            " require the metric of the slice in `require`",
            holds=lambda evaluation: slice_of(evaluation.primary_metric or "") is None,
            field="primaryMetric",
        ),
    )
