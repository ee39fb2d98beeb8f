"""Why torch sees no GPU, in a sentence with its remedy; and that nothing trains on CPUs in a GPU's place."""

from pathlib import Path

import pytest
import torch

from kubetune_trainer.errors import RunError
from kubetune_trainer.training.device import detect
from kubetune_trainer.training.gpu_driver import LEAST_DRIVERS, driver_version, why_no_gpu

CLOSED = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023
GCC version:  gcc version 11.4.0 (Ubuntu 11.4.0-1ubuntu1~22.04)
"""
OPEN = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22-I3)
GCC version:  gcc version 12.3.0
"""


@pytest.mark.parametrize(("text", "version"), [(CLOSED, "535.104.05"), (OPEN, "580.65.06"), ("", None)])
def test_the_version_of_a_driver_is_read_from_what_its_module_says(
    tmp_path: Path, text: str, version: str | None
) -> None:
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == version


def told(tmp_path: Path, text: str | None, cuda: str | None = "13.2", **environment: str) -> str:
    driver = tmp_path / "version"
    if text is not None:
        driver.write_text(text)
    return why_no_gpu(cuda, driver, environment)


def test_a_driver_that_is_too_old_is_told_with_the_one_that_is_needed(tmp_path: Path) -> None:
    assert told(tmp_path, CLOSED) == (
        "the NVIDIA driver here is 535.104.05, and this torch is built for CUDA 13.2, which needs 580 or newer; update"
        " the driver"
    )


def test_a_gpu_that_is_hidden_is_told_with_what_hides_it(tmp_path: Path) -> None:
    assert "torch finds no GPU by it (CUDA_VISIBLE_DEVICES=)" in told(tmp_path, OPEN, CUDA_VISIBLE_DEVICES="")
    assert "torch finds no GPU by it (CUDA_VISIBLE_DEVICES is not set)" in told(tmp_path, CLOSED, cuda="12.8")


def test_a_machine_without_a_driver_and_a_torch_without_cuda_are_told(tmp_path: Path) -> None:
    assert "there is no NVIDIA driver on this machine" in told(tmp_path, None)
    assert "built for CPUs alone" in told(tmp_path, OPEN, cuda=None)


def test_the_oldest_driver_for_the_installed_torch_is_known() -> None:
    assert torch.version.cuda is not None
    assert int(torch.version.cuda.partition(".")[0]) in LEAST_DRIVERS


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_where_a_gpu_is_to_be_the_cpu_is_not_trained_on() -> None:
    assert detect().kind == "cpu"
    with pytest.raises(RunError, match="has no GPU to train on: ") as refused:
        detect(needs_gpu=True)
    assert refused.value.reason == "AcceleratorFailed"
