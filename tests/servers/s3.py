"""A real S3 server (versitygw) over a folder, for the tests of everything that reads or writes object storage."""

from pathlib import Path

from servers.build import binary
from servers.processes import Process, accepts_connections, free_port

ACCESS_KEY = "kubetune-tests"
SECRET_KEY = "a secret of the tests alone"
REGION = "us-east-1"


class S3Server:
    """The server; a folder under `root` is a bucket, a file in it an object."""

    def __init__(self, folder: Path, *, address: str = "127.0.0.1", port: int | None = None) -> None:
        self.root = folder / "buckets"
        self._metadata = folder / "metadata"
        self._log = folder / "versitygw.log"
        self.root.mkdir(exist_ok=True)
        self._metadata.mkdir(exist_ok=True)
        self.address, self.port = address, port or free_port()
        self._process: Process | None = None
        self.access_key, self.secret_key = ACCESS_KEY, SECRET_KEY
        """What opens it from its next start on."""

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://{self.address}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The standard variables by which obstore, and every S3 client, finds the server."""
        return {
            **self.secret,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
        }

    @property
    def secret(self) -> dict[str, str]:
        """The keys of a Secret that open it."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    @property
    def unfinished(self) -> Path:
        """Where the parts of uploads grow, each under its bucket."""
        return self.root

    def make_bucket(self, name: str) -> str:
        """Makes a bucket, unless it is there; its URI, `s3://name`."""
        (self.root / name).mkdir(exist_ok=True)
        return f"s3://{name}"

    def start(self) -> None:
        """Starts the server, or starts it again on the same port over the same objects."""
        # Metadata beside the objects, not in extended attributes, which some file systems for /tmp do not have.
        command = (
            binary("versitygw"),
            *("--port", f"{self.address}:{self.port}", "--region", REGION, "--quiet"),
            *("posix", "--sidecar", self._metadata, self.root),
        )
        keys = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        self._process = Process(command, log=self._log, env=keys)
        self._process.wait_until(lambda: accepts_connections(self.port, self.address))

    def freeze(self) -> None:
        """Keeps its connections open and answers none of them."""
        assert self._process is not None
        self._process.freeze()

    def stop(self) -> None:
        """Ends the server in the middle of whatever it does."""
        if self._process is not None:
            self._process.stop()
            self._process = None
