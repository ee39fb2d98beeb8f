"""Measures what a run does beside its steps: from the command to the first step, and from the last one to the end.

python benchmarks/start.py            # about three minutes on two cores; needs `make assets`
python benchmarks/start.py one peer   # these alone; `two` is the other

Each system is a command of its own. Beside the seconds on the clock stand the CPU seconds of all its processes, which
hold better on a machine that has other work.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

HERE = Path(__file__).resolve().parent
MANIFEST, ASSETS, STEPS = HERE.parent / "examples" / "reviews.yaml", HERE.parent / ".assets", 4
FIRST, LAST = f"  step 1/{STEPS}  ", f"  step {STEPS}/{STEPS}  "
SYSTEMS = {"one": 1, "two": 2, "peer": None}
"""The workers of kubetune, or None: `transformers.Trainer`."""


@dataclass(frozen=True)
class Mark:
    """What a command said, and what it had taken until then."""

    said: str
    seconds: float
    cpu_seconds: float


def main(names: list[str]) -> None:
    """Prints the times of the systems that are named, or of all."""
    for name in names or SYSTEMS:
        with TemporaryDirectory() as folder:
            show(name, list(marks(command(SYSTEMS[name], Path(folder)))))


def command(workers: int | None, folder: Path) -> list[str]:
    """The command of a system that puts its model into `folder`."""
    if workers is None:
        return [sys.executable, str(HERE / "trainer_script.py"), str(ASSETS), str(folder), str(STEPS)]
    settings = {"training.maxSteps": STEPS, "output.uri": f"file://{folder}", "evaluation.require": "[]"}
    sets = [word for name, value in settings.items() for word in ("--set", f"spec.{name}={value}")]
    return [str(Path(sys.executable).with_name("kubetune")), "run", str(MANIFEST), "--workers", str(workers), *sets]


def marks(words: list[str]) -> Iterator[Mark]:
    """Each line that the command says when something begins, a step ends, or all is done; SystemExit if it fails."""
    begun = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    tree, lines = psutil.Process(process.pid), []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(("• ", "  step ", "  validation", "  test")):
            yield Mark(line.rstrip(), time.monotonic() - begun, _cpu_seconds(tree))
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("".join(lines))
    yield Mark("the end", time.monotonic() - begun, used.ru_utime + used.ru_stime)


def _cpu_seconds(tree: psutil.Process) -> float:
    """Of a process and of all that it has started, alive or waited for by whoever started them."""
    total = 0.0
    for process in [tree, *tree.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def show(name: str, seen: list[Mark]) -> None:
    """Prints what each part took, and the two sums."""
    print(f"{name}:")
    before = Mark("", 0.0, 0.0)
    for mark in seen:
        # Those of processes that nobody waited for until now are missing in between.
        took, used = mark.seconds - before.seconds, max(0.0, mark.cpu_seconds - before.cpu_seconds)
        print(f"  {took:7.1f} s {used:7.1f} CPU s   until {mark.said.strip():.60}")
        before = mark
    first = next(mark for mark in seen if mark.said.startswith("  step "))
    last = next(mark for mark in seen if mark.said.startswith(LAST))
    print(f"  to the first step: {first.seconds:.1f} s, {first.cpu_seconds:.1f} CPU s")
    print(f"  behind the last: {seen[-1].seconds - last.seconds:.1f} s; {seen[-1].cpu_seconds:.1f} CPU s in all")


if __name__ == "__main__":
    main(sys.argv[1:])
