"""A whole control plane of Kubernetes with KubeRay: everything of a cluster but its nodes, which `Kubelet` simulates.

KubeRay's RayJobs really reconcile on it, the scheduler really binds pods, and Jobs, ServiceAccounts, namespaces and
owner references are looked after as in any cluster. `python -m servers.control_plane` keeps one for a person.
"""

import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from servers.build import binary, kuberay_crds
from servers.components import Command, Component
from servers.kube import ApiServer
from servers.kube_snapshot import etcd_with_kuberay_crds
from servers.kubelet import Kubelet
from servers.processes import accepts_connections, free_port
from servers.ray_heads import RayHeads

OUR_CRDS = Path(__file__).parents[2] / "crds"
OFTEN: Command = ("--kube-api-qps", 500, "--kube-api-burst", 1000)
"""Thousands of pods of the tests begin and end within minutes."""


class ControlPlane(ApiServer):
    """The control plane; its components can be ended, frozen and started one by one."""

    def __init__(self, folder: Path, *, kuberay: bool = True) -> None:
        super().__init__(folder)
        self.heads = RayHeads()
        self._has_kuberay = kuberay
        self.controller_manager = self._with_port("kube-controller-manager", self._controller_manager_command)
        self.scheduler = self._with_port("kube-scheduler", self._scheduler_command)
        self.kuberay = self._with_port("kuberay", self._kuberay_command)
        self.kuberay.env = {"KUBECONFIG": str(self.admin_kubeconfig)}

    @property
    def components(self) -> tuple[Component, ...]:
        """All programs, in the order of their start."""
        return (*super().components, self.controller_manager, self.scheduler, self.kuberay)

    def start(self) -> None:
        """Starts all programs, KubeRay only where it is wanted; returns when they work."""
        self.heads.start()
        if self._has_kuberay:
            shutil.copytree(etcd_with_kuberay_crds(), self.etcd_folder)
        super().start()
        self.controller_manager.launch()
        self.scheduler.launch()
        if self._has_kuberay:
            self.kuberay.start()
        self.controller_manager.wait()
        self.scheduler.wait()
        # Without it, no pod can be created in the namespace.
        self.wait_for("/api/v1/namespaces/default/serviceaccounts/default", lambda _: True)

    def stop(self) -> None:
        """Ends all programs, and with them all objects."""
        super().stop()
        self.heads.stop()

    def restart_controllers(self) -> None:
        """Ends KubeRay, the controller manager and the scheduler, and starts them again: after an API server was away,
        their informers may wait for half a minute, each in its turn, before they ask it again."""
        controllers = (self.controller_manager, self.scheduler, self.kuberay)
        for each in controllers:
            each.kill()
        for each in controllers:
            each.launch()
        for each in controllers:
            each.wait()

    def install_kuberay(self) -> None:
        """Installs KubeRay's CRDs and starts its operator, where the control plane was started without."""
        self.install_crds(kuberay_crds())
        self.kuberay.start()

    def make_namespace(self, name: str, **labels: str) -> str:
        """Makes a namespace in which pods can be created; its name."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        answer = self.create("/api/v1/namespaces", namespace)
        assert answer.accepted, answer.message
        self.wait_for(f"/api/v1/namespaces/{name}/serviceaccounts/default", lambda _: True)
        return name

    def _with_port(self, name: str, command: Callable[[int], Command]) -> Component:
        """A component that works as soon as it listens on a port of its own."""
        port = free_port()
        return self._component(name, lambda: command(port), lambda: accepts_connections(port))

    def _api_server_command(self) -> Command:
        connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(self.heads.socket)}}}
        egress = {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": connection}],
        }
        file = self.folder / "egress.json"
        file.write_text(json.dumps(egress))
        return (
            *self._api_server_basics(),
            *("--enable-admission-plugins", "NodeRestriction"),
            *("--egress-selector-config-file", file),
        )

    def _controller_manager_command(self, port: int) -> Command:
        # Simulated nodes send no heartbeats; `Kubelet.set_ready` says what becomes of them.
        return *self._controller_manager_basics(port), *OFTEN, "--node-monitor-grace-period", "24h"

    def _scheduler_command(self, port: int) -> Command:
        return *self._scheduler_basics(port), *OFTEN

    def _kuberay_command(self, port: int) -> Command:
        # Outside the cluster it can reach a head through the API server alone.
        return (
            binary("kuberay"),
            *("--enable-leader-election=false", "--use-kubernetes-proxy"),
            *("--metrics-addr", "0", "--health-probe-bind-address", f"127.0.0.1:{port}"),
        )


@contextmanager
def running_control_plane(folder: Path, *, kuberay: bool = True) -> Iterator[ControlPlane]:
    """A control plane, as long as the `with` lasts; without KubeRay, `install_kuberay` brings it later."""
    plane = ControlPlane(folder, kuberay=kuberay)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


def main() -> None:
    """Keeps a control plane with this project's CRDs and a node that runs every pod, until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        TemporaryDirectory(prefix="control-plane") as folder,
        running_control_plane(Path(folder)) as plane,
    ):
        plane.install_crds(OUR_CRDS)
        kubelet = Kubelet(plane)
        kubelet.register()
        with kubelet.steps():
            print(f"export KUBECONFIG={plane.admin_kubeconfig}", flush=True)
            print("Ctrl-C ends it.", file=sys.stderr, flush=True)
            threading.Event().wait()


if __name__ == "__main__":
    main()
