"""etcd's files with KubeRay's CRDs in them, kept beside the binaries.

An API server works for ten seconds to learn KubeRay's four megabytes of CRDs, and for two to find them in etcd.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from servers.build import SERVERS, cache, kuberay_crds, only_one
from servers.kube import ApiServer


def etcd_with_kuberay_crds() -> Path:
    """The folder to copy before etcd starts; made now if it never was with these versions."""
    versions = [f"{name}-{SERVERS[name].version}" for name in ("etcd", "kube-apiserver", "kuberay")]
    folder = cache() / "-".join(("with", *versions))
    if not folder.exists():
        with only_one("etcd-with-kuberay-crds"):
            if not folder.exists():
                _make(folder)
    return folder


def _make(folder: Path) -> None:
    with TemporaryDirectory(prefix="snapshot") as work:
        server = ApiServer(Path(work))
        try:
            server.start()
            server.install_crds(kuberay_crds())
            server.kube_apiserver.kill()
            server.etcd.stop()
        finally:
            server.stop()
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(server.etcd_folder, unfinished)
    unfinished.rename(folder)
