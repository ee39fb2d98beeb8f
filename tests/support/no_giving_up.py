"""For runs in a test's own process, which must not end with them."""

from typing import NoReturn

from kubetune_trainer.errors import RunError


def no_giving_up(error: RunError) -> NoReturn:
    """Nothing hangs in a test that uses it."""
    raise AssertionError(error)
