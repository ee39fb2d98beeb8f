"""`kubetune run`: a manifest trained on this machine, with the code that a cluster runs."""

import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from kubetune_api.job import CLUSTER_FIELDS, FineTuneJob, FineTuneJobSpec
from kubetune_api.outcome import INTERRUPTED, LESS_MEMORY, Ending
from kubetune_api.reasons import INPUT_REASONS, Reason
from kubetune_api.run import Run
from kubetune_api.status import CheckpointStatus, FineTuneJobStatus
from kubetune_api.tables import listed
from kubetune_api.times import timestamp
from kubetune_cli.places import UnusablePlaceError, log_file, scratch_folder
from kubetune_cli.progress import View, view_for
from kubetune_cli.results import failure_of, print_failure, print_results
from kubetune_cli.trainer_process import trainer

_OR_ANOTHER_MACHINE = f"{LESS_MEMORY}, or use a machine with more memory"
_UNHEARD = {
    "memory": (
        Reason.OUT_OF_MEMORY,
        f"the machine ran out of memory, and the system ended the trainer; {_OR_ANOTHER_MACHINE}",
    ),
    "kill": (Reason.UNKNOWN, f"the trainer was killed; if nobody did that, memory was short: {_OR_ANOTHER_MACHINE}"),
    None: (Reason.UNKNOWN, "the trainer ended without a message; see the end of the log"),
}
"""The reason and the message for a trainer that could not say how it ended, by what ended it."""
SUCCEEDED, FAILED, INVALID = 0, 1, 2
_ASKED = {"event": "note", "text": "the run ends, and saves first what it can; Ctrl-C once more ends it at once"}


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    status: FineTuneJobStatus

    @property
    def exit_code(self) -> int:
        """0 succeeded, 1 failed or missed a requirement, 2 the manifest or its data is wrong."""
        if self.status.phase == "Succeeded":
            return SUCCEEDED
        return INVALID if failure_of(self.status).reason in INPUT_REASONS else FAILED


def invalid_manifest(errors: str) -> FineTuneJobStatus:
    """The status of a job that was not started, because its manifest is wrong."""
    run_id = new_run_id(datetime.now(UTC), secrets.token_hex(3))
    return _ended(run_id, Reason.INVALID_MANIFEST, errors, _now())


def new_run_id(now: datetime, token: str) -> str:
    """An id that sorts by time and is not guessed twice."""
    return f"{now:%Y%m%d-%H%M%S}-{token}"


def run_job(
    job: FineTuneJob, *, console: Console, resume: str | None = None, signing_key: Path | None = None
) -> Finished:
    """Trains the job, showing on `console` what happens; `resume` is the id of an earlier run that goes on, and
    `signing_key` a file with the private key that signs the model."""
    run_id = resume or new_run_id(datetime.now(UTC), secrets.token_hex(3))
    start_time = _now()
    try:
        log = log_file(job.metadata.name, run_id)
        with scratch_folder() as scratch, _interrupts_by(_interrupt, signal.SIGTERM, signal.SIGHUP):
            run = Run(
                job=job,
                run_id=run_id,
                resumes=resume is not None,
                workers=job.spec.resources.workers,
                signing_key=str(signing_key.absolute()) if signing_key else None,
            )
            return _run(run, log, scratch, console)
    except UnusablePlaceError as error:
        finished = Finished(_ended(run_id, Reason.STORAGE_FAILED, str(error), start_time))
        print_failure(failure_of(finished.status), None, console)
        return finished


def _run(run: Run, log: Path, scratch: Path, console: Console) -> Finished:
    job, run_id = run.job, run.run_id
    console.print(f"kubetune {job.metadata.name}: run {run_id}", markup=False, highlight=False)
    console.print(f"  log: {log}", markup=False, highlight=False, soft_wrap=True)
    if note := cluster_note(job.spec):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    run_file = scratch / "run.json"
    run_file.write_text(run.model_dump_json(by_alias=True, exclude_none=True), encoding="utf-8")
    status = _follow(run_file, log, run_id, console, saves=job.spec.training.checkpoints is not None)
    finished = Finished(status)
    if finished.exit_code == SUCCEEDED or status.artifact is not None:
        print_results(job, status, console)
    if finished.exit_code != SUCCEEDED:
        print_failure(failure_of(status), log, console)
        if finished.exit_code == FAILED and (line := going_on(status)):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    return finished


def going_on(status: FineTuneJobStatus) -> str | None:
    """How a run that failed goes on; None where it has left nothing to go on from."""
    known = status.checkpoint
    if status.artifact is not None or known is None or known.step is None:
        return None
    return f"to go on from its last checkpoint, that of step {known.step:,}: --resume {status.run}"


def cluster_note(spec: FineTuneJobSpec) -> str | None:
    """The note on fields of the manifest that have no effect in a local run."""
    # What was written counts, even where it says the default.
    names = [str(FineTuneJobSpec.model_fields[name].alias) for name in CLUSTER_FIELDS if name in spec.model_fields_set]
    if not names:
        return None
    trains = "; it trains although suspend is true" if spec.suspend else ""
    return f"  note: a local run ignores {listed(names)}, which only the operator uses{trains}"


def _follow(run_file: Path, log: Path, run_id: str, console: Console, *, saves: bool) -> FineTuneJobStatus:
    start_time, checkpoint = _now(), None
    try:
        with trainer(run_file, log, run_file.parent) as started, view_for(console) as view:
            asking = _AskingFirst(started.ask_to_end)
            with _interrupts_by(asking, signal.SIGTERM, signal.SIGHUP, signal.SIGINT) if saves else nullcontext():
                for event in started.events:
                    if event["event"] == "finished":
                        return FineTuneJobStatus.model_validate(event["status"])
                    if event["event"] == "checkpoint":
                        checkpoint = CheckpointStatus.model_validate(event["checkpoint"])
                    asking.show(event, view)
            reason, message = _UNHEARD[started.ended_by()]
    except KeyboardInterrupt:
        reason, message = Reason.INTERRUPTED, INTERRUPTED
    return _ended(run_id, reason, message, start_time, checkpoint)


def _ended(
    run_id: str, reason: str, message: str, start_time: str, checkpoint: CheckpointStatus | None = None
) -> FineTuneJobStatus:
    ending = Ending(run_id, start_time=start_time, completion_time=_now(), checkpoint=checkpoint)
    return ending.failed(reason, message)


def _now() -> str:
    return timestamp(datetime.now(UTC))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _AskingFirst:
    """The first of the signals that end a run only asks the trainer, which saves where there is something to save."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask, self._asked, self._told, self._unseen = ask, False, False, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            _interrupt(number, frame)
        self._asked = True
        self._ask()

    def show(self, event: dict[str, Any], view: View) -> None:
        """Shows an event, and first that it has asked. What ends a run may end its terminal or its pipe as well: the
        trainer saves for all that."""
        if self._unseen:
            return
        try:
            if self._asked and not self._told:
                self._told = True
                view.show(_ASKED)
            view.show(event)
        except (OSError, SystemExit):  # the second is rich's, where a pipe is broken
            if not self._asked:
                raise
            self._unseen = True


@contextmanager
def _interrupts_by(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """Signals end a run as Ctrl-C does: with nothing left behind.

    What is ignored stays so: Ctrl-C by a shell's background job, a closed terminal by `nohup`.
    """
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    held = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, previous in held.items():
            signal.signal(number, previous)
