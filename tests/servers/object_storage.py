"""The servers of object storage, one for each protocol: all that the tests of stores ask of each."""

from pathlib import Path
from typing import Protocol

from servers.azure import AzureServer
from servers.gcs import GcsServer
from servers.s3 import S3Server


class ObjectServer(Protocol):
    """A server over a folder."""

    @property
    def endpoint(self) -> str:
        """The URL of the server."""

    @property
    def env(self) -> dict[str, str]:
        """The variables by which a client finds the server and comes in."""

    @property
    def secret(self) -> dict[str, str]:
        """The keys of a Secret that open it, with an endpoint from elsewhere."""

    @property
    def unfinished(self) -> Path:
        """The folder in which a large upload grows before it is an object."""

    def make_bucket(self, name: str) -> str:
        """Makes a bucket; its URI."""

    def start(self) -> None:
        """Starts the server, or starts it again on the same port over the same objects."""

    def stop(self) -> None:
        """Ends the server in the middle of whatever it does."""


SERVERS: dict[str, type[S3Server] | type[GcsServer] | type[AzureServer]] = {
    "s3": S3Server,
    "gs": GcsServer,
    "az": AzureServer,
}
"""By scheme."""


def new_server(scheme: str, folder: Path) -> ObjectServer:
    """A server of a scheme, not started yet."""
    return SERVERS[scheme](folder)


def shown(server: ObjectServer) -> str:
    """The server as messages name it: without the path, which for Azure's names the account."""
    return "/".join(server.endpoint.split("/")[:3])
