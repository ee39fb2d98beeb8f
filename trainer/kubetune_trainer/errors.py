"""Faults of a run, each with the reason constant that its status will carry."""

import errno

from kubetune_api.status import Reason


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
    """A fault of the dataset."""
    return RunError(Reason.INVALID_DATA, message)


def invalid_model(message: str) -> RunError:
    """A fault of the pretrained model."""
    return RunError(Reason.INVALID_MODEL, message)


def storage_is_full(fault: BaseException) -> bool:
    """Whether a write failed for want of space or quota."""
    if isinstance(fault, OSError):
        return fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # It knows its operating system's error by the text alone; and not everybody who asks has imported safetensors.
    return type(fault).__name__ == "SafetensorError" and f"(os error {errno.ENOSPC})" in str(fault)


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether Python, torch or Ray had no memory left."""
    return (
        isinstance(fault, MemoryError)
        # torch's and Ray's: not everybody who asks has imported them.
        or any(kind.__name__ == "OutOfMemoryError" for kind in type(fault).__mro__)
        or (isinstance(fault, RuntimeError) and "can't allocate memory" in str(fault))
    )


def _on_one_line(message: str) -> str:
    """Names of files, tensors and columns come from strangers: none of them may move the cursor of a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
