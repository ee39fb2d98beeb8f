"""Metrics of the user's own: functions that installed packages offer as entry points.

A manifest has their names alone: what runs is what the image has installed, and nothing of a manifest or a model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from math import isfinite, nan
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

from kubetune_api import text
from kubetune_api.metrics import ENTRY_POINTS
from kubetune_api.reasons import Reason
from kubetune_api.tables import listed
from kubetune_trainer.errors import RunError
from kubetune_trainer.tasks.base import Compared, Comparing, TrainingTask

CustomMetric = Callable[[Sequence[Any], Sequence[Any]], float]
"""Takes the predictions and the targets of some rows, and returns a number."""

_FIELD = "spec.evaluation.metrics"
_TEXTS: Sequence[Compared] = [(answer, answer) for answer in ("An answer.", "Another answer of a model.")]
_LONGEST_MESSAGE = 200
_SECONDS = 600.0
"""What all metrics of an evaluation may take together: the other ranks wait meanwhile, and not for ever."""


class TimeLimit:
    """Calls functions of others, for so long together; what is not done then goes on for nothing."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        self.seconds, self._end = seconds, monotonic() + seconds

    def call(self, function: Callable[[], float]) -> float:
        """What it returns or raises. TimeoutError where it takes longer than is left."""
        answers: SimpleQueue[tuple[float, BaseException | None]] = SimpleQueue()

        def answer() -> None:
            try:
                answers.put((function(), None))
            except BaseException as error:
                answers.put((nan, error))

        Thread(target=answer, daemon=True).start()
        with suppress(Empty):
            value, error = answers.get(timeout=max(0.0, self._end - monotonic()))
            if error is not None:
                raise error
            return value
        raise TimeoutError


def load_metrics(names: Iterable[str]) -> dict[str, CustomMetric]:
    """By name. RunError (INVALID_MANIFEST) for one that is not there, or that cannot be imported."""
    offered = entry_points(group=ENTRY_POINTS)
    return {name: _loaded(name, [one for one in offered if one.name == name], sorted(offered.names)) for name in names}


def _loaded(name: str, found: Sequence[EntryPoint], offered: Sequence[str]) -> CustomMetric:
    if not found:
        others = f"those that there are: {listed(offered)}" if offered else "there is none"
        raise _refused(
            f"no installed package offers a metric `{name}` (entry points of the group {ENTRY_POINTS}; {others});"
            " install the package in the image, or correct the name"
        )
    if len(found) > 1:
        packages = listed(_package(one) for one in found)
        raise _refused(f"the packages {packages} all offer a metric `{name}`; leave one of them installed")
    try:
        metric = found[0].load()
    except Exception as error:  # whatever the package does
        raise _refused(
            f"`{name}` of {_package(found[0])} cannot be imported: {_said(error)}; mend the package"
        ) from error
    if not callable(metric):
        raise _refused(f"`{name}` of {_package(found[0])} is no function; mend the package")
    function: CustomMetric = metric
    return function


def try_out(metrics: Mapping[str, CustomMetric], task: TrainingTask, space: Any) -> None:
    """RunError (INVALID_MANIFEST) for a metric that has no number of a few made-up rows, before anything is trained."""
    limit = TimeLimit()
    rows = task.made_up(space) if isinstance(task, Comparing) else _TEXTS
    for name, metric in metrics.items():
        _, problem = measured(name, metric, rows, limit)
        if problem:
            raise _refused(
                f"{problem}, when it was tried on {len(rows):,} made-up rows whose predictions are right; mend the"
                " function, or remove the metric"
            )


def measured(name: str, metric: CustomMetric, rows: Sequence[Compared], limit: TimeLimit) -> tuple[float, str | None]:
    """The value, and where it is no number, why; NaN then."""
    predictions, targets = [prediction for prediction, _ in rows], [target for _, target in rows]
    try:
        value = limit.call(lambda: float(metric(predictions, targets)))
    except TimeoutError:
        return (
            nan,
            f"`{name}` had no value after {limit.seconds:g} seconds, which all metrics of your own have together",
        )
    except (Exception, SystemExit) as error:  # the function is not ours
        return nan, f"`{name}` raised {_said(error)}"
    return (value, None) if isfinite(value) else (nan, f"`{name}` returned {value}")


def _refused(sentence: str) -> RunError:
    return RunError(Reason.INVALID_MANIFEST, f"{_FIELD}: {sentence}")


def _package(one: EntryPoint) -> str:
    return one.dist.name if one.dist else one.value


def _said(error: BaseException) -> str:
    message = text.elide(text.printable(str(error)), _LONGEST_MESSAGE)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
