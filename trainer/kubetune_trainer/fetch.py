"""Fetches one file of a run for the command line: `python -m kubetune_trainer.fetch URI FILE --manifest URI …`.

The command line imports nothing of the trainer; this is how it reads object storage. Errors go to standard error, as
sentences. The file must be the one that the run's manifest names, and the manifest the one that the job's status names:
others may write to a store, and a report is opened in a browser.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kubetune_api.schemes import WRITABLE, scheme_texts

FETCHED, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the file is there, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m kubetune_trainer.fetch", description=__doc__)
    parser.add_argument("uri", help=scheme_texts(WRITABLE))
    parser.add_argument("file", type=Path, help="where it goes, over what is there")
    parser.add_argument("--manifest", required=True, help="the URI of the manifest that names it")
    parser.add_argument("--digest", required=True, help="the manifest's: sha256:…")
    asked = parser.parse_args(arguments)
    error = fetch(asked.uri, asked.file, Named(asked.manifest, asked.digest))
    if error:
        sys.stderr.write(f"{error}\n")
    return FAILED if error else FETCHED


@dataclass(frozen=True)
class Named:
    """A manifest, as a status names it."""

    uri: str
    digest: str


def fetch(uri: str, file: Path, manifest: Named) -> str | None:
    """Fetches the file, whole or not at all; returns the error, if there is one."""
    try:
        from kubetune_trainer.errors import RunError
        from kubetune_trainer.storage.locations import Location
        from kubetune_trainer.storage.store import MissingObjectError, Store
    except ModuleNotFoundError as error:
        return (
            f"Object storage needs the Python module {error.name}, which is not installed; install kubetune with its"
            f" extra `trainer`, or fetch {uri} by other means."
        )
    reading = uri
    try:
        place = Location.parse(uri)
        # Beside the target, so that the last step is a rename.
        with TemporaryDirectory(dir=file.parent, prefix=".kubetune-") as folder:
            part = Path(folder, "part")
            fetched = Store.open(place.parent.uri).download(place.name, part)
            reading = manifest.uri
            listing = Location.parse(manifest.uri)
            text = Store.open(listing.parent.uri).get(listing.name)
            if why := _why_not(uri, fetched.sha256, manifest, text):
                return why
            part.replace(file)
    except MissingObjectError:
        return f"There is nothing at {reading}; was it deleted since?"
    except RunError as error:
        return error.message
    except OSError as error:
        return f"{file} could not be written: {error.strerror or error}; name another file with -o."
    return None


def _why_not(uri: str, sha256: str, manifest: Named, text: bytes) -> str | None:
    """Why the file at the URI is none that the run published; None if it is."""
    if f"sha256:{hashlib.sha256(text).hexdigest()}" != manifest.digest:
        return _changed(manifest.uri, f"the job's status says {manifest.digest}")
    root = manifest.uri.rpartition("/")[0]
    published = {f"{root}/{file['path']}": file["sha256"] for file in json.loads(text)["files"]}
    if published.get(uri) != sha256:
        return _changed(uri, f"{manifest.uri} says {published.get(uri) or 'nothing of it'}")
    return None


def _changed(uri: str, wanted: str) -> str:
    return (
        f"{uri} is not what the run published ({wanted}): somebody changed it, and it is not shown; ask who may write"
        " there, and restore the earlier version of the object where the bucket keeps versions."
    )


if __name__ == "__main__":
    sys.exit(main())
