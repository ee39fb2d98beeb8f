"""How many objects were ever created, also those that are gone again."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from threading import Event, Thread

from servers.kube_client import KubeClient

_SECONDS = 5
"""How long each watch lasts; towards its end the server tells from where on the next one may begin."""


class CreatedObjects:
    """Counts the objects of a list by their UIDs, as watches tell of them, from now on.

    The API server's own metrics do not count them: a request whose client goes away is stored, and counted as one that
    ran out of time.
    """

    def __init__(self, client: KubeClient, path: str) -> None:
        self._client, self._path = client, path
        there = client.wait_for(path, lambda _: True)
        self._before = {each["metadata"]["uid"] for each in there["items"]}
        self._version: str = there["metadata"]["resourceVersion"]
        self._uids: set[str] = set()
        self._over = Event()

    def count(self) -> int:
        """How many there are by now."""
        self._read(self._version, seconds=1)
        return len(self._uids - self._before)

    def _read(self, version: str, *, seconds: int) -> str:
        for event in self._client.watch(self._path, version, seconds):
            assert event["type"] != "ERROR", event
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._uids.add(event["object"]["metadata"]["uid"])
        return version

    def _follow(self) -> None:
        while not self._over.is_set():
            try:
                self._version = self._read(self._version, seconds=_SECONDS)
            except (OSError, HTTPException):
                self._over.wait(0.2)

    @contextmanager
    def followed(self) -> Iterator["CreatedObjects"]:
        """Within it, nothing is missed, and a server that is away is waited for."""
        Thread(target=self._follow, daemon=True).start()
        try:
            yield self
        finally:
            self._over.set()
