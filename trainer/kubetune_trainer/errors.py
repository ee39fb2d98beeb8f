"""Faults of a run, each with the reason constant that its status will carry."""

import errno

from kubetune_api.status import USER_REASONS, Reason


class RunError(Exception):
    """The run cannot go on. The message is a sentence that a person can act on."""

    def __init__(self, reason: str, message: str) -> None:
        # Both go to `args`, so that the error survives pickling between Ray's processes.
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message

    @property
    def users_to_mend(self) -> bool:
        """Whether the author of the manifest or of the data must act: the command line exits with 2, not 1."""
        return self.reason in USER_REASONS


def invalid_data(message: str) -> RunError:
    """A fault of the dataset."""
    return RunError(Reason.INVALID_DATA, message)


def invalid_model(message: str) -> RunError:
    """A fault of the pretrained model."""
    return RunError(Reason.INVALID_MODEL, message)


def storage_is_full(fault: OSError) -> bool:
    """Whether a write failed for want of space or quota."""
    return fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
