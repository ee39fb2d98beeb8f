"""What the operator can be told, from the environment (`KUBETUNE_…`) or by flags of the same name (`--log-level`)."""

import argparse
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from kubetune_api.base import ApiModel
from kubetune_api.network import DNS_PORT, is_metadata_server, is_network
from kubetune_api.object_names import LabelKey, LabelValue

CONNECT_SECONDS = 2.0
"""How long a request may look for a connection. A write that began just before the leader's renew deadline leaves
within this time: less than what lies between that deadline and the end of the Lease."""


class DnsPods(ApiModel):
    """Pods that know the cluster's names."""

    namespace: Annotated[str, Field(min_length=1)]
    """Where they are."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(min_length=1)]
    """By which they are selected. None would select every pod of the namespace."""


_RANGES = 'a JSON list of ranges of addresses, such as ["10.0.0.10/32"]'
_PODS = 'a JSON list such as [{"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}]'
_PORTS = "a JSON list of ports, such as [53]"


@dataclass(frozen=True)
class Settings:
    """The settings of one replica."""

    trainer_image: str = field(default="", metadata={"help": "The trainer's image where a profile names none."})
    namespace: str = field(
        default="kubetune-system", metadata={"help": "The operator's own namespace: its Lease is there."}
    )
    identity: str = field(
        default_factory=socket.gethostname, metadata={"help": "The name of this replica in the Lease; the pod's name."}
    )
    leader_election: bool = field(
        default=True,
        metadata={"help": "Whether replicas elect one writer with a Lease. Turn it off for a single replica only."},
    )
    reconcile_workers: int = field(default=16, metadata={"help": "How many jobs are reconciled at the same time."})
    resync_seconds: float = field(
        default=300.0,
        metadata={"help": "How often every job is reconciled again, even without a change, in seconds."},
    )
    progress_seconds: float = field(
        default=15.0, metadata={"help": "The minimum time between two writes of a job's progress, in seconds."}
    )
    stuck_seconds: float = field(
        default=300.0,
        metadata={
            "help": "How long a pod may be without its image, volumes or network, or a worker without its head, before"
            " its attempt fails."
        },
    )
    refusal_seconds: float = field(
        default=60.0,
        metadata={
            "help": "How long until an object that the API server refused, for example because of a quota, is tried"
            " again, in seconds."
        },
    )
    lease_seconds: float = field(default=8.0, metadata={"help": "The duration of the leader's Lease, in seconds."})
    renew_seconds: float = field(
        default=5.0,
        metadata={
            "help": "How long after its last renewal a leader stops writing, in seconds; more than 2 below the lease's."
        },
    )
    metrics_port: int = field(default=8080, metadata={"help": "The port of /metrics."})
    health_port: int = field(default=8081, metadata={"help": "The port of /healthz and /readyz."})
    metrics_host: str = field(default="0.0.0.0", metadata={"help": "The address of both."})  # noqa: S104 - a pod's
    log_format: str = field(default="json", metadata={"help": "`json`, or `text`, which is easier to read."})
    log_level: str = field(default="INFO", metadata={"help": "`DEBUG`, `INFO`, `WARNING` or `ERROR`."})
    api_server_cidrs: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": f"Where the API server is, for the heads' NetworkPolicy, as {_RANGES}; [] is anywhere.",
            "form": _RANGES,
        },
    )
    dns_pods: tuple[DnsPods, ...] = field(
        default=tuple(
            DnsPods(namespace="kube-system", labels={"k8s-app": app}) for app in ("kube-dns", "node-local-dns")
        ),
        metadata={"help": f"The pods of the cluster's DNS, which those of jobs may ask, as {_PODS}.", "form": _PODS},
    )
    dns_ports: tuple[int, ...] = field(
        default=(DNS_PORT,), metadata={"help": f"The ports on which it listens, as {_PORTS}.", "form": _PORTS}
    )
    dns_cidrs: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": f"Addresses of DNS servers that are no such pods (NodeLocal DNSCache), as {_RANGES}.",
            "form": _RANGES,
        },
    )
    kuberay_namespace: str = field(
        default="kuberay-system", metadata={"help": "Where KubeRay runs: it may reach the heads' dashboards."}
    )
    monitoring_namespace: str = field(
        default="monitoring", metadata={"help": "Where Prometheus runs: it may scrape the pods."}
    )

    def __post_init__(self) -> None:
        """ValueError with the variable's name for a value that makes no sense."""
        if not 0 < self.renew_seconds < self.lease_seconds - CONNECT_SECONDS:
            raise ValueError(
                f"{variable('renew_seconds')} is {self.renew_seconds:g}; give more than 0, and less than"
                f" {variable('lease_seconds')} ({self.lease_seconds:g}) by more than {CONNECT_SECONDS:g}, for a write"
                f" may take {CONNECT_SECONDS:g} seconds to find a connection"
            )
        self._judge_the_network()
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError(f"{variable('log_level')} is {self.log_level!r}; give DEBUG, INFO, WARNING or ERROR")
        if self.log_format not in ("json", "text"):
            raise ValueError(f"{variable('log_format')} is {self.log_format!r}; give json or text")

    def _judge_the_network(self) -> None:
        for name in ("api_server_cidrs", "dns_cidrs"):
            if wrong := [text for text in getattr(self, name) if not is_network(text)]:
                raise ValueError(f"{variable(name)} has {wrong[0]!r}; give {_RANGES}")
        if not self.dns_ports or not all(0 < port < 65536 for port in self.dns_ports):
            raise ValueError(f"{variable('dns_ports')} is {list(self.dns_ports)}; give {_PORTS}")
        if not self.dns_pods and not self.dns_cidrs:
            raise ValueError(f"{variable('dns_pods')} and {variable('dns_cidrs')} are empty, so that no name is known")
        servers = [cidr for cidr in self.dns_cidrs if is_metadata_server(cidr)]
        if servers and self.dns_ports != (DNS_PORT,):
            raise ValueError(
                f"{variable('dns_cidrs')} has {servers[0]}, which also gives the credentials of a machine, on other"
                f" ports; give {variable('dns_ports')} as [{DNS_PORT}]"
            )


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"KUBETUNE_{name.upper()}"


def settings_from(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings: flags count before the environment, that before the defaults. Ends the process on a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m kubetune_operator", description="The operator of kubetune.")
    for setting in fields(Settings):
        default = setting.default if setting.default is not MISSING else None
        if "form" in setting.metadata:
            kind: Any = setting.type
            default = TypeAdapter(kind).dump_json(setting.default).decode()
        help_text = f"{setting.metadata['help']} {variable(setting.name)}; default: {default}".replace("%", "%%")
        parser.add_argument(f"--{setting.name.replace('_', '-')}", dest=setting.name, help=help_text)
    given = {name: text for name, text in vars(parser.parse_args(arguments)).items() if text is not None}
    named = {setting.name: environment.get(variable(setting.name)) for setting in fields(Settings)}
    texts = {name: text for name, text in named.items() if text is not None} | given
    try:
        return Settings(**{name: _parsed(name, text) for name, text in texts.items()})
    except ValueError as error:
        parser.error(str(error))


def _parsed(name: str, text: str) -> Any:
    setting = next(setting for setting in fields(Settings) if setting.name == name)
    kind: Any = setting.type
    try:
        if "form" in setting.metadata:
            return TypeAdapter(kind).validate_json(text)
        return {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(
            kind, setting.metadata.get("form")
        )
        raise ValueError(f"{variable(name)} is {text!r}; give {wanted}") from None
