"""Errors of a run, each with the reason constant that its status will carry."""

import errno
from collections.abc import Sequence

from kubetune_api.outcome import LESS_MEMORY
from kubetune_api.reasons import Reason


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
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
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
    return None


def unexplained(error: BaseException) -> RunError:
    """Of an error of a worker that nobody foresaw, the end."""
    said = str(error).strip().splitlines() or ["without a message"]
    return RunError(Reason.UNKNOWN, f"a worker failed: {type(error).__name__}: {said[-1]}; see the log for all of it")


def _on_one_line(message: str) -> str:
    """Names of files, tensors and columns come from strangers: none of them may move the cursor of a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
