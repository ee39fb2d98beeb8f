"""What a worker computes on, chosen from what is there."""

import os
from dataclasses import dataclass

import torch

from kubetune_planner.plan import AcceleratorSpec


@dataclass(frozen=True)
class Device:
    """The accelerator of one worker, or the CPU."""

    kind: str
    """`cuda` or `cpu`."""

    @property
    def backend(self) -> str:
        """The collective-communication library of torch.distributed."""
        return "nccl" if self.kind == "cuda" else "gloo"


def detect() -> Device:
    """The device of this process."""
    return Device("cuda" if torch.cuda.is_available() else "cpu")


def choose_for_deepspeed(device: Device) -> None:
    """Tells DeepSpeed, before its first import, what to run on: its own search takes a CPU for a CUDA machine when
    torch is the CUDA build."""
    os.environ.setdefault("DS_ACCELERATOR", device.kind)


def describe_gpu() -> AcceleratorSpec:
    """The first GPU of this process. Asking takes some of its memory until the process ends."""
    about = torch.cuda.get_device_properties(0)
    return AcceleratorSpec(about.name, about.total_memory, torch.cuda.is_bf16_supported(including_emulation=False))
