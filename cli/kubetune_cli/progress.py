"""What a person sees while a run goes on: a live line in a terminal, a line now and then elsewhere."""

from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

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
            state = event["progress"]
            if self._task is None:
                self._task = self._progress.add_task("Training", total=state["totalSteps"], detail="")
            self._progress.update(self._task, completed=state["step"], detail=detail(state))
        else:
            line = line_for(event)
            if line:
                self._console.print(line, markup=False, highlight=False)


class PlainView:
    """Lines without control codes, at most one for the training every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, event: dict[str, Any]) -> None:
        """See `View`."""
        if event["event"] == "progress":
            state = event["progress"]
            if monotonic() - self._last < _QUIET_SECONDS and state["step"] < state["totalSteps"]:
                return
            self._last = monotonic()
            line: str | None = f"  step {state['step']}/{state['totalSteps']}  {detail(state)}"
        else:
            line = line_for(event)
        if line:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def detail(state: dict[str, Any]) -> str:
    """Loss, speed and time left of a `Progress`."""
    left = round(state["secondsLeft"])
    return (
        f"epoch {state['epoch']:.2f}  loss {state['loss']:.4f}  {state['tokensPerSecond']:,.0f} tokens/s"
        f"  {left // 60}:{left % 60:02} left"
    )


def line_for(event: dict[str, Any]) -> str | None:
    """The line of an event that deserves one."""
    match event["event"]:
        case "stage":
            return f"• {event['text']}"
        case "note":
            return f"  note: {event['text']}"
        case "evaluated":
            record = event["evaluation"]
            values = "  ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
            return f"  {record['split']} after step {record['step']}: {values}"
    return None
