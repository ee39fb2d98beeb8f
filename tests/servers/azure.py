"""A server that speaks Azure Blob Storage's protocol (Azurite over a folder), with one storage account."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from servers.node import azurite
from servers.processes import Process, accepts_connections, free_port

ACCOUNT = "kubetunetests"
KEY = base64.b64encode(b"a secret of the tests alone").decode()
_VERSION = "2023-11-03"


def _signature(text: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()


class AzureServer:
    """The server of one storage account."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: Process | None = None

    @property
    def endpoint(self) -> str:
        """The URL of the account; on a server that has no name for each, the path names it."""
        return f"http://127.0.0.1:{self._port}/{ACCOUNT}"

    @property
    def env(self) -> dict[str, str]:
        """The variables by which obstore finds the server and comes in."""
        return {"AZURE_STORAGE_ENDPOINT": self.endpoint, **self.secret}

    @property
    def secret(self) -> dict[str, str]:
        """The keys of a Secret that open it."""
        return {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}

    def sas_token(self, permissions: str) -> str:
        """A token that opens the account's blobs as far as the permissions (`rl`: read and list) say."""
        what = {"sp": permissions, "ss": "b", "srt": "sco", "se": "2100-01-01T00:00:00Z", "spr": "https,http"}
        signed = [ACCOUNT, permissions, "b", "sco", "", what["se"], "", what["spr"], _VERSION, "", ""]
        return urlencode({**what, "sv": _VERSION, "sig": _signature("\n".join(signed))})

    @property
    def unfinished(self) -> Path:
        """The folder of what is uploaded, be it whole or not."""
        return self._folder / "__blobstorage__"

    def make_bucket(self, name: str) -> str:
        """Makes a container; its URI, `az://name`."""
        date = format_datetime(datetime.now(UTC), usegmt=True)
        empty = "\n" * 12
        headers = f"x-ms-date:{date}\nx-ms-version:{_VERSION}\n"
        resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        request = Request(f"{self.endpoint}/{name}?restype=container", method="PUT", data=b"")
        request.add_header("x-ms-date", date)
        request.add_header("x-ms-version", _VERSION)
        request.add_header("Content-Type", "")
        request.add_header("Authorization", f"SharedKey {ACCOUNT}:{_signature(f'PUT{empty}{headers}{resource}')}")
        with urlopen(request):
            return f"az://{name}"

    def start(self) -> None:
        """Starts the server, or starts it again on the same port over the same objects."""
        node, program = azurite()
        command = (
            *(node, program, "--location", self._folder, "--silent", "--disableTelemetry"),
            *("--blobHost", "127.0.0.1", "--blobPort", str(self._port)),
            "--skipApiVersionCheck",  # obstore's may be newer
        )
        self._process = Process(command, log=self._folder / "log", env={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"})
        self._process.wait_until(lambda: accepts_connections(self._port))

    def stop(self) -> None:
        """Ends the server in the middle of whatever it does."""
        if self._process is not None:
            # Killed, it would lose the list of its objects, which it writes down every five seconds.
            self._process.terminate()
            self._process = None
