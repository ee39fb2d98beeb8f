"""What a worker computes on, chosen from what is there."""

import os
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Device:
    """The accelerator of one worker, or the CPU."""

    kind: str
    """`cuda` or `cpu`."""
    has_bf16: bool

    @property
    def backend(self) -> str:
        """The collective-communication library of torch.distributed."""
        return "nccl" if self.kind == "cuda" else "gloo"

    def bf16(self, precision: str) -> bool:
        """Whether a job of this `precision` (`Auto`, `FP32`, `BF16`) computes in bfloat16 here.

        On a CPU `Auto` is FP32: few have instructions for bfloat16, and without them it is slower.
        """
        if precision == "Auto":
            return self.kind == "cuda" and self.has_bf16
        return precision == "BF16"


def detect() -> Device:
    """The device of this process."""
    if torch.cuda.is_available():
        return Device(kind="cuda", has_bf16=torch.cuda.is_bf16_supported(including_emulation=False))
    return Device(kind="cpu", has_bf16=True)


def choose_for_deepspeed(device: Device) -> None:
    """Tells DeepSpeed, before its first import, what to run on: its own search takes a CPU for a CUDA machine when
    torch is the CUDA build."""
    os.environ.setdefault("DS_ACCELERATOR", device.kind)
