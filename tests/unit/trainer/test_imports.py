"""What the trainer imports before its first step: each of these costs a second or more of every run."""

import subprocess
import sys

NOT_NEEDED = ("peft", "bitsandbytes", "ray", "deepspeed", "sklearn", "pandas", "transformers.trainer")
"""Of a classifier on one worker; those who need them import them then, and DeepSpeed comes with the engine."""


def test_the_driver_imports_nothing_that_only_some_runs_need() -> None:
    check = f"import sys, kubetune_trainer.driver; print([name for name in {NOT_NEEDED} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
