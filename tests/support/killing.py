"""Runs of one worker that are killed or frozen at a chosen or at any moment, and those that go on after them.

Each execution is a process of its own, forked from one that has imported everything.
"""

import json
import multiprocessing
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import psutil

from kubetune_api.job import FineTuneJob
from kubetune_api.run import Run
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import JsonLinesListener
from support.runs_in_one_process import executed
from support.tiny_models import saved, tiny_model
from support.tiny_runs import hard_rows, manifest, write_csv

RUN = "run-1"
PATIENCE_SECONDS = 240
When = Literal["before", "after"]


@dataclass(frozen=True)
class Moment:
    """A call of a function: the `count`-th one, before or after it does its work."""

    function: str
    """`module:name`, as whoever calls it finds it."""
    when: When = "before"
    count: int = 1

    def __str__(self) -> str:
        return f"{self.when} call {self.count} of {self.function.rpartition('.')[2]}"


@dataclass(frozen=True)
class Ended:
    """How an execution ended."""

    exit_code: int | None
    """-9: it was killed."""
    result: str
    """`published`, or the error's message; empty where it was killed."""


class Execution:
    """One execution of a run, in a process of its own."""

    def __init__(self, job: FineTuneJob, folder: Path, *, resumes: bool, at: Moment | None, sends: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "deepspeed"])
        self._receiving, sending = context.Pipe(duplex=False)
        self.process = context.Process(target=_execute, args=(job, folder, resumes, at, sends, sending))
        self.process.start()
        sending.close()

    def wait_until_frozen(self) -> None:
        """Returns once it has stopped at its moment."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen = psutil.Process(self._pid)
        while seen.status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline, "it never came to its moment"
            assert self.process.is_alive(), f"it ended before its moment: {self.end()}"
            time.sleep(0.01)

    def thaw(self) -> None:
        """Lets it go on."""
        os.kill(self._pid, signal.SIGCONT)

    def kill(self) -> None:
        """Ends it as nobody can do anything about."""
        self.process.kill()

    def end(self) -> Ended:
        """Waits for its end."""
        self.process.join(PATIENCE_SECONDS)
        assert self.process.exitcode is not None, "it never ended"
        try:
            result = str(self._receiving.recv()) if self._receiving.poll() else ""
        except EOFError:
            result = ""
        return Ended(self.process.exitcode, result)

    @property
    def _pid(self) -> int:
        assert self.process.pid is not None, "it was started"
        return self.process.pid


def job_with_checkpoints(folder: Path, *, steps: int, evaluate: int, **spec: Any) -> Path:
    """The file of a job that saves after every third step, drops out, and keeps the best weights."""
    base = saved(tiny_model("bert", labels=2), folder / "base")
    dataset = {"uri": write_csv(folder / "train.csv", ("text", "label"), hard_rows(60))}
    training = {"maxSteps": steps, "epochs": 100, "globalBatchSize": 8, "dropout": 0.1, "keep": "Best"}
    training |= {"checkpoints": {"everySteps": 3}}
    return manifest(
        folder, base, "SequenceClassification", dataset, training=training, evaluation={"everySteps": evaluate}, **spec
    )


@dataclass(frozen=True)
class Killing:
    """A run in a folder of its own."""

    job: FineTuneJob
    folder: Path
    run_id: str = RUN

    @classmethod
    def of(cls, path: Path, folder: Path) -> "Killing":
        """The run of a job's file, with its output in the folder."""
        content = json.loads(path.read_text())
        content["spec"]["output"]["uri"] = folder.as_uri()
        return cls(FineTuneJob.model_validate(content), folder)

    @property
    def root(self) -> Path:
        """Where its files lie."""
        metadata = self.job.metadata
        return self.folder / metadata.namespace / metadata.name / self.run_id

    def begin(self, at: Moment | None = None, sends: int = signal.SIGKILL) -> Execution:
        """The next execution, which sends itself the signal at the moment."""
        resumes = bool(list(self.root.glob("executions/*.json")))
        return Execution(self.job, self.folder, resumes=resumes, at=at, sends=sends)

    def die(self, at: Moment) -> None:
        """An execution begins, and is killed at the moment."""
        ended = self.begin(at).end()
        assert ended.exit_code == -signal.SIGKILL, f"{at}: {ended}"

    def finish(self) -> None:
        """An execution begins, and comes to the end."""
        ended = self.begin().end()
        assert ended.result == "published", ended

    @property
    def losses(self) -> list[tuple[int, float]]:
        """Of each step, in the order of the published record."""
        return [(line["step"], line["loss"]) for line in self._record if line["type"] == "step"]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """What was judged, in the order of the published record."""
        return [line for line in self._record if line["type"] != "step"]

    @property
    def weights(self) -> bytes:
        """The published ones."""
        return self._published("model.safetensors")

    @property
    def decided(self) -> dict[str, bytes]:
        """What executions decide by creating it: the chain of checkpoints, and the manifest."""
        files = [*self.root.glob("checkpoints/*.json"), *self.root.glob("manifest.json")]
        return {file.relative_to(self.root).as_posix(): file.read_bytes() for file in files}

    @property
    def _record(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._published("metrics.jsonl").splitlines()]

    def _published(self, name: str) -> bytes:
        published = json.loads((self.root / "manifest.json").read_text())
        (path,) = (file["path"] for file in published["files"] if file["path"].endswith(f"/{name}"))
        return (self.root / path).read_bytes()


def assert_equal(disturbed: Killing, undisturbed: Killing) -> None:
    """The one has come to what the other came to, bit for bit, and left one model and no checkpoint."""
    assert disturbed.losses == undisturbed.losses
    assert disturbed.evaluations == undisturbed.evaluations
    assert disturbed.weights == undisturbed.weights
    assert len(list(disturbed.root.rglob("manifest.json"))) == 1
    assert not [path for path in disturbed.root.glob("executions/*/checkpoints/**/*") if path.is_file()]


def _execute(job: FineTuneJob, folder: Path, resumes: bool, at: Moment | None, sends: int, results: Connection) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    if at is not None:
        _send_at(at, sends)
    try:
        with (folder / "events.jsonl").open("a") as events:
            run = Run(job=job, run_id=RUN, workers=1, resumes=resumes)
            executed(run, JsonLinesListener(events), folder / "cache")
    except RunError as error:
        results.send(f"{error.reason}: {error.message}")
    else:
        results.send("published")


def _send_at(at: Moment, sends: int) -> None:
    """From now on the process sends itself the signal at that moment."""
    module, _, name = at.function.partition(":")
    owner_name, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(f"{module}:{owner_name}" if owner_name else module)
    function, calls = getattr(owner, attribute), 0

    def watched(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        now = calls == at.count
        if now and at.when == "before":
            os.kill(os.getpid(), sends)
        result = function(*arguments, **named)
        if now and at.when == "after":
            os.kill(os.getpid(), sends)
        return result

    watched_function: Callable[..., Any] = watched
    setattr(owner, attribute, watched_function)
