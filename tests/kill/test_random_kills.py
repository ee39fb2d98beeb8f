"""Runs that are killed again and again at random moments: `make test-kill`, too long for every change.

One worker in processes that are forked; two workers of Ray, as `kubetune run` starts them: a worker, the trainer with
the head, or everything is killed.
"""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from support.killing import Killing, assert_equal, job_with_checkpoints
from support.tiny_runs import command, environment

RUNS, KILLS = 10, 5
"""Kills of each run."""
RAY_RUNS, RAY_KILLS = 3, 3
PATIENCE_SECONDS = 600


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_with_checkpoints(tmp_path_factory.mktemp("job"), steps=240, evaluate=16, zero={"stage": 2})


@pytest.fixture(scope="module")
def undisturbed(job: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Killing, float]:
    """The run that nobody kills, and how many seconds it took."""
    started = time.monotonic()
    run = Killing.of(job, tmp_path_factory.mktemp("undisturbed"))
    run.finish()
    return run, time.monotonic() - started


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_run_that_is_killed_at_random_moments_comes_to_the_same_bit_for_bit(
    seed: int, job: Path, undisturbed: tuple[Killing, float], tmp_path: Path
) -> None:
    chance, (other, seconds) = random.Random(seed), undisturbed
    run, kills = Killing.of(job, tmp_path), 0
    while kills < KILLS:
        execution = run.begin()
        time.sleep(chance.uniform(0, seconds))
        execution.kill()
        kills += 1
        if execution.end().result == "published":
            break
    run.finish()
    assert_equal(run, other)


def a_worker(trainer: psutil.Process) -> list[psutil.Process]:
    """One of those that train."""
    found = [one for one in trainer.children(recursive=True) if "RayTrainWorker" in " ".join(one.cmdline())]
    return found[-1:]


def the_trainer(trainer: psutil.Process) -> list[psutil.Process]:
    """The driver: what is the head in a cluster."""
    return [trainer]


def everything(trainer: psutil.Process) -> list[psutil.Process]:
    """As where a machine loses its power."""
    return [*trainer.children(recursive=True), trainer]


VICTIMS: list[Callable[[psutil.Process], list[psutil.Process]]] = [a_worker, the_trainer, everything]


class OnRay:
    """A run of two workers by the command line."""

    def __init__(self, job: Path, folder: Path) -> None:
        self.job, self.folder = job, folder

    def begin(self) -> subprocess.Popen[str]:
        """The next execution."""
        resumed = ["--resume", self._root.name] if self._root else []
        job = command(self.job, "--workers", "2", "--set", f"spec.output.uri={self.folder.as_uri()}", *resumed)
        return subprocess.Popen(
            job, env=environment(self.folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    @property
    def _root(self) -> Path | None:
        return next((path.parent.parent for path in self.folder.rglob("executions/1.json")), None)

    @property
    def run(self) -> Killing:
        """What it came to."""
        assert self._root is not None, "it has begun"
        found = Killing.of(self.job, self.folder)
        return Killing(found.job, self.folder, self._root.name)


@pytest.fixture(scope="module")
def undisturbed_on_ray(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Killing:
    found = OnRay(job, tmp_path_factory.mktemp("undisturbed-on-ray"))
    process = found.begin()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, output
    return found.run


@pytest.mark.parametrize("victims", VICTIMS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("seed", range(RAY_RUNS))
def test_two_workers_of_which_some_are_killed_come_to_the_same_bit_for_bit(
    seed: int,
    victims: Callable[[psutil.Process], list[psutil.Process]],
    job: Path,
    undisturbed_on_ray: Killing,
    tmp_path: Path,
) -> None:
    chance, run = random.Random(seed), OnRay(job, tmp_path)
    for _ in range(RAY_KILLS):
        process = run.begin()
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().startswith("step"):
                break
        time.sleep(chance.uniform(0, 3))
        with suppress(psutil.NoSuchProcess, ValueError):
            (trainer,) = psutil.Process(process.pid).children()
            for victim in victims(trainer):
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        if process.returncode == 0:
            break  # the kill came after its end
    process = run.begin()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, output
    assert_equal(run.run, undisturbed_on_ray)
