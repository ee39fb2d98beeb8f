"""A real Kubernetes API server: etcd and kube-apiserver, nothing else."""

import re
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from urllib.error import URLError

from servers.build import binary
from servers.components import Command, Component
from servers.kube_client import Answer as Answer
from servers.kube_client import KubeClient
from servers.processes import accepts_connections, free_port

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TOKEN = "a-token-of-the-tests-alone"
USERS: Mapping[str, tuple[str, ...]] = MappingProxyType({"alice": ("team-a",), "bob": ("team-b",)})
"""Users without any right of their own, each with its groups."""


class ApiServer(KubeClient):
    """The server, empty but for Kubernetes' own objects; and its administrator's client."""

    users: Mapping[str, tuple[str, ...]] = USERS
    address = "127.0.0.1"
    """Where it listens."""

    def __init__(self, folder: Path, *, port: int | None = None, token: str = TOKEN) -> None:
        self.folder = folder
        self.port, self._etcd_port, self._etcd_peer_port = port or free_port(), free_port(), free_port()
        super().__init__(f"https://{self.address}:{self.port}", folder / "certificates" / "apiserver.crt", token)
        self.etcd = self._component("etcd", self._etcd_command, lambda: accepts_connections(self._etcd_port))
        self.kube_apiserver = self._component("kube-apiserver", self._api_server_command, self._ready)

    @property
    def components(self) -> tuple[Component, ...]:
        """All programs, in the order of their start."""
        return self.etcd, self.kube_apiserver

    def start(self) -> None:
        """Starts etcd, then the API server; returns when it is ready."""
        self.etcd.start()
        self.kube_apiserver.start()
        self.kubeconfig(self.admin_kubeconfig)

    def stop(self) -> None:
        """Ends all programs, and with them all objects."""
        for component in reversed(self.components):
            component.kill()

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig file, which exists once the API server was started."""
        return self.folder / "admin.kubeconfig"

    @property
    def etcd_folder(self) -> Path:
        """Where all objects are kept."""
        return self.folder / "etcd"

    def install_crds(self, folder: Path) -> None:
        """Installs all CRDs of the folder; returns when the server knows their kinds."""
        # KubeRay's are large, and the server takes seconds for each.
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._install_crd, [path.read_bytes() for path in folder.glob("*.yaml")]))

    def as_user(self, name: str) -> KubeClient:
        """The client of one of the users."""
        return KubeClient(self.url, self._certificate, self._token_of(name))

    def as_service_account(self, namespace: str, name: str) -> KubeClient:
        """The client of a ServiceAccount, by a token for an hour."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        answer = self.create(path, wanted)
        assert answer.accepted, answer.message
        return KubeClient(self.url, self._certificate, answer.body["status"]["token"])

    def _install_crd(self, text: bytes) -> None:
        # The name by a pattern: to parse the megabyte of YAML that one of KubeRay's has takes longer than all else.
        name = re.search(rb"^  name: (\S+)$", text, re.MULTILINE)
        assert name, "the file is not a CRD"
        path = f"{DEFINITIONS}/{name[1].decode()}"
        answer = self.apply(path, text)
        assert answer.accepted, answer.message
        self.wait_for_condition(path, "Established")

    @property
    def _key(self) -> Path:
        """The key that the server makes for TLS; it signs the ServiceAccounts' tokens as well."""
        return self._certificate.with_suffix(".key")

    def _component(self, name: str, command: Callable[[], Command], ready: Callable[[], bool]) -> Component:
        return Component(self.folder / f"{name}.log", command, ready)

    def _etcd_command(self) -> Command:
        url, peers = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer_port}"
        return (
            binary("etcd"),
            *("--data-dir", self.etcd_folder, "--unsafe-no-fsync", "--log-level", "warn"),
            *("--listen-client-urls", url, "--advertise-client-urls", url),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        )

    def _api_server_command(self) -> Command:
        return (
            *self._api_server_basics(),
            # Without a controller manager nobody makes the ServiceAccounts that this plugin asks for.
            *("--disable-admission-plugins", "ServiceAccount"),
        )

    def _api_server_basics(self) -> Command:
        return (
            binary("kube-apiserver"),
            *("--etcd-servers", f"http://127.0.0.1:{self._etcd_port}"),
            *("--bind-address", self.address, "--secure-port", self.port),
            # A loopback address may not stand in an EndpointSlice, so none is kept for the server itself.
            *("--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none"),
            *("--cert-dir", self._certificate.parent, "--token-auth-file", self._write_tokens()),
            *("--authorization-mode", "Node,RBAC", "--service-cluster-ip-range", "10.96.0.0/16"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-key-file", self._key, "--service-account-signing-key-file", self._key),
        )

    def _controller_manager_basics(self, port: int) -> Command:
        return (
            *self._alone("kube-controller-manager", port),
            *("--root-ca-file", self._certificate, "--service-account-private-key-file", self._key),
            "--use-service-account-credentials",
        )

    def _scheduler_basics(self, port: int) -> Command:
        return self._alone("kube-scheduler", port)

    def _alone(self, program: str, port: int) -> Command:
        """A program of the control plane that nobody else needs to reach, and the only one of its kind."""
        return (
            binary(program),
            *("--kubeconfig", self.admin_kubeconfig, "--leader-elect=false"),
            *("--bind-address", "127.0.0.1", "--secure-port", port),
        )

    def _write_tokens(self) -> Path:
        path = self.folder / "tokens.csv"
        users = [f'{self._token_of(name)},{name},{name},"{",".join(groups)}"\n' for name, groups in self.users.items()]
        path.write_text("".join([f'{self.token},admin,admin,"system:masters"\n', *users]))
        return path

    def _token_of(self, user: str) -> str:
        return f"{self.token}-{user.replace(':', '-')}"

    def _ready(self) -> bool:
        try:
            return self._certificate.exists() and self.get("/readyz").status == 200
        except (URLError, ConnectionError, ssl.SSLError):
            return False
