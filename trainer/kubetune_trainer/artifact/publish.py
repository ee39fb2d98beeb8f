"""How a run's files get into the store: claim a number, write below it, and name everything in a manifest at the end.

Readers trust only what a manifest names, and a manifest is created once and never replaced: whatever a process that was
thought dead still writes, it cannot change a published result.
"""

import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubetune_api.reasons import Reason
from kubetune_api.run import MANIFEST, Run
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.storage.store import MissingObjectError, Store

MOST_EXECUTIONS = 1000
"""How many starts of one run may write; far more than any job has."""


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


def refuse_nested(run: Run, opened: Callable[[str], Store]) -> None:
    """A run within another one's folder would put files among those that the other verifies at its end: RunError.

    `opened` opens a folder by its URI. What it may not look into is left alone: a profile says where a job may write.
    """
    place, claim_of_any = Location.parse(run.root), run.model_copy(update={"execution": 1}).claim
    while place.key:
        place = place.parent
        try:
            opened(place.uri).info(claim_of_any)
        except (MissingObjectError, RunError):
            continue
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"spec.output.uri: {run.job.spec.output.uri} lies within the run {place.uri}, whose files it would mix with"
            " its own; name a folder outside of it.",
        )


def refuse_unknown(run: Run, store: Store) -> None:
    """RunError where no execution of the run was ever begun."""
    try:
        store.info(run.model_copy(update={"execution": 1}).claim)
    except MissingObjectError:
        raise RunError(
            Reason.INVALID_MANIFEST,
            f"there is no run {run.run_id} in {store.uri()} that could go on; see the id, metadata.name,"
            " metadata.namespace and spec.output.uri",
        ) from None


def claim(run: Run, store: Store, now: str, most: int = MOST_EXECUTIONS) -> Run:
    """The run with the lowest execution that was free, which now belongs to this process."""
    # Unlike in every other process, so that a repeated request knows its own claim again.
    by = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}"
    for number in range(1, most + 1):
        claimed = run.model_copy(update={"execution": number})
        owner = {"run": run.run_id, "attempt": run.attempt, "execution": number, "claimedAt": now, "by": by}
        if store.create(claimed.claim, canonical_json(owner)):
            return claimed
    raise RunError(
        Reason.STORAGE_FAILED,
        f"{store.uri('executions')} holds {most} executions of this run, the most that there may be; start a"
        " new job, which gets a folder of its own.",
    )


def write_beside(folder: Path, files: Mapping[str, str]) -> None:
    """Writes the texts of `files` to a folder, by their names below it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def upload_folder(folder: Path, store: Store, prefix: str) -> list[StoredFile]:
    """Uploads every file below a local folder; names in the result are relative to the store, sizes in bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [store.upload(path, f"{prefix}/{path.relative_to(folder).as_posix()}") for path in files]


def commit(store: Store, content: Mapping[str, Any]) -> bytes | None:
    """Writes the manifest, which publishes all that it names; its bytes, or None if the run has another one already."""
    data = canonical_json(content)
    # The manifest goes last: readers take it as the commit.
    return data if store.create(MANIFEST, data) else None


def canonical_json(content: Mapping[str, Any]) -> bytes:
    """The same bytes for the same content: sorted keys, no spaces, UTF-8, one newline at the end."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
