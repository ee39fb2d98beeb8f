"""What a profile says of the network: servers in place of the public ones, and where pods may connect to."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule, words
from kubetune_api.object_names import LabelValue
from kubetune_api.schemes import WITH_ENDPOINT
from kubetune_api.tables import OneOf

METADATA_SERVERS = (
    "169.254.169.254/32",  # AWS, Azure, Google Cloud, Oracle and others
    "fd00:ec2::254/128",  # AWS
    "fd20:ce::254/128",  # Google Cloud
    "100.100.100.200/32",  # Alibaba Cloud
    "168.63.129.16/32",  # Azure's WireServer, which has the secrets of a machine's extensions
)
"""They give the credentials of the machine to whoever reaches them."""
DNS_PORT = 53


class Endpoint(ApiModel):
    """A server to use in place of the public one."""

    scheme: Annotated[str, OneOf(WITH_ENDPOINT)]
    """Which URIs are meant."""
    url: Annotated[
        str,
        # What is printed in ASCII: what else is a space differs between RE2 and others.
        StringConstraints(min_length=8, max_length=1024, pattern="^https?://[!-?A-~]+$"),
        Field(json_schema_extra=words("a URL without credentials, such as https://minio.storage.svc:9000")),
    ]
    """The server's URL; `http://` sends data and signatures unencrypted."""
    region: LabelValue | None = None
    """The region that requests are signed for (`s3`)."""


class Egress(ApiModel):
    """Where the pods may connect to, besides DNS and each other."""

    cidr: Annotated[
        str,
        StringConstraints(min_length=1, max_length=64, pattern="^[0-9a-fA-F.:]+/(0|[1-9][0-9]{0,2})$"),
        Field(json_schema_extra=words("a range of addresses, such as 10.0.0.0/8")),
    ]
    """The range of addresses. The clouds' metadata servers are never meant by a wider one."""
    ports: Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(min_length=1, max_length=32)]
    """The TCP ports, such as 443, each by its number: not every network plugin understands a range of ports."""

    rules: ClassVar = (
        Rule(
            # A text of another form is the pattern's to refuse.
            cel="!self.cidr.matches('^[0-9a-fA-F.:]+/(0|[1-9][0-9]{0,2})$') ||"
            " (isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked())",
            message="this is no range of addresses; give its first address and the length of its prefix, such as"
            " 10.20.0.0/16 or fd00:10::/32",
            holds=lambda egress: is_network(egress.cidr),
            field="cidr",
        ),
        Rule(
            cel=f"!({DNS_PORT} in self.ports)",
            message="port 53 is that of DNS, by which data leaves unseen, and pods reach the cluster's DNS without an"
            " entry; remove the port, and name other DNS servers where the operator is installed (operator.dnsCidrs)",
            holds=lambda egress: DNS_PORT not in egress.ports,
            field="ports",
        ),
    )


def is_network(cidr: str) -> bool:
    """Whether a text is a range of addresses, as Kubernetes' CEL sees it."""
    try:
        found = ip_network(cidr)
    except ValueError:
        return False
    return "/" in cidr and (isinstance(found, IPv4Network) or found.network_address.ipv4_mapped is None)


def within(cidr: str, others: Iterable[str]) -> list[str]:
    """Those of the others that are a part of the range, without those that are a part of another one's."""
    found: list[str] = []
    for other in others:
        if _part_of(other, cidr) and not _part_of(cidr, other) and not any(_part_of(other, known) for known in found):
            found.append(other)
    return found


def names_metadata_server(egress: Iterable[Egress] | None) -> bool:
    """Whether an entry holds nothing but a metadata server."""
    return any(is_metadata_server(entry.cidr) for entry in egress or ())


def is_metadata_server(cidr: str) -> bool:
    """Whether a range holds nothing but a metadata server."""
    return any(_part_of(cidr, server) for server in METADATA_SERVERS)


def _part_of(inner: str, outer: str) -> bool:
    small, large = ip_network(inner), ip_network(outer)
    if isinstance(small, IPv4Network):
        return isinstance(large, IPv4Network) and small.subnet_of(large)
    return isinstance(large, IPv6Network) and small.subnet_of(large)
