"""One training again and again, each time with storage that fails between two of its checkpoints."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from unittest.mock import patch

import torch.distributed as dist

from kubetune_api.run import MountedSecret
from servers.flaky import FlakyServer
from servers.s3 import S3Server
from support.resumed import Ended, disturbed
from support.small_disk import disk_of
from support.training_cases import Case

BREAKS, MENDED = 3, 7
"""The steps behind which storage fails, and is well again: one checkpoint is due in between, and one later."""
_SMALL = 4 * 2**20


def through_faults(case: Case, folder: str) -> dict[str, Ended]:
    """What came of it, by what happened."""
    here = Path(folder)
    with _impatient(), _s3(here) as server:
        return {
            "nothing": disturbed(case, f"{folder}/undisturbed", None, {}),
            "stopped": disturbed(
                case, server.make_bucket("stopped"), None, {BREAKS: server.stop, MENDED: server.start}
            ),
            "every third request": _flaky(case, server, lambda number: 503 if number % 3 == 0 else None),
            "silent": _silent(case, server),
            "500 for a while": _failing_for_a_while(case, server, 500),
            "other keys": _other_keys(case, server, here / "secret"),
            **_full_disks(case, here),
        }


def one_rank_fails(case: Case, folder: str) -> Ended:
    """The last rank has no folder for its files, for a while."""
    if dist.get_rank() == 0:
        return disturbed(case, folder, None, {})
    with patch.object(tempfile, "tempdir", None):

        def lose() -> None:
            tempfile.tempdir = f"{folder}/none"

        def find() -> None:
            tempfile.tempdir = None

        return disturbed(case, folder, None, {BREAKS: lose, MENDED: find})


@contextmanager
def _impatient() -> Iterator[None]:
    with patch.dict(os.environ, {"KUBETUNE_STORAGE_TIMEOUT_SECONDS": "1"}):
        yield


@contextmanager
def _s3(folder: Path) -> Iterator[S3Server]:
    server = S3Server(folder)
    server.start()
    with patch.dict(os.environ, server.env):
        yield server
    server.stop()


def _silent(case: Case, server: S3Server) -> Ended:
    """It takes connections and answers nothing."""

    def again() -> None:
        server.stop()
        server.start()

    return disturbed(case, server.make_bucket("silent"), None, {BREAKS: server.freeze, MENDED: again})


def _flaky(
    case: Case,
    server: S3Server,
    fault: Callable[[int], int | None],
    faults: Mapping[int, Callable[[], None]] = MappingProxyType({}),
) -> Ended:
    with FlakyServer(server.port, fault) as flaky, patch.dict(os.environ, {"AWS_ENDPOINT_URL": flaky.endpoint}):
        return disturbed(case, server.make_bucket(f"flaky-{flaky.port}"), None, faults)


def _failing_for_a_while(case: Case, server: S3Server, status: int) -> Ended:
    answers: list[int | None] = [None]
    faults = {BREAKS: lambda: answers.append(status), MENDED: lambda: answers.append(None)}
    return _flaky(case, server, lambda _: answers[-1], faults)


def _other_keys(case: Case, server: S3Server, folder: Path) -> Ended:
    """The keys of a mounted Secret are valid no longer, and some time later it holds others."""
    folder.mkdir()
    bucket = server.make_bucket("keys")

    def mount() -> None:
        for name, value in server.secret.items():
            (folder / name).write_text(value)

    def change() -> None:
        server.stop()
        server.access_key, server.secret_key = "other-key", "another secret of the tests"
        server.start()

    def renew() -> None:
        mount()
        # The client asks for keys at most ten times in a second, and these steps are faster.
        time.sleep(0.2)

    mount()
    return disturbed(case, bucket, MountedSecret(prefix=bucket, folder=str(folder)), {BREAKS: change, MENDED: renew})


def _full_disks(case: Case, folder: Path) -> dict[str, Ended]:
    with disk_of(_SMALL, folder / "disk") as disk:
        filler = disk / "filler"
        faults = {BREAKS: lambda: _fill(filler), MENDED: filler.unlink}
        full_store = disturbed(case, f"{disk}/store", None, faults)
    with disk_of(_SMALL, folder / "scratch") as disk, patch.object(tempfile, "tempdir", str(disk)):
        filler = disk / "filler"
        faults = {BREAKS: lambda: _fill(filler), MENDED: filler.unlink}
        return {"full store": full_store, "full worker": disturbed(case, f"{folder}/store", None, faults)}


def _fill(filler: Path) -> None:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
