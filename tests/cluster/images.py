"""Images built here, and brought into containerd without a registry: only the layers that it lacks."""

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.node import CTR, PAUSE, ctr
from servers.build import SERVERS, binary
from support.chart import script

builder = script("images")
"""The project's own builder."""
TARGETS = ("operator", "trainer")
"""Of our Dockerfile."""


def load_pause(store: Path) -> None:
    """The container that holds each pod's network."""
    builder.build_base()
    _load(store, _made('FROM {base}\nCMD ["sleep", "infinity"]\n', PAUSE), PAUSE)


def load_operator_of(name: str, store: Path) -> str:
    """An operator that Go builds: the binary and nothing else, as upstream's own image; the image's name."""
    image = f"localhost/{name}:{SERVERS[name].version}"
    _load(store, _made("FROM scratch\nCOPY manager /manager\nUSER 65532:65532\n", image, manager=binary(name)), image)
    return image


def load_target(target: str, store: Path) -> str:
    """A target of our Dockerfile, as it is in this checkout; the image's name, whose tag says its content."""
    built = builder.build(target)
    image = f"localhost/kubetune-{target}:{builder.identity(built)[:12]}"
    _load(store, built, image)
    return image


def load_next_operator(store: Path) -> str:
    """Our operator as another image, as a new version comes; the image's name."""
    image = "localhost/kubetune-operator-next:1"
    _load(store, _made(f"FROM {builder.build('operator')}\nLABEL release=next\n", image), image)
    return image


def give_name(image: str, name: str) -> None:
    """Another name of an image that containerd has, as a registry of the Docker Hub's kind would have given it."""
    ctr("images", "tag", "--force", image, f"docker.io/library/{name}")


def _made(dockerfile: str, image: str, **files: Path) -> str:
    with TemporaryDirectory(prefix="image") as folder:
        (Path(folder) / "Dockerfile").write_text(dockerfile.format(base=builder.BASE))
        for name, file in files.items():
            shutil.copy(file, Path(folder) / name)
        builder.buildah("build", "--isolation", "chroot", "--layers", "--timestamp", "0", "--tag", image, folder)
    return image


def _load(store: Path, built: str, image: str) -> None:
    """Brings it into containerd, unless it is there; earlier versions of it go."""
    present = _names()
    if image in present:
        return
    print(f"importing {image} ({builder.size(built)})", flush=True)
    blobs = store / "io.containerd.content.v1.content" / "blobs" / "sha256"
    with _layout(blobs) as layout:
        had = set((layout / "blobs" / "sha256").iterdir())
        # Not compressed: a layer is then known by the digest that it has where it was built, and is not even read if
        # it is there. buildah's own push compresses all gigabytes first.
        copy = ("skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers")
        subprocess.run([*copy, builder.stored(built), f"oci:{layout}:{image}"], check=True, stdin=subprocess.DEVNULL)
        command = [*CTR, "images", "import", "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as ctr_import:
            assert ctr_import.stdin is not None
            with tarfile.open(fileobj=ctr_import.stdin, mode="w|") as archive:
                for file in sorted(layout.rglob("*")):
                    if file.is_file() and file not in had:
                        archive.add(file, file.relative_to(layout))
        if ctr_import.returncode:
            raise SystemExit(f"{image} cannot be imported; containerd's log says more")
    earlier = {digest for name, digest in present.items() if name.rpartition(":")[0] == image.rpartition(":")[0]}
    # By all their names: the kubelet's side of containerd has one of its own for each image.
    for name in [name for name, digest in _names().items() if digest in earlier]:
        ctr("images", "delete", name)


def _names() -> dict[str, str]:
    """All names of images that containerd has, each with the digest of what it names."""
    lines = [line.split() for line in ctr("images", "list").stdout.splitlines()[1:]]
    return {name: digest for name, _, digest, *_ in lines}


@contextmanager
def _layout(blobs: Path) -> Iterator[Path]:
    """A folder for an image, in which lies already what containerd has: nothing of that is written again."""
    with TemporaryDirectory(prefix="layout", dir=blobs.parents[2]) as folder:
        layout = Path(folder)
        there = layout / "blobs" / "sha256"
        there.mkdir(parents=True)
        for blob in blobs.glob("*"):
            (there / blob.name).hardlink_to(blob)
        yield layout
