"""The trainer as a process of its own, with everything that it starts.

Ray and DeepSpeed print a lot and start many processes. Here their output goes to a file, their events come back as
JSON lines over a pipe, and nothing of them outlives the command.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TextIO

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 8.0
COUNTERS = Path("/proc/vmstat")
"""Linux' counters of what memory was short of, since it started."""
_MODULES = ("torch", "deepspeed", "ray", "transformers")
"""Of the trainer; where one is missing, the command line was installed alone."""


def why_not_installed(modules: Sequence[str] = _MODULES) -> str | None:
    """The sentence for an installation without the trainer; None if it is there."""
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return None
    return (
        f"A run needs Python modules that are not installed ({', '.join(missing)}); install kubetune with its extras"
        " `cli` and `trainer`"
    )


@dataclass(frozen=True)
class Trainer:
    """The process."""

    events: Iterator[dict[str, Any]]
    """As they come, until it ends."""
    process: subprocess.Popen[bytes]
    out_of_memory_before: int
    """How many processes the system had killed for want of memory when it started."""
    counters: Path = COUNTERS

    def ask_to_end(self) -> None:
        """It ends at once, or saves first where it has something to save; asked twice, it ends at once."""
        self.process.terminate()

    def ended_by(self) -> Literal["memory", "kill"] | None:
        """What ended it before it could say so, once it has no more events: the system, for want of memory, or whoever
        sends SIGKILL. None if it ended otherwise."""
        with suppress(subprocess.TimeoutExpired):
            if self.process.wait(timeout=_GRACE_SECONDS) == -signal.SIGKILL:
                return "memory" if out_of_memory_kills(self.counters) > self.out_of_memory_before else "kill"
        return None


def out_of_memory_kills(counters: Path) -> int:
    """How many processes Linux has killed for want of memory since it started, in any container; 0 elsewhere."""
    try:
        found = dict(line.split() for line in counters.read_text().splitlines())
    except OSError:
        return 0
    return int(found.get("oom_kill", 0))


@contextmanager
def trainer(run_file: Path, log: Path, scratch: Path) -> Iterator[Trainer]:
    """Starts the trainer on a file that holds a `Run`. Afterwards no process of it is left.

    `scratch` is the folder for its temporary files: one that is killed cannot remove them itself.
    """
    _adopt_orphans()
    kills = out_of_memory_kills(COUNTERS)
    reading, writing = os.pipe()
    environment = os.environ | {"TMPDIR": str(scratch)}
    # The first would send a local run to somebody's cluster; with the second, which containers often set, each run
    # would compile torch's thousands of modules anew: ten seconds.
    for name in ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "kubetune_trainer", str(run_file), "--events", str(writing)]
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                env=environment,
                # Ctrl-C in a terminal goes to the whole foreground group: the trainer must hear it from us alone.
                start_new_session=True,
            )
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as lines:
            yield Trainer(_events(lines), process, kills)
    finally:
        with _no_further_interrupts():
            _end_all()


def _events(lines: TextIO) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # the trainer died in the middle of a word


def _adopt_orphans() -> None:
    """Makes processes whose parent dies ours, so that none of Ray's can slip away (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextmanager
def _no_further_interrupts() -> Iterator[None]:
    """A second Ctrl-C must not stop the cleaning up."""
    held = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


def _end_all() -> None:
    """Asks our children to end, and kills what has not ended in time."""
    children = psutil.Process().children()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    psutil.wait_procs(children, timeout=_GRACE_SECONDS)
    # Killing one may orphan its children to us: look again until none is left.
    while remaining := psutil.Process().children(recursive=True):
        for child in remaining:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(remaining, timeout=_GRACE_SECONDS)
