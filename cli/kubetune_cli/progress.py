"""What a person sees while a run goes on: a live line in a terminal, a line now and then elsewhere."""

from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from kubetune_api import status
from kubetune_api.metrics import LOSS, metric_text
from kubetune_api.numbers import minutes
from kubetune_cli.data_view import data_text

_QUIET_SECONDS = 10.0


class View(Protocol):
    """How the events of a run are shown."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: dict[str, Any]) -> None:
        """Shows one event of `kubetune_trainer.events`."""


def view_for(console: Console) -> View:
    """A live view for a terminal, plain lines for a pipe or a file."""
    return LiveView(console) if console.is_terminal else PlainView(console)


class LiveView:
    """A bar with step, loss, tokens per second and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._saved: int | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: dict[str, Any]) -> None:
        """See `View`."""
        if event["event"] == "progress":
            state = progress_in(event)
            if self._task is None:
                self._task = self._progress.add_task("Training", total=state.total_steps, detail="")
            self._progress.update(self._task, completed=state.step, detail=detail(state, saved=self._saved))
        elif event["event"] == "checkpoint":
            self._saved = saved_step(event)
        else:
            line = line_for(event)
            if line:
                self._console.print(line, markup=False, highlight=False)


class PlainView:
    """Lines without control codes."""

    def __init__(self, console: Console) -> None:
        self._console, self._lines = console, PlainLines(monotonic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, event: dict[str, Any]) -> None:
        """See `View`."""
        if line := self._lines.of(event):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class PlainLines:
    """The lines of events: of the training at most one every few seconds, its last step and each evaluation."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due = float("-inf")
        self._last: tuple[int, str | None] = (0, None)
        self._saved: int | None = None

    def of(self, event: dict[str, Any]) -> str | None:
        """The line of an event; None if it has none."""
        if event["event"] == "checkpoint":
            self._saved = saved_step(event)
        if event["event"] != "progress":
            return line_for(event)
        state = progress_in(event)
        begins = state.evaluating is not None and (state.step, state.evaluating) != self._last
        ends = state.step == state.total_steps > self._last[0]
        goes_on = state.step != self._last[0] or state.answers is not None
        if not (begins or ends) and (self._clock() < self._due or not goes_on):
            return None
        self._due, self._last = self._clock() + _QUIET_SECONDS, (state.step, state.evaluating)
        return f"  step {state.step}/{state.total_steps}  {detail(state, saved=self._saved)}"


def progress_in(event: dict[str, Any]) -> status.Progress:
    """The progress of an event that has one."""
    return status.Progress.model_validate(event["progress"])


def saved_step(event: dict[str, Any]) -> int | None:
    """The step of the last checkpoint, of an event that tells of them."""
    return status.CheckpointStatus.model_validate(event["checkpoint"]).step


def detail(state: status.Progress, *, ended: bool = False, saved: int | None = None) -> str:
    """Loss, speed, and what is still to do; `saved` is the step of the last checkpoint."""
    words = [f"epoch {state.epoch:.2f}"]
    if state.loss is not None:
        words.append(f"loss {metric_text(LOSS, state.loss)}")
    if state.tokens_per_second is not None:
        words.append(f"{state.tokens_per_second:,.0f} tokens/s")
    if state.evaluating is not None and not ended:
        answers = f", {state.answers:,} of {state.total_answers:,} answers written" if state.answers is not None else ""
        words.append(f"evaluating the {state.evaluating} split{answers}")
    elif state.seconds_left and state.step < state.total_steps and not ended:
        words.append(f"{minutes(state.seconds_left)} left")
    if saved is not None and not ended:
        words.append(f"saved at step {saved}")
    return "  ".join(words)


def line_for(event: dict[str, Any]) -> str | None:
    """The line of an event that deserves one; of what was read, several."""
    match event["event"]:
        case "stage":
            return f"• {event['text']}"
        case "note":
            return f"  note: {event['text']}"
        case "data":
            return data_text(event["data"], event["samples"])
        case "evaluated":
            record = event["evaluation"]
            values = "  ".join(f"{name} {metric_text(name, value)}" for name, value in record["metrics"].items())
            return f"  {record['split']} after step {record['step']}: {values}"
    return None
