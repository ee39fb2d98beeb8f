"""`kubetune status`: the jobs of a namespace, or all that is known of one, now or until it ends."""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kubetune_cli.jobs import Cluster, Job, Pause, UnreachableError, changes, find
from kubetune_cli.status_view import line_of, table_of, whole
from kubetune_cli.text import printable

SUCCEEDED, FAILED = 0, 1
_QUIET_SECONDS = 10.0
_WIDE = 4096
"""Columns of a pipe or a file: nothing is cut or wrapped there."""


def console_for(*, stderr: bool) -> Console:
    """A console for people; where no terminal is, one that wraps nothing."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDE)


def show_all(cluster: Cluster, console: Console, *, everywhere: bool, as_json: bool) -> None:
    """Prints a table of the jobs, or their status as JSON."""
    jobs = cluster.jobs(everywhere=everywhere)
    if as_json:
        _write_json([{"namespace": job.namespace, "name": job.name, "status": job.raw_status} for job in jobs])
    elif jobs:
        console.print(table_of(jobs, _now(), namespaces=everywhere))
    else:
        where = "in the cluster" if everywhere else f"in namespace {printable(cluster.namespace)}"
        console.print(Text(f"There are no FineTuneJobs {where}."))


def show_one(cluster: Cluster, name: str, console: Console, *, as_json: bool) -> None:
    """Prints all that is known of a job."""
    job = find(cluster, name)
    if as_json:
        _write_json(job.raw_status)
    else:
        console.print(whole(job, _now()))


def follow(cluster: Cluster, name: str, console: Console, pause: Pause, *, as_json: bool) -> int:
    """Shows a job until it ends; returns the exit code: 0 succeeded, 1 failed."""
    job = find(cluster, name)
    view = _LiveView(job, console) if console.is_terminal else _LineView(console, monotonic)
    with view.live:
        for seen in changes(cluster, job, pause):
            view.show(seen)
            if isinstance(seen, Job):
                job = seen
                if job.ended:
                    break
    if as_json:
        _write_json(job.raw_status)
    elif not console.is_terminal:
        console.print(whole(job, _now()))
    return SUCCEEDED if job.status.phase == "Succeeded" else FAILED


class _LiveView:
    """The whole of a job, kept up to date in a terminal."""

    def __init__(self, job: Job, console: Console) -> None:
        self._job, self._console = job, console
        # Ages go on by themselves.
        self.live = Live(console=console, get_renderable=lambda: whole(self._job, _now()), refresh_per_second=1)

    def show(self, seen: Job | UnreachableError) -> None:
        if isinstance(seen, Job):
            self._job = seen
            self.live.refresh()
        else:
            self._console.print(Text(printable(str(seen))))


class _LineView:
    """A line for each change; for the training alone, at most one every few seconds."""

    live = nullcontext()

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console, self._clock = console, clock
        self._state, self._last = "", 0.0

    def show(self, seen: Job | UnreachableError) -> None:
        state = seen.state if isinstance(seen, Job) else str(seen)
        if state == self._state and self._clock() - self._last < _QUIET_SECONDS:
            return
        self._state, self._last = state, self._clock()
        self._console.print(Text(line_of(seen) if isinstance(seen, Job) else printable(state)))


def _write_json(value: object) -> None:
    # ASCII alone: no text of a tenant reaches the terminal as it is.
    sys.stdout.write(json.dumps(value) + "\n")


def _now() -> datetime:
    return datetime.now(UTC)
