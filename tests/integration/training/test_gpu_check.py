"""The check of ten minutes on a GPU, in the reduced form that a machine without one runs: it is whole where one is."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[3] / "scripts" / "gpu_check.py"
RUN = (
    "sum over a group",
    "DeepSpeed's accelerator",
    "bert, stage 0, FP32",
    "llama, stage 2, FP32",
    "stage 3 in BF16",
    "kernel of the attention",
    "activation checkpointing",
    "NaN at stage 3",
    "stage 3: saved and opened again",
    "a lack of memory",
)


@pytest.mark.skipif(torch.cuda.is_available(), reason="`make gpu-check` runs the whole of it there")
def test_the_check_passes_in_its_reduced_form_and_says_what_it_could_not_show() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--markdown"], capture_output=True, text=True, check=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line]
    verdicts = {row[0]: row[3] for row in rows[2:]}
    assert [name for name, verdict in verdicts.items() if verdict == "FAIL"] == [], done.stdout + done.stderr[-2000:]
    assert done.returncode == 0
    assert all(verdicts[name] == "pass" for name in RUN)
    not_run = [name for name, verdict in verdicts.items() if verdict == "not run"]
    assert "NCCL between GPUs, overlapped communication, RDMA between nodes" in not_run
    assert "peaks against the planner" in not_run
    assert "on a CPU, in the reduced form: " in done.stdout
