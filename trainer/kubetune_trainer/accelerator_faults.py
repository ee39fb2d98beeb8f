"""What CUDA and NCCL say of an error: a fault of the hardware, or of the program that runs on it.

A rank sees no Xid, which is in the log of the node's kernel: it sees the words of an error of CUDA. Where one rank
fails, NCCL fails on the others, whatever happened on the first: its word counts only if no rank says anything else.
"""

from collections.abc import Sequence

_DEVICE = (
    "uncorrectable ECC error",
    "uncorrectable NVLink error",
    "hardware stack error",
    "fault in external device",
    "peer GPU memory over nvlink or a hardware error",
    "fallen off the bus",
    "GPU is lost",
    "CUDA-capable device(s) is/are busy or unavailable",
)
"""Of the GPU itself, or of its connection."""
_PROGRAM = (
    "an illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "misaligned address",
    "an illegal instruction",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "invalid device function",
)
"""Of a kernel that the program starts."""
_CONNECTION = (
    "unhandled system error",
    "unhandled cuda error",
    "internal error",
    "remote process exited",
    "was aborted",
)
"""What NCCL says, beside its name."""
_DIED = "RayActorError"
"""Ray's word on a worker whose process is gone, for which NCCL fails on the others."""


def device_fault(errors: Sequence[BaseException]) -> str | None:
    """The words of CUDA on a device that failed; None where there are none."""
    return _line_with(errors, _DEVICE)


def program_fault(errors: Sequence[BaseException]) -> str | None:
    """The words of CUDA on an error of the program that runs on a device; None where there are none."""
    return _line_with(errors, _PROGRAM)


def connection_fault(errors: Sequence[BaseException]) -> str | None:
    """The words of NCCL, where they are all that the ranks say; None otherwise."""
    told = [error for error in errors if not type(error).__module__.startswith("ray.")]
    if any(_DIED in {kind.__name__ for kind in type(error).__mro__} for error in errors):
        return None
    if not told or not all("NCCL" in str(error) for error in told):
        return None
    return _line_with(told, _CONNECTION)


def _line_with(errors: Sequence[BaseException], words: Sequence[str]) -> str | None:
    lines = (line.strip() for error in errors for line in str(error).splitlines())
    return next((line for line in lines if any(word in line for word in words)), None)
