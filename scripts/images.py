"""Builds the images with buildah: for a release on a base of a registry, else on one that debootstrap makes.

    images.py operator [trainer]
    images.py --release --base docker.io/library/python@sha256:… operator trainer

Needs root, buildah and debootstrap. The base and all layers stay in `~/.cache/kubetune/images` (`KUBETUNE_CACHE`): a
second build takes from there what has not changed.
"""

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE, PACKAGES = "bookworm", "python3,python3-venv,ca-certificates"
BASE = f"localhost/kubetune-base:{SUITE}"
CERTIFICATES = Path("/etc/ssl/certs")
BY_DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
TOOLS = ("buildah", "debootstrap")


def obstacle() -> str | None:
    """Why no image can be built here, with the remedy; None if all is there."""
    if os.geteuid() != 0:
        return "buildah and debootstrap need root here; run it as root"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"there is no {' and no '.join(lacking)}; apt-get install {' '.join(lacking)}" if lacking else None


def unfit_base(base: str, *, release: bool) -> str | None:
    """Why the images cannot be built on this base, with the remedy; None if they can."""
    if BY_DIGEST.fullmatch(base) or not (base or release):
        return None
    said = f"--base {base} names no digest" if base else "--release needs --base"
    return (
        f"{said}: give NAME@sha256:…, because the same tag is another image tomorrow. The digest of today's: "
        "skopeo inspect --format '{{.Digest}}' docker://docker.io/library/python:3.11-slim-bookworm"
    )


def build(target: str, base: str = "") -> str:
    """Builds a target of the Dockerfile on our own base or another one; the image's name."""
    if not base:
        build_base()
    with _only_one():
        dependencies = name_of(f"{target}-dependencies")
        before = identity(dependencies)
        _build(f"{target}-dependencies", base or BASE)
        _build(target, base or BASE)
        if before not in ("", identity(dependencies)):
            # Gigabytes of layers that no image has any more, be they held by a build that was killed.
            buildah("rm", "--all")
            buildah("rmi", "--prune")
    return name_of(target)


def _build(target: str, base: str) -> None:
    buildah(
        *("build", "--isolation", "chroot", "--layers", "--target", target, "--tag", name_of(target)),
        *("--build-arg", f"BASE_IMAGE={base}", "--timestamp", _timestamp(), *_trust(), ROOT),
    )


def name_of(target: str) -> str:
    """The name that the image of a target has here."""
    return f"localhost/kubetune-{target}:dev"


def build_base() -> None:
    """Makes the base of all images, unless it is there."""
    with _only_one():
        if not exists(BASE):
            _make_base()


def run(image: str, *command: str) -> str:
    """What a command prints in a container of the image, as the image's user; it must succeed."""
    container = buildah("from", "--pull-never", image).strip()
    try:
        return buildah("run", "--isolation", "chroot", container, "--", *command)
    finally:
        buildah("rm", container)


def configuration(image: str) -> dict[str, object]:
    """The image's configuration: user, variables, labels."""
    return dict(json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"])


def identity(image: str) -> str:
    """The digest of its configuration, in hex: another one for every other content; empty if it was not built."""
    found = buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={image}")
    return found.strip().removeprefix("sha256:")


def size(image: str) -> str:
    """The image's size, for people."""
    return buildah("images", "--format", "{{.Size}}", image).strip()


def stored(image: str) -> str:
    """Where the image lies, in the words of the tools that copy images."""
    folder = _cache()
    return f"containers-storage:[{_driver()}@{folder / 'storage'}+{folder / 'run'}]{image}"


def exists(image: str) -> bool:
    """Whether the image was built."""
    return bool(identity(image))


def buildah(*arguments: object) -> str:
    """Runs buildah on a storage of our own; what it prints."""
    folder = _cache()
    storage = ("--root", folder / "storage", "--runroot", folder / "run")
    command = ["buildah", "--storage-driver", _driver(), *map(str, (*storage, *arguments))]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"buildah {arguments[0]} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def _driver() -> str:
    return os.environ.get("STORAGE_DRIVER", "overlay")


def _make_base() -> None:
    with tempfile.TemporaryDirectory(prefix="base-", dir=_cache()) as work:
        root = Path(work) / "root"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        # Packages and lists that were only needed to make it.
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / leftover)
            (root / leftover).mkdir()
        subprocess.run(["tar", "--numeric-owner", "-C", root, "-cf", f"{work}/root.tar", "."], check=True)
        (Path(work) / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
        shutil.rmtree(root)
        buildah("build", "--isolation", "chroot", "--tag", BASE, work)


def _trust() -> list[str]:
    """What a build behind a private certificate authority needs; nothing of it stays in the image."""
    file = os.environ.get("SSL_CERT_FILE", "")
    if not file.startswith(str(CERTIFICATES)):
        return []
    return ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--build-arg", f"SSL_CERT_FILE={file}"]


def _timestamp() -> str:
    """The time of all files and of the image: the last commit's, so that the same sources give the same image."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    if shutil.which("git") is None:
        return "0"
    done = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "0"


def _cache() -> Path:
    folder = Path(os.environ.get("KUBETUNE_CACHE") or Path.home() / ".cache" / "kubetune") / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _only_one() -> Iterator[None]:
    """Lets one process at a time build."""
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Builds what is asked for."""
    parser = argparse.ArgumentParser(description="Builds the images of the Dockerfile with buildah.")
    parser.add_argument("targets", nargs="*", default=["operator"], help="operator, trainer")
    parser.add_argument("--base", default="", help="NAME@sha256:…; without it, debootstrap makes one for tests")
    parser.add_argument("--release", action="store_true", help="refuses the base that debootstrap makes")
    given = parser.parse_args()
    if reason := unfit_base(given.base, release=given.release) or obstacle():
        raise SystemExit(reason)
    for wanted in given.targets:
        built = build(wanted, given.base)
        print(f"{built}: {size(built)}", flush=True)


if __name__ == "__main__":
    main()
