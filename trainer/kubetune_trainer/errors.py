"""Errors of a run, each with the reason constant that its status will carry."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socket import gethostname

from kubetune_api.outcome import LESS_MEMORY
from kubetune_api.reasons import Reason
from kubetune_trainer.accelerator_faults import connection_fault, device_fault, program_fault

_NO_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What torch says of it beside its own kind of error: of a CPU, and of CUDA's libraries, which ask CUDA themselves."""


class RunError(Exception):
    """The run cannot go on. The message is a sentence that a person can act on."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = _on_one_line(message)
        # Both go to `args`, so that the error survives pickling between Ray's processes.
        super().__init__(reason, self.message)

    def __str__(self) -> str:
        return self.message


def invalid_data(message: str) -> RunError:
    """An error of the dataset."""
    return RunError(Reason.INVALID_DATA, message)


def invalid_model(message: str) -> RunError:
    """An error of the pretrained model."""
    return RunError(Reason.INVALID_MODEL, message)


def storage_is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space or quota."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # It knows its operating system's error by the text alone; and not everybody who asks has imported safetensors.
    return type(error).__name__ == "SafetensorError" and f"(os error {errno.ENOSPC})" in str(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch or Ray had no memory left."""
    return (
        isinstance(error, MemoryError)
        # torch's and Ray's: not everybody who asks has imported them.
        or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY))
        or ("NCCL" in str(error) and "out of memory" in str(error))
    )


def explained(causes: Sequence[BaseException]) -> RunError | None:
    """What the errors of a worker, the deepest last, mean for the user; None if that cannot be told."""
    for cause in causes:
        if isinstance(cause, RunError):
            return cause
    if any(map(is_out_of_memory, causes)):
        return RunError(
            Reason.OUT_OF_MEMORY,
            f"a worker ran out of memory; {LESS_MEMORY}, raise spec.zero.stage, or use more workers",
        )
    for cause in filter(storage_is_full, causes):
        where = getattr(cause, "filename", None) or "a temporary file"
        return RunError(
            Reason.STORAGE_FAILED,
            f"the disk of a worker is full ({where}); free some space, or set TMPDIR to a folder on a larger disk",
        )
    if said := device_fault(causes):
        return _failed_accelerator("a worker", said)
    if said := program_fault(causes):
        return RunError(
            Reason.UNKNOWN,
            f"a worker failed: {said}: as a rule an error of the program that runs on the GPU, not of the GPU; see the"
            " log for all of it",
        )
    if said := connection_fault(causes):
        return RunError(
            Reason.ACCELERATOR_FAILED,
            f"the workers do not reach each other any more: {said}; the platform team must look at the network and the"
            " GPUs of their nodes (with NCCL_DEBUG=INFO in the trainer's image the log says more)",
        )
    return None


@contextmanager
def accelerator_named() -> Iterator[None]:
    """Within it, an accelerator that fails is told with the name of its host, which in a cluster is that of the pod."""
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        if said := device_fault([error]):
            raise _failed_accelerator(gethostname(), said) from error
        raise


def _failed_accelerator(where: str, said: str) -> RunError:
    return RunError(
        Reason.ACCELERATOR_FAILED,
        f"an accelerator of {where} failed: {said}; the platform team must look at its node, whose kernel's log has the"
        " number of the fault (NVRM: Xid)",
    )


def unexplained(error: BaseException) -> RunError:
    """Of an error of a worker that nobody foresaw, the end."""
    said = str(error).strip().splitlines() or ["without a message"]
    return RunError(Reason.UNKNOWN, f"a worker failed: {type(error).__name__}: {said[-1]}; see the log for all of it")


def _on_one_line(message: str) -> str:
    """Names of files, tensors and columns come from strangers: none of them may move the cursor of a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
