"""Measures how fast a large file comes from a store and goes there, against one stream, as downloads were before.

python benchmarks/storage.py     # a minute; needs `make servers`
"""

import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kubetune_trainer.storage.digests import pieces
from kubetune_trainer.storage.store import Store
from servers.s3 import S3Server

SIZE = 320 * 2**20
"""Bytes of the file."""
RATE = 20e6
"""Bytes per second that one connection of the slow line carries, each way."""
_CHUNK = 2**16


class SlowLine:
    """Passes on what comes to its port, so many bytes a second over each connection."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, _ = self._socket.accept()
            far = socket.create_connection(("127.0.0.1", self._behind))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        due = time.monotonic()
        with suppress(OSError), one, other:
            while chunk := one.recv(_CHUNK):
                other.sendall(chunk)
                due = max(due, time.monotonic() - 0.05) + len(chunk) / RATE
                time.sleep(max(0.0, due - time.monotonic()))
            for end in (one, other):
                # The other thread waits for what comes from it.
                end.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Prints the figures."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {SIZE // 2**20} MiB; MiB/s")
    with TemporaryDirectory() as folder, s3(Path(folder)) as server:
        file = Path(folder, "sent")
        with file.open("wb") as out:
            for _ in range(SIZE // 2**20):
                out.write(os.urandom(2**20))
        measure("file://", Path(folder, "store").as_uri(), file)
        measure("S3 on the same machine", server.make_bucket("benchmark"), file)
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{SlowLine(server.port).port}"
        measure(f"S3, {RATE / 1e6:.0f} MB/s over each connection", "s3://benchmark", file)


@contextmanager
def s3(folder: Path) -> Iterator[S3Server]:
    """A server that the environment names."""
    server = S3Server(folder)
    server.start()
    os.environ.update(server.env)
    try:
        yield server
    finally:
        server.stop()


def measure(where: str, uri: str, file: Path) -> None:
    """Each in turn, the better of two; in MiB per second."""
    store, to = Store.open(uri), file.with_name("got")
    ways: dict[str, Callable[[], object]] = {
        "upload": lambda: store.upload(file, "object"),
        "two parts of 5 MiB": lambda: two_parts(store._client, store._at("object").key, file),
        "download": lambda: store.download("object", to),
        "one stream": lambda: one_stream(store._client, store._at("object").key, to),
    }
    rates = dict.fromkeys(ways, 0.0)
    for _ in range(2):
        for name, act in ways.items():
            start = time.perf_counter()
            act()
            rates[name] = max(rates[name], SIZE / 2**20 / (time.perf_counter() - start))
    print(f"{where}: " + ", ".join(f"{name} {found:,.0f}" for name, found in rates.items()))


def two_parts(client: Any, key: str, file: Path) -> None:
    """As files of less than 256 MiB go."""
    digest = hashlib.sha256()

    def read() -> Iterator[bytes]:
        for piece in pieces(file):
            digest.update(piece)
            yield piece

    client.put(key, read(), chunk_size=5 * 2**20, max_concurrency=2)


def one_stream(client: Any, key: str, to: Path) -> None:
    """The plain loop."""
    digest = hashlib.sha256()
    with to.open("wb") as file:
        for piece in client.get(key).stream():
            digest.update(memoryview(piece))
            file.write(memoryview(piece))


if __name__ == "__main__":
    main()
