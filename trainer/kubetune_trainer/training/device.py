"""What a worker computes on, chosen from what is there."""

import os
from dataclasses import dataclass

import torch


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
