"""A server of Google Cloud Storage's XML API (fake-gcs-server over a folder), which lets one service account in."""

import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from servers.build import binary
from servers.processes import Process, accepts_connections, free_port

ACCOUNT = "tests@kubetune.iam.gserviceaccount.com"


def service_account_key(private: rsa.RSAPrivateKey) -> dict[str, str]:
    """What Google gives whoever asks for a key of a service account."""
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key_id": "of the tests",
        "private_key": text.decode(),
    }


def new_key() -> rsa.RSAPrivateKey:
    """A key that no server knows yet."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class GcsServer:
    """The server; a folder under `buckets` is a bucket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buckets = folder / "buckets"
        self._buckets.mkdir()
        self._port = free_port()
        self._process: Process | None = None
        key = new_key()
        self.key = service_account_key(key)
        self._key_file, self._public_key = folder / "key.json", folder / "public.pem"
        self._key_file.write_text(json.dumps(self.key))
        self._public_key.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def env(self) -> dict[str, str]:
        """The variables by which obstore finds the server and comes in."""
        return {"GOOGLE_BASE_URL": self.endpoint, "GOOGLE_APPLICATION_CREDENTIALS": str(self._key_file)}

    @property
    def secret(self) -> dict[str, str]:
        """The keys of a Secret that open it."""
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(self.key)}

    @property
    def unfinished(self) -> Path:
        """The folder of the parts of uploads that are not whole yet."""
        return self._folder / "parts"

    def make_bucket(self, name: str) -> str:
        """Makes a bucket, unless it is there; its URI, `gs://name`."""
        (self._buckets / name).mkdir(exist_ok=True)
        return f"gs://{name}"

    def start(self) -> None:
        """Starts the server, or starts it again on the same port over the same objects."""
        command = (
            binary("fake-gcs-server"),
            *("-address", f"127.0.0.1:{self._port}", "-folder", self._folder, "-key", self._public_key),
        )
        self._process = Process(command, log=self._folder / "log")
        self._process.wait_until(lambda: accepts_connections(self._port))

    def stop(self) -> None:
        """Ends the server in the middle of whatever it does."""
        if self._process is not None:
            self._process.stop()
            self._process = None
