"""Why torch sees no GPU where there is to be one: as a rule the driver of the machine is older than torch's CUDA.

Torch itself says so in a warning alone, and goes on with the CPU.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch

DRIVER = Path("/proc/driver/nvidia/version")
"""What the kernel's module of the driver says of itself, in containers too."""
LEAST_DRIVERS = {12: 525, 13: 580}
"""The oldest driver for each CUDA, by the release notes of NVIDIA's toolkit (minor version compatibility)."""
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


def why_no_gpu(
    cuda: str | None = torch.version.cuda, driver: Path = DRIVER, environment: Mapping[str, str] = os.environ
) -> str:
    """In a sentence with its remedy; asked only where torch sees none."""
    if cuda is None:
        return "this torch is built for CPUs alone; use the trainer's own image, or a torch for CUDA"
    there = driver_version(driver)
    if there is None:
        return "there is no NVIDIA driver on this machine; install it, or train on the CPU"
    if told := too_old(cuda, there):
        return told
    seen = ", ".join(f"{name}={environment[name]}" for name in _VISIBLE if name in environment)
    return (
        f"the NVIDIA driver {there} is there, but torch finds no GPU by it ({seen or f'{_VISIBLE[0]} is not set'}); in"
        " a cluster, look whether the device plugin and the container toolkit of the node work"
    )


def old_driver_hides_gpus(environment: Mapping[str, str] = os.environ) -> str | None:
    """The sentence for a machine whose GPUs nobody hid but a driver that is too old."""
    hidden = environment.get(_VISIBLE[0]) in ("", "-1")
    return None if hidden else too_old(torch.version.cuda, driver_version())


def driver_version(driver: Path = DRIVER) -> str | None:
    """Of the driver that is loaded; None without any."""
    try:
        text = driver.read_text(errors="replace")
    except OSError:
        return None
    found = re.search(r"\b\d{3,4}(\.\d+){1,2}\b", text)
    return found.group() if found else None


def too_old(cuda: str | None, there: str | None) -> str | None:
    """The sentence for a driver that cannot run a torch for that CUDA; None where it can, or where there is neither."""
    least = LEAST_DRIVERS.get(int(cuda.partition(".")[0])) if cuda else None
    if there is None or least is None or int(there.partition(".")[0]) >= least:
        return None
    return (
        f"the NVIDIA driver here is {there}, and this torch is built for CUDA {cuda}, which needs {least} or newer;"
        " update the driver"
    )
