"""What a worker computes on, chosen from what is there."""

import os
from dataclasses import dataclass
from socket import gethostname

import torch

from kubetune_api.reasons import Reason
from kubetune_planner.plan import AcceleratorSpec
from kubetune_trainer.errors import RunError
from kubetune_trainer.training.gpu_driver import why_no_gpu


@dataclass(frozen=True)
class Device:
    """The accelerator of one worker, or the CPU."""

    kind: str
    """`cuda` or `cpu`."""

    @property
    def backend(self) -> str:
        """The collective-communication library of torch.distributed."""
        return "nccl" if self.kind == "cuda" else "gloo"


def detect(*, needs_gpu: bool = False) -> Device:
    """The device of this process. RunError (ACCELERATOR_FAILED) where it is to be a GPU and torch sees none: on the CPU
    the training would take a hundred times as long, without a word."""
    if torch.cuda.is_available():
        return Device("cuda")
    if needs_gpu:
        raise RunError(Reason.ACCELERATOR_FAILED, f"{gethostname()} has no GPU to train on: {why_no_gpu()}")
    return Device("cpu")


def choose_for_deepspeed(device: Device) -> None:
    """Tells DeepSpeed, before its first import, what to run on: its own search takes a CPU for a CUDA machine when
    torch is the CUDA build."""
    os.environ.setdefault("DS_ACCELERATOR", device.kind)


def describe_gpu() -> AcceleratorSpec:
    """The first GPU of this process. Asking takes some of its memory until the process ends.

    RunError (ACCELERATOR_FAILED) where torch sees none.
    """
    detect(needs_gpu=True)
    about = torch.cuda.get_device_properties(0)
    return AcceleratorSpec(about.name, about.total_memory, torch.cuda.is_bf16_supported(including_emulation=False))
