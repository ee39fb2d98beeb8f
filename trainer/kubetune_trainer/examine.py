"""Examines a published run for the command line: `python -m kubetune_trainer.examine URI`.

The command line imports nothing of the trainer; this is how it looks at a model, without torch and Ray. What it finds
are JSON lines on standard output, the last one the result; why nothing can be said is a sentence on standard error.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

EXAMINED, FAILED = 0, 2
_SECONDS = 0.2
"""The least time between two lines of progress."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the run was examined, whatever was found, and 2 if it could not be."""
    parser = argparse.ArgumentParser(prog="python -m kubetune_trainer.examine", description=__doc__)
    parser.add_argument("uri", help="the folder of a run, its manifest or its model")
    parser.add_argument("--digest", help="what the manifest must have: sha256:…")
    parser.add_argument("--public-key", type=Path, help="a file with the key that the model must be signed for")
    parser.add_argument("--against", help="another run, whose model it is compared with")
    asked = parser.parse_args(arguments)
    # Whoever interrupts the command line interrupts this too, and wants no traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    found = examined(asked.uri, asked.digest, asked.public_key, asked.against)
    if isinstance(found, str):
        sys.stderr.write(f"{found}\n")
        return FAILED
    _write({"event": "examined", "artifact": found})
    return EXAMINED


def examined(
    uri: str, digest: str | None = None, key: Path | None = None, against: str | None = None
) -> dict[str, Any] | str:
    """What was found of the run, or why it could not be examined."""
    try:
        from kubetune_trainer.artifact.examined import examine
        from kubetune_trainer.errors import RunError
    except ModuleNotFoundError as error:
        return (
            f"Object storage needs the Python module {error.name}, which is not installed; install kubetune with its"
            " extra `trainer`."
        )
    try:
        return examine(uri, _Progress().tell, digest, key, against).to_dict()
    except RunError as error:
        return error.message


class _Progress:
    """Writes how far it is, now and then."""

    def __init__(self) -> None:
        self._due = 0.0

    def tell(self, file: str, done: int, total: int) -> None:
        """See `kubetune_trainer.artifact.examined.Tell`."""
        now = monotonic()
        if now >= self._due:
            self._due = now + _SECONDS
            _write({"event": "progress", "file": file, "done": done, "total": total})


def _write(event: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(event)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
