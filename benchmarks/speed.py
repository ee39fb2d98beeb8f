"""How fast the trainer is beside `transformers.Trainer` and TRL: `kubetune run` as a person starts it, and their own.

python benchmarks/run.py speed           # `make bench`; about forty minutes on two cores
python benchmarks/run.py speed --quick   # less than ten

Every system gets the same rows, in the same order where it lets one say so, the same weights without dropout, and the
same AdamW, schedule and clipping. Each is a process of its own; the first step is left out of the rate.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from speed_data import Prepared, prepared
from speed_page import Measured, plot, table

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "dist" / "benchmarks"
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Workload:
    """A training, and who does it."""

    name: str
    model: str
    """Of `.assets/models`."""
    task: dict[str, Any]
    columns: dict[str, str]
    method: dict[str, Any]
    batch: int
    learning_rate: float
    steps: int
    quick_steps: int
    others: tuple[str, ...]
    """The systems beside kubetune, by their names in `speed_peers.py`; ratios are to the first of them."""

    def job(self, model: Path, rows: Path, steps: int, folder: Path, more: dict[str, Any]) -> dict[str, Any]:
        """As a manifest has it."""
        dataset = {"uri": rows.as_uri(), "columns": self.columns, "validationFraction": 0, "testFraction": 0}
        training = {
            "maxSteps": steps, "globalBatchSize": self.batch, "learningRate": self.learning_rate, "precision": "FP32",
            "schedule": {"type": "Linear", "warmupRatio": 0}, "optimizer": {"weightDecay": 0.01},
        }  # fmt: skip
        return {
            "apiVersion": "kubetune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "speed", "namespace": "benchmarks"},
            "spec": {
                "model": {"uri": model.as_uri()}, "task": self.task, "dataset": dataset, "method": self.method,
                "training": training | more.get("training", {}), "output": {"uri": (folder / "out").as_uri()},
                "resources": more.get("resources", {}),
            },
        }  # fmt: skip


_REVIEWS: dict[str, Any] = {
    "model": "minilm",
    "task": {"type": "SequenceClassification", "labels": ["fresh", "rotten"], "maxLength": 128},
    "columns": {"text": "text", "label": "label"},
    "batch": 32,
    "steps": 60,
    "quick_steps": 12,
    "others": ("Trainer", "Trainer, grouped by length", "Trainer, grouped by length, BF16"),
}
_DIALOGUES: dict[str, Any] = {
    "model": "smollm2",
    "task": {"type": "CausalLM", "maxLength": 128},
    "columns": {"prompt": "prompt", "completion": "completion"},
    "batch": 16,
    "steps": 20,
    "quick_steps": 4,
    "others": ("Trainer", "Trainer, without padding", "Trainer, without padding, BF16", "TRL, packed"),
}
WORKLOADS = (
    Workload("MiniLM, all weights", method={"type": "Full"}, learning_rate=5e-5, **_REVIEWS),
    Workload(
        "MiniLM, frozen below",
        method={"type": "Full", "freeze": {"embeddings": True, "bottomLayers": 4}},
        learning_rate=2e-4,
        **_REVIEWS,
    ),
    Workload("SmolLM2, all weights", method={"type": "Full"}, learning_rate=2e-5, **_DIALOGUES),
    Workload("SmolLM2, LoRA", method={"type": "LoRA", "lora": {"rank": 16}}, learning_rate=2e-4, **_DIALOGUES),
)
OURS: dict[str, dict[str, Any]] = {
    "kubetune, 1 worker": {"resources": {"workers": 1}},
    "kubetune, 2 workers": {"resources": {"workers": 2}},
    "kubetune, 1 worker, BF16": {"resources": {"workers": 1}, "training": {"precision": "BF16"}},
}
"""What differs in the manifest, by the system's name."""


def main(arguments: list[str]) -> None:
    """Measures, prints the tables, and writes them with the plot."""
    asked = _arguments(arguments)
    found: dict[str, list[Measured]] = {}
    with TemporaryDirectory() as folder:
        for number, workload in enumerate(WORKLOADS):
            if asked.only and not any(text in workload.name for text in asked.only):
                continue
            place = Path(folder) / str(number)
            place.mkdir()
            found[workload.name] = list(_measured(workload, place, asked))
            print(table(workload.name, found[workload.name]), flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    pages = [table(name, measured) for name, measured in found.items()]
    (asked.out / "speed.md").write_text("\n".join(pages), encoding="utf-8")
    raw = {name: [one.to_dict() for one in measured] for name, measured in found.items()}
    (asked.out / "speed.json").write_text(json.dumps(raw), encoding="utf-8")
    plot(found, asked.out / "speed.svg")
    print(f"written to {asked.out}: speed.md, speed.json, speed.svg")


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--steps", type=int, help="how many, at least 2")
    parser.add_argument("--only", action="append", help="the workloads with this in their names; may be repeated")
    parser.add_argument("--systems", action="append", help="the systems with this in their names; may be repeated")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder for tables and plot")
    return parser.parse_args(arguments)


def _measured(workload: Workload, folder: Path, asked: argparse.Namespace) -> Iterator[Measured]:
    steps = asked.steps or (workload.quick_steps if asked.quick else workload.steps)
    given = prepared(workload, folder, steps)
    systems: dict[str, Callable[[], Measured]] = {
        name: _peer(name, workload, given, folder, steps) for name in workload.others
    } | {name: _ours(name, more, workload, given, folder, steps) for name, more in OURS.items()}
    for name, measure in systems.items():
        if not asked.systems or any(text in name for text in asked.systems):
            print(f"{workload.name}: {name}", file=sys.stderr, flush=True)
            yield measure()


def _peer(name: str, workload: Workload, given: Prepared, folder: Path, steps: int) -> Callable[[], Measured]:
    request, result = folder / "request.json", folder / "result.json"
    command = [sys.executable, str(HERE / "speed_peers.py"), name, str(request), str(result)]
    about = {
        "model": str(given.headed), "rows": str(given.in_order), "frozen": given.frozen, "method": workload.method,
        "steps": steps, "batch": workload.batch, "learning_rate": workload.learning_rate, "out": str(folder / "theirs"),
        "classifies": workload.columns.get("label") is not None, "tokens_of_a_batch": given.tokens_of_a_batch,
    }  # fmt: skip

    def measure() -> Measured:
        request.write_text(json.dumps(about), encoding="utf-8")
        process = _Watched(command)
        process.wait()
        told = json.loads(result.read_text(encoding="utf-8"))
        ends, tokens = told["ends"], told["tokens"]
        return Measured(
            name,
            tokens_per_second=sum(tokens[1:]) / (ends[-1] - ends[0]),
            first_step=told["first"] - process.started,
            peak_bytes=process.peak,
            padding=told["padding"],
            losses=told["losses"],
            same_rows=told["same_rows"],
        )

    return measure


def _ours(
    name: str, more: dict[str, Any], workload: Workload, given: Prepared, folder: Path, steps: int
) -> Callable[[], Measured]:
    def measure() -> Measured:
        place = folder / name.replace(" ", "-")
        place.mkdir()
        manifest = place / "job.yaml"
        job = workload.job(given.model, given.rows, steps, place, more)
        manifest.write_text(json.dumps(job), encoding="utf-8")  # every JSON document is a YAML one
        begins = "from kubetune_cli.main import main; main()"
        process = _Watched([sys.executable, "-c", begins, "run", str(manifest), "--json"])
        step, seen = process.wait(lambda line: int(line.split()[1].partition("/")[0]) if _is_step(line) else None)
        (metrics,) = place.glob("out/**/metrics.jsonl")
        lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
        told = [line for line in lines if line["type"] == "step"]
        return Measured(
            name,
            tokens_per_second=sum(one["tokens"] for one in told[1:]) / sum(one["seconds"] for one in told[1:]),
            # The line comes behind the step that it names.
            first_step=seen - process.started - sum(one["seconds"] for one in told[:step]),
            peak_bytes=process.peak,
            padding=given.padding(more["resources"]["workers"]),
            losses=[one["loss"] for one in told],
        )

    return measure


def _is_step(line: str) -> bool:
    return line.strip().startswith("step ")


@dataclass
class _Watched:
    """A process, and the most memory that it and those that it started had together; what they share counts once."""

    command: list[str]
    started: float = field(default_factory=time.time)
    peak: int = 0

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def _look(self) -> None:
        above = psutil.Process(self._process.pid)
        while self._process.poll() is None:
            try:
                found = [above, *above.children(recursive=True)]
                self.peak = max(self.peak, sum(_proportional(one) for one in found))
            except psutil.Error:
                pass
            time.sleep(_POLL_SECONDS)

    def wait(self, wanted: Callable[[str], int | None] = lambda _: None) -> tuple[int, float]:
        """Once it has ended: what was `wanted` of its lines for the first time, and when it came; SystemExit with what
        it wrote where it failed."""
        said, first = [], None
        assert self._process.stderr is not None
        for line in self._process.stderr:
            said.append(line)
            if first is None and (value := wanted(line)) is not None:
                first = value, time.time()
        if self._process.wait():
            raise SystemExit(f"{''.join(said)}\n{self.command} ended with exit code {self._process.returncode}")
        return first or (0, time.time())


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
