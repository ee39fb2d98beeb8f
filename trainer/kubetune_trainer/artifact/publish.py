"""How a run's files get into the store: claim a number, write below it, and name everything in a manifest at the end.

Readers trust only what a manifest names, and a manifest is created once and never replaced: whatever a process that was
thought dead still writes, it cannot change a published result.
"""

import hashlib
import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_api.run import Run
from kubetune_api.status import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.store import MissingObjectError, Store


@dataclass(frozen=True)
class Publication:
    """A committed manifest."""

    uri: str
    digest: str
    """`sha256:` and 64 hexadecimal digits, over the manifest's bytes."""


def preflight(store: Store, token: str | None = None) -> None:
    """Tries, in the folder of the run, all that publishing will need, before anything expensive begins.

    `token` keeps apart those who try at the same time; unset, it is random. RunError with the first thing that fails.
    """
    probe = f".preflight-{token or secrets.token_hex(8)}"
    mine, other = b"kubetune was here\n", b"kubetune was here twice\n"
    created = store.create(probe, mine)
    replaced = store.create(probe, other)
    try:
        kept = store.get(probe)
    except MissingObjectError:
        kept = b""
    store.delete(probe)
    if not created or replaced or kept != mine:
        raise RunError(
            Reason.STORAGE_FAILED,
            f"The store of {store.uri()} does not keep an object from being replaced (conditional creation,"
            " If-None-Match), so two runs could overwrite each other; use a store that does.",
        )


def claim(run: Run, store: Store, now: str) -> None:
    """Makes this process the owner of the run's execution; RunError if another one is."""
    owner = {
        "run": run.run_id,
        "execution": run.execution,
        "claimedAt": now,
        # Unlike in every other process, so that a repeated request knows its own claim again.
        "by": f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}",
    }
    if not store.create(run.claim, canonical_json(owner)):
        raise RunError(
            Reason.STORAGE_FAILED,
            f"{store.uri(run.claim)} exists: another process owns execution {run.execution} of this run."
            " Nothing was changed; start the job again, which takes a number of its own.",
        )


def upload_folder(folder: Path, store: Store, prefix: str) -> list[StoredFile]:
    """Uploads every file below a local folder; names in the result are relative to the store, sizes in bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [store.upload(path, f"{prefix}/{path.relative_to(folder).as_posix()}") for path in files]


def commit(run: Run, store: Store, content: Mapping[str, Any], *, rejected: bool) -> Publication:
    """Writes the manifest, which publishes all that it names; RunError if the run has one already."""
    path, data = run.manifest_path(rejected=rejected), canonical_json(content)
    # The manifest goes last: readers take it as the commit.
    if not store.create(path, data):
        raise RunError(
            Reason.STORAGE_FAILED,
            f"{store.uri(path)} exists: another execution has already published this run."
            " Nothing was overwritten; start the job again for another run.",
        )
    return Publication(store.uri(path), f"sha256:{hashlib.sha256(data).hexdigest()}")


def canonical_json(content: Mapping[str, Any]) -> bytes:
    """The same bytes for the same content: sorted keys, no spaces, UTF-8, one newline at the end."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
