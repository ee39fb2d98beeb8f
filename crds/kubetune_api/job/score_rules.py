"""The rules over rows that have a score: they are learned and judged by it, and a task's other rows are not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from kubetune_api.base import Rule
from kubetune_api.job.task_rules import holds_for, unless
from kubetune_api.job.task_settings import LOSS_OF_SCORES
from kubetune_api.tables import listed
from kubetune_api.tasks import TASKS


@dataclass(frozen=True)
class _Scores:
    """Of one task."""

    task: str
    column: str
    group: str
    """The attribute of `task` with its settings."""

    @property
    def there(self) -> str:
        """In CEL, whether the rows have them."""
        return f"has(self.dataset.columns.{to_camel(self.column)})"

    def are_there(self, spec: Any) -> bool:
        """The same."""
        return getattr(spec.dataset.columns, self.column) is not None

    def rule(self, condition: str, message: str, holds: Callable[[Any], bool], field: str) -> Rule:
        """A rule that holds for every other task."""
        return Rule(
            cel=unless(self.task, condition),
            message=message,
            holds=holds_for(self.task, holds),
            field=field,
        )


def score_rules() -> Iterator[Rule]:
    """See the module."""
    for name, task in TASKS.items():
        if task.scored is not None and task.settings is not None:
            scores = _Scores(name, task.scored.column, task.settings)
            yield from _metrics(scores, [each for each in task.all_metrics if each not in task.metrics], scored=True)
            yield from _metrics(
                scores, [each for each in task.metrics if each not in task.scored.metrics], scored=False
            )
            yield _loss(scores)
            yield _temperature(scores)


def _metrics(scores: _Scores, metrics: Sequence[str], *, scored: bool) -> Iterator[Rule]:
    """These are of rows with a score, or of rows without one."""
    there, pattern = scores.there if scored else f"!{scores.there}", f"/({'|'.join(metrics)})$"
    kind = f"with a {scores.column}" if scored else f"without a {scores.column}"
    message = f"{listed(metrics)} are of rows {kind}; name another metric, or change the columns"

    def fits(spec: Any, names: Sequence[str]) -> bool:
        return scores.are_there(spec) == scored or not any(name.rpartition("/")[2] in metrics for name in names)

    yield scores.rule(
        f"{there} || self.evaluation.require.all(r, !r.metric.matches('{pattern}'))",
        message,
        lambda spec: fits(spec, [required.metric for required in spec.evaluation.require]),
        "evaluation.require",
    )
    primary = "self.evaluation.primaryMetric"
    yield scores.rule(
        f"{there} || !has({primary}) || !{primary}.matches('{pattern}')",
        message,
        lambda spec: fits(spec, [spec.evaluation.primary_metric or ""]),
        "evaluation.primaryMetric",
    )


def _loss(scores: _Scores) -> Rule:
    group = f"task.{to_camel(scores.group)}"

    def fits(spec: Any) -> bool:
        settings = getattr(spec.task, scores.group)
        named = settings and settings.loss
        return named is None or (named == LOSS_OF_SCORES) == scores.are_there(spec)

    return scores.rule(
        f"!has(self.{group}) || !has(self.{group}.loss) || (self.{group}.loss == '{LOSS_OF_SCORES}') == {scores.there}",
        f"{LOSS_OF_SCORES} learns from rows with a {scores.column}, and no other loss does; name the columns of its"
        " rows, or remove the loss, which follows from the columns",
        fits,
        f"{group}.loss",
    )


def _temperature(scores: _Scores) -> Rule:
    group = f"task.{to_camel(scores.group)}"

    def fits(spec: Any) -> bool:
        settings = getattr(spec.task, scores.group)
        return not scores.are_there(spec) or settings is None or settings.temperature is None

    return scores.rule(
        f"!has(self.{group}) || !has(self.{group}.temperature) || !{scores.there}",
        f"with a {scores.column} the cosine is learned as it is; remove the temperature, or change the columns",
        fits,
        f"{group}.temperature",
    )
