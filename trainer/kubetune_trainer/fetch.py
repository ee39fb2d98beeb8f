"""Fetches one object for the command line: `python -m kubetune_trainer.fetch URI FILE`.

The command line imports nothing of the trainer; this is how it reads object storage. Errors go to standard error, as
sentences.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from kubetune_api.schemes import WRITABLE, scheme_texts

FETCHED, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the file is there, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m kubetune_trainer.fetch", description=__doc__)
    parser.add_argument("uri", help=scheme_texts(WRITABLE))
    parser.add_argument("file", type=Path, help="where it goes, over what is there")
    asked = parser.parse_args(arguments)
    error = fetch(asked.uri, asked.file)
    if error:
        sys.stderr.write(f"{error}\n")
    return FAILED if error else FETCHED


def fetch(uri: str, file: Path) -> str | None:
    """Fetches the object, whole or not at all; returns the error, if there is one."""
    try:
        from kubetune_trainer.errors import RunError
        from kubetune_trainer.storage.locations import Location
        from kubetune_trainer.storage.store import MissingObjectError, Store
    except ModuleNotFoundError as error:
        return (
            f"Object storage needs the Python module {error.name}, which is not installed; install kubetune with its"
            f" extra `trainer`, or fetch {uri} by other means."
        )
    try:
        place = Location.parse(uri)
        # Beside the target, so that the last step is a rename.
        with TemporaryDirectory(dir=file.parent, prefix=".kubetune-") as folder:
            part = Path(folder, "part")
            Store.open(place.parent.uri).download(place.name, part)
            part.replace(file)
    except MissingObjectError:
        return f"There is nothing at {uri}; was it deleted since?"
    except RunError as error:
        return error.message
    except OSError as error:
        return f"{file} could not be written: {error.strerror or error}; name another file with -o."
    return None


if __name__ == "__main__":
    sys.exit(main())
