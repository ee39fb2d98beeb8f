"""Measures the trainer against `transformers.Trainer`, in one run, on real weights and real reviews.

python benchmarks/run.py                 # `make bench`; about an hour on two cores
python benchmarks/run.py accuracy        # the second comparison alone
python benchmarks/run.py speed --quick   # the third; what follows it is for `speed.py`
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from speed import main as measure_speed

HERE = Path(__file__).resolve().parent
MANIFEST = HERE.parent / "examples" / "reviews.yaml"
MODEL = HERE.parent / ".assets" / "models" / "minilm"
SYSTEMS = ("kubetune", "trainer")


def main(names: list[str]) -> None:
    """Prints the comparisons that are named, or all."""
    comparisons = {"losses": same_losses, "accuracy": same_accuracy}
    if names[:1] != ["speed"]:
        with TemporaryDirectory() as folder:
            for name in names or comparisons:
                comparisons[name](Path(folder))
    if names[:1] in ([], ["speed"]):
        measure_speed(names[1:])


def same_losses(scratch: Path) -> None:
    """50 steps in 32-bit numbers, without dropout, which would draw other numbers in other places."""
    model = scratch / "without-dropout"
    shutil.copytree(MODEL, model)
    config = json.loads((model / "config.json").read_text())
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (model / "config.json").write_text(json.dumps(config))
    ours, theirs = (
        measure(scratch, system, MANIFEST, model, ["spec.training.maxSteps=50", "spec.training.precision=FP32"])
        for system in SYSTEMS
    )
    pairs = list(zip(ours["losses"], theirs["losses"], strict=True))
    furthest = max(abs(a - b) for a, b in pairs)
    print(f"losses of {len(pairs)} steps without dropout: largest difference {furthest:.2e}")
    print(f"  first {pairs[0][0]:.4f} and {pairs[0][1]:.4f}, last {pairs[-1][0]:.4f} and {pairs[-1][1]:.4f}")


def same_accuracy(scratch: Path) -> None:
    """The whole example, dropout included."""
    ours, theirs = (measure(scratch, system, MANIFEST, MODEL, []) for system in SYSTEMS)
    print("on the test split, kubetune and transformers.Trainer:")
    for name, value in theirs["metrics"].items():
        print(f"  {name} {ours['metrics'][name]:.4f} {value:.4f}")


def measure(scratch: Path, system: str, manifest: Path, model: Path, overrides: list[str]) -> dict[str, Any]:
    """One system in a process of its own; SystemExit with what it wrote if it fails."""
    request, result = scratch / "request.json", scratch / "result.json"
    request.write_text(json.dumps({"manifest": str(manifest), "model": str(model), "overrides": overrides}))
    command = [sys.executable, str(HERE / "peers.py"), system, str(request), str(result)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(f"{done.stderr}\n{system} ended with exit code {done.returncode}")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
