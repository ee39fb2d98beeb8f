"""The node's and the pods' network on this machine: two bridges, forwarding, and what CNI is told."""

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path

NODE_BRIDGE, NODE_ADDRESS = "kubetune-node", "10.245.0.1"
POD_BRIDGE, POD_RANGE = "kubetune-pods", "10.244.0.0/24"
SERVICE_RANGE, DNS_ADDRESS = "10.96.0.0/16", "10.96.0.10"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_NAMESPACES = Path("/run/netns")
_NETWORK, _CNI_RESULTS = "kubetune-pods", Path("/var/lib/cni/results")


def set_up(folder: Path) -> None:
    """Makes the node's address, and lets the machine forward; `folder` keeps what was there before."""
    before = folder / "ip_forward"
    if not before.exists():
        before.write_text(_FORWARD.read_text())
    _FORWARD.write_text("1")
    if not (Path("/sys/class/net") / NODE_BRIDGE).exists():
        _ip("link", "add", NODE_BRIDGE, "type", "bridge")
        _ip("address", "add", f"{NODE_ADDRESS}/24", "dev", NODE_BRIDGE)
    _ip("link", "set", NODE_BRIDGE, "up")


def tear_down(folder: Path) -> None:
    """Removes the bridges, the pods' network namespaces and kube-proxy's rules."""
    for namespace in _NAMESPACES.glob("cni-*"):
        _ip("netns", "delete", namespace.name)
    for bridge in (POD_BRIDGE, NODE_BRIDGE):
        if (Path("/sys/class/net") / bridge).exists():
            _ip("link", "delete", bridge)
    found = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    for family in re.findall(r"^table (\S+) kube-proxy$", found, re.MULTILINE):
        subprocess.run(["nft", "delete", "table", family, "kube-proxy"], check=True)
    for network in (_NETWORK, "cni-loopback"):
        for result in _CNI_RESULTS.glob(f"{network}-*"):
            result.unlink()
    with suppress(FileNotFoundError):
        _FORWARD.write_text((folder / "ip_forward").read_text())


def write_cni(folder: Path) -> Path:
    """Writes what CNI is told; its folder. No masquerading: pods reach the machine, and nothing beyond it."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": POD_BRIDGE, "isGateway": True, "hairpinMode": True}
    pods = {
        "cniVersion": "1.0.0",
        "name": _NETWORK,
        "plugins": [{**bridge, "ipam": {**ipam, "dataDir": str(folder / "addresses")}}, {"type": "loopback"}],
    }
    place = folder / "cni"
    place.mkdir(exist_ok=True)
    (place / "10-pods.conflist").write_text(json.dumps(pods))
    return place


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
