"""Errors of a run, each with the reason constant that its status will carry."""

import errno

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


def _on_one_line(message: str) -> str:
    """Names of files, tensors and columns come from strangers: none of them may move the cursor of a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
