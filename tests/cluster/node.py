"""A whole Kubernetes on this machine: the control plane, and one real node of containerd, kubelet and kube-proxy.

No other machine reaches it: it listens on a bridge of its own. Pods reach the machine and each other.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cluster import network
from cluster.network import DNS_ADDRESS, NODE_ADDRESS
from servers.build import binary
from servers.components import Command, Component
from servers.kube import ApiServer
from servers.kube_client import conditions
from servers.processes import accepts_connections

NODE = "node"
NODE_USER = f"system:node:{NODE}"
PORT, DNS_PORT = 6443, 1053
SOCKET = Path("/run/kubetune-cluster/containerd.sock")
PAUSE = "localhost/pause:1"
DOMAIN = "cluster.local"
CTR = ("ctr", "--address", str(SOCKET), "--namespace", "k8s.io")
"""containerd's client, in the namespace of Kubernetes."""


class Node(ApiServer):
    """The cluster; `folder` goes with it, `images` stays: containerd's store is slow to fill."""

    users = MappingProxyType({NODE_USER: ("system:nodes",)})
    address = NODE_ADDRESS

    def __init__(self, folder: Path, images: Path, token: str) -> None:
        super().__init__(folder, port=PORT, token=token)
        self.images = images
        self.controller_manager = self._listening("kube-controller-manager", 10257, self._controller_manager_basics)
        self.scheduler = self._listening("kube-scheduler", 10259, self._scheduler_basics)
        self.containerd = self._component("containerd", self._containerd_command, _containerd_answers)
        self.kubelet = self._component("kubelet", self._kubelet_command, self._node_is_ready)
        self.kube_proxy = self._listening("kube-proxy", 10256, self._kube_proxy_command)
        self.coredns = self._listening("coredns", DNS_PORT, self._coredns_command, NODE_ADDRESS)

    @property
    def components(self) -> tuple[Component, ...]:
        """All programs, in the order of their start."""
        plane = (*super().components, self.controller_manager, self.scheduler)
        return (*plane, self.containerd, self.kube_proxy, self.coredns, self.kubelet)

    def start(self) -> None:
        """Starts everything; returns when pods can run."""
        network.set_up(self.folder)
        self._make_kubelets_client()
        super().start()
        for component in (self.controller_manager, self.scheduler, self.containerd, self.kube_proxy):
            component.launch()
        self.containerd.wait()
        remove_containers()
        self._serve_names()
        self.kubelet.start()
        for component in (self.controller_manager, self.scheduler, self.kube_proxy, self.coredns):
            component.wait()

    def stop(self) -> None:
        """Ends everything; what containers are left is ended as well."""
        self.kubelet.kill()
        if self.containerd.runs:
            remove_containers()
        super().stop()

    def _component(self, name: str, command: Callable[[], Command], ready: Callable[[], bool]) -> Component:
        # No limit of the CPU holds for the pods here, and a control plane that starves loses leaders. Containers would
        # inherit the priority of containerd.
        first = () if name == "containerd" else ("nice", "-n", "-10")
        return super()._component(name, lambda: (*first, *command()), ready)

    def _listening(
        self, name: str, port: int, command: Callable[[int], Command], address: str = "127.0.0.1"
    ) -> Component:
        return self._component(name, lambda: command(port), lambda: accepts_connections(port, address))

    def _api_server_command(self) -> Command:
        return (
            *self._api_server_basics(),
            # Later flags win.
            *("--advertise-address", self.address, "--endpoint-reconciler-type", "lease"),
            *("--enable-admission-plugins", "NodeRestriction", "--allow-privileged"),
            *("--kubelet-preferred-address-types", "InternalIP"),
            *("--kubelet-client-certificate", self._kubelets_client, "--kubelet-client-key", self._kubelets_client),
        )

    def _containerd_command(self) -> Command:
        SOCKET.parent.mkdir(exist_ok=True)
        cri = "plugins.'io.containerd.grpc.v1.cri'"
        file = self.folder / "containerd.toml"
        file.write_text(
            f"""version = 2
root = '{self.images}'
state = '{SOCKET.parent}/state'
[grpc]
address = '{SOCKET}'
[{cri}]
sandbox_image = '{PAUSE}'
# Without CAP_SYS_RESOURCE, as inside a container, runc could not lower a score.
restrict_oom_score_adj = true
[{cri}.cni]
bin_dir = '/usr/lib/cni'
conf_dir = '{network.write_cni(self.folder)}'
[{cri}.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
"""
        )
        return "containerd", "--config", file

    def _kubelet_command(self) -> Command:
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._kubelets_client)},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            # kube-proxy has tables of its own, and these would stay.
            "makeIPTablesUtilChains": False,
            # Pods ask for little, so that many fit, and may use all cores.
            "cpuCFSQuota": False,
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": DOMAIN,
            # Pods see the cluster's names alone.
            "resolvConf": "/dev/null",
            # Nobody fetches again the images that a full disk would have it delete.
            "evictionHard": {},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "maxPods": 110,
            "podLogsDir": str(self.folder / "pod-logs"),
        }
        file = self.folder / "kubelet.json"
        file.write_text(json.dumps(configuration))
        own = self.as_user(NODE_USER).kubeconfig(self.folder / "kubelet.kubeconfig")
        return (
            binary("kubelet"),
            *("--config", file, "--kubeconfig", own, "--root-dir", self.folder / "kubelet"),
            *("--cert-dir", self.folder / "kubelet-certificates"),
            *("--hostname-override", NODE, "--node-ip", self.address),
        )

    def _kube_proxy_command(self, port: int) -> Command:
        return (
            binary("kube-proxy"),
            *("--kubeconfig", self.admin_kubeconfig, "--hostname-override", NODE, "--proxy-mode", "nftables"),
            # Two pods on one bridge would else answer each other past the rules.
            "--masquerade-all",
            *("--healthz-bind-address", f"127.0.0.1:{port}", "--metrics-bind-address", "127.0.0.1:10249"),
            # This machine's own limits stay as they are.
            *("--conntrack-max-per-core", 0, "--conntrack-tcp-timeout-established", 0),
            *("--conntrack-tcp-timeout-close-wait", 0),
        )

    def _coredns_command(self, port: int) -> Command:
        file = self.folder / "Corefile"
        file.write_text(
            f""".:{port} {{
    bind {NODE_ADDRESS}
    errors
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {self.admin_kubeconfig}
        pods insecure
        ttl 5
    }}
}}
"""
        )
        return binary("coredns"), "-conf", file

    @property
    def _kubelets_client(self) -> Path:
        """The certificate and key by which the kubelet knows the API server."""
        return self.folder / "kubelets-client.pem"

    def _make_kubelets_client(self) -> None:
        file = str(self._kubelets_client)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365"),
                *("-subj", "/O=system:masters/CN=kube-apiserver", "-addext", "extendedKeyUsage=clientAuth"),
                *("-keyout", file, "-out", f"{file}.crt"),
            ],
            check=True,
            capture_output=True,
        )
        with self._kubelets_client.open("ab") as both:
            both.write(Path(f"{file}.crt").read_bytes())

    def _serve_names(self) -> None:
        """CoreDNS runs beside the cluster, under the Service that every cluster has for it."""
        self.coredns.launch()
        meta: dict[str, Any] = {"name": "kube-dns", "namespace": "kube-system"}
        ports = [
            {"name": protocol.lower(), "protocol": protocol, "port": 53, "targetPort": DNS_PORT}
            for protocol in ("UDP", "TCP")
        ]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"clusterIP": DNS_ADDRESS, "ports": ports},
        }
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "ports": [{"name": port["name"], "protocol": port["protocol"], "port": DNS_PORT} for port in ports],
            "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": True}}],
        }
        for path, body in (
            ("/api/v1/namespaces/kube-system/services", service),
            ("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", slice_),
        ):
            answer = self.apply(f"{path}/kube-dns", body)
            assert answer.accepted, answer.message

    def _node_is_ready(self) -> bool:
        answer = self.get(f"/api/v1/nodes/{NODE}")
        return answer.accepted and ("True", "Ready") in conditions(answer.body)


def _containerd_answers() -> bool:
    return SOCKET.exists() and ctr("version", check=False).returncode == 0


def ctr(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs containerd's client."""
    return subprocess.run([*CTR, *arguments], check=check, capture_output=True, text=True)


def remove_containers() -> None:
    """Ends all containers and forgets them, those of an earlier cluster too; the images stay."""
    for task in ctr("tasks", "list", "--quiet").stdout.split():
        ctr("tasks", "delete", "--force", task, check=False)
    for container in ctr("containers", "list", "--quiet").stdout.split():
        ctr("containers", "delete", container, check=False)
