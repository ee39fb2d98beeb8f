"""Keeps a real cluster on this machine: `python -m cluster up`, and `down`, which leaves nothing but cached images.

`build` makes ahead of time what `up` would make: programs and images.

One process in the background runs all programs, and they end with it. It keeps its state in FOLDER.
"""

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from cluster import images, network
from cluster.install import Administrator
from cluster.node import SOCKET, Node
from servers.build import OF_A_NODE, binary, cache
from servers.prometheus import Prometheus
from servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server

TESTS = Path(__file__).parents[1]
FOLDER = Path("/var/lib/kubetune-cluster")
LOG, PID, READY, TOKEN = (FOLDER / name for name in ("cluster.log", "pid", "ready", "token"))
S3_PORT = 9000
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "iptables": "iptables",
    "openssl": "openssl",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "debootstrap": "debootstrap",
    "prometheus": "prometheus",
}
"""What the machine must have, each program with Debian's package."""
FREE_DISK, DISK_OF_CONTAINERD = 30 * 2**30, 21 * 2**30
START_SECONDS = 180


def main() -> None:
    """Does what is asked for."""
    commands = {"build": build, "up": up, "down": down, "serve": serve}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        raise SystemExit("python -m cluster build|up|down")
    commands[sys.argv[1]]()


def build() -> None:
    """Makes what `up` would make first, besides the servers of all tests."""
    check_machine()
    for target in images.TARGETS:
        print(f"{target}: {images.builder.size(images.builder.build(target))}", flush=True)
    for program in OF_A_NODE:
        binary(program)


def up() -> None:
    """Starts the cluster unless it runs, and installs everything as it is in this checkout."""
    started = time.monotonic()
    check_machine()
    if not runs():
        clean_up()
        FOLDER.mkdir(mode=0o700)
        TOKEN.write_text(secrets.token_hex(16))
        with LOG.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cluster", "serve"],
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        PID.write_text(str(process.pid))
        wait_for(process)
    say("the node is ready", started)
    administrator = the_administrator()
    images.load_pause(administrator.image_store)
    administrator.install_kuberay()
    say("KubeRay is installed", started)
    administrator.install_kubetune()
    for team in ("team-a", "team-b"):
        administrator.make_team(team)
    say("kubetune is installed, with namespaces team-a and team-b", started)
    for bucket in ("assets", "results"):
        administrator.s3.make_bucket(bucket)
    show_the_way(administrator)


def quick_start_variables(s3: S3Server) -> dict[str, str]:
    """What docs/quick-start.md asks of its reader's environment."""
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    return {"S3_URL": s3.endpoint, "S3_ADDRESS": s3.address, "S3_PORT": str(s3.port), **keys}


def show_the_way(administrator: Administrator) -> None:
    """Prints what somebody needs who works on the cluster by hand."""
    programs = FOLDER / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("kubectl", "helm"):
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(binary(name))
    s3 = administrator.s3
    variables = quick_start_variables(s3) | s3.env
    print(f"\nexport KUBECONFIG={administrator.kubeconfig} PATH={programs}:$PATH")
    print("export", " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()))
    print(f"The S3 server has the buckets assets and results: {s3.root}. Its Secret and the profile default are there.")
    print("docs/quick-start.md goes on from here with its step 3. `make cluster-down` ends all of it.")


def down() -> None:
    """Ends the cluster; nothing of it is left but the images in the cache."""
    if runs():
        os.kill(int(PID.read_text()), signal.SIGTERM)
        while runs():
            time.sleep(0.1)
    clean_up()


def serve() -> None:
    """Runs all programs until SIGTERM; one that ends is started again."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    node, s3, prometheus = the_node(), the_s3_server(), the_prometheus()
    try:
        node.start()
        s3.start()
        prometheus.start()
        READY.touch()
        while True:
            time.sleep(1)
            with suppress(OSError):  # the API server may be down for a while
                prometheus.find(node.get("/api/v1/pods").body.get("items", []))
            for component in node.components:
                if not component.process.alive:
                    print(f"{component.log.stem} has ended; it is started again", flush=True)
                    component.kill()
                    component.launch()
    finally:
        prometheus.stop()
        s3.stop()
        node.stop()


def the_node() -> Node:
    """The cluster's node, whoever runs it."""
    return Node(FOLDER, cache() / "cluster", TOKEN.read_text())


def the_s3_server() -> S3Server:
    """The S3 server beside the cluster."""
    folder = FOLDER / "s3"
    folder.mkdir(exist_ok=True)
    return S3Server(folder, address=network.NODE_ADDRESS, port=S3_PORT)


def the_prometheus() -> Prometheus:
    """The Prometheus beside the cluster."""
    return Prometheus(FOLDER / "prometheus", address=network.NODE_ADDRESS)


def the_administrator() -> Administrator:
    """The administrator of the cluster that runs."""
    node = the_node()
    return Administrator(node.admin_kubeconfig, node.images, the_s3_server())


def runs() -> bool:
    """Whether the process in the background is there."""
    with suppress(FileNotFoundError, ValueError, OSError):
        return b"cluster" in Path(f"/proc/{int(PID.read_text())}/cmdline").read_bytes()
    return False


def wait_for(process: subprocess.Popen[bytes]) -> None:
    """Returns when the node is ready; what went wrong is the end of the log."""
    deadline = time.monotonic() + START_SECONDS
    while not READY.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the cluster does not start; {LOG} ends with\n{LOG.read_text()[-4000:]}")
        time.sleep(0.1)


def clean_up() -> None:
    """Removes what a cluster leaves, also one whose process was killed."""
    end_processes()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith((f"{FOLDER}/", f"{SOCKET.parent}/"))), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
    network.tear_down(FOLDER)
    for group in sorted(Path("/sys/fs/cgroup").glob("**/kubepods/**/"), reverse=True):
        with suppress(OSError):
            group.rmdir()
    # What the kubelet puts elsewhere, whatever it is told.
    for link in Path("/var/log/containers").glob("*.log"):
        if link.readlink().is_relative_to(FOLDER):
            link.unlink()
    shutil.rmtree("/var/lib/kubelet/device-plugins", ignore_errors=True)
    for folder in (SOCKET.parent, FOLDER):
        shutil.rmtree(folder, ignore_errors=True)


def end_processes() -> None:
    """Kills the shims of containerd, and what runs in the pods' cgroups."""
    for processes in Path("/sys/fs/cgroup").glob("**/kubepods/**/cgroup.procs"):
        for process in processes.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
    subprocess.run(["pkill", "-KILL", "-f", f"containerd-shim.*{SOCKET}"], check=False)


def check_machine() -> None:
    """Ends with what is missing and how to get it."""
    if sys.platform != "linux" or os.geteuid() != 0 or not Path("/etc/debian_version").exists():
        refuse("it needs root on Debian 12: a real kubelet and containerd run on the machine itself")
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not Path("/usr/lib/cni/bridge").exists():
        missing.append("containernetworking-plugins")
    if missing:
        print(f"installing {' '.join(missing)}", flush=True)
        # RUNLEVEL: else Debian starts the services of the packages, where it can.
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
            subprocess.run(
                ["apt-get", *command], env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
    free = shutil.disk_usage(cache() if cache().exists() else "/").free
    if free < (wanted := _disk_to_be_taken()):
        refuse(f"the images take up to {wanted / 2**30:.0f} GiB of disk, and {free / 2**30:.0f} GiB are free")


def _disk_to_be_taken() -> int:
    """At most: by images that are still to be built, and by those that containerd does not have."""
    if (cache() / "cluster").exists():
        return 0
    built = all(images.builder.exists(images.builder.name_of(target)) for target in images.TARGETS)
    return DISK_OF_CONTAINERD if built else FREE_DISK


def refuse(why: str) -> NoReturn:
    """Ends, and points to another way."""
    raise SystemExit(f"no cluster here: {why}. docs/quick-start.md does the same with kind or with a cluster of yours.")


def say(what: str, since: float) -> None:
    """Tells how far it is."""
    print(f"{time.monotonic() - since:6.1f} s  {what}", flush=True)


if __name__ == "__main__":
    main()
