"""What NCCL connects nodes by, in one line of the log.

It takes TCP without a word where it finds no RDMA, at a small part of the speed. Only its own log says so, which is
long: it goes to a file, of which one line is told.
"""

import logging
import os
import re
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from tempfile import mkdtemp

_LEVEL, _PARTS, _FILE = "NCCL_DEBUG", "NCCL_DEBUG_SUBSYS", "NCCL_DEBUG_FILE"
_NETWORK = re.compile(r"NCCL INFO (?:Using network (?P<older>.+?)|Assigned NET plugin (?P<newer>.+?) to comm)\s*$")
"""The network of a communicator, as NCCL has said it up to 2.26 and since."""
_DEVICES = re.compile(r"NCCL INFO NET/(?P<network>\w+) : Using ?(?P<devices>.+?)\s*$")
_TCP = "Socket"
_log = logging.getLogger(__name__)


def log_to_file(environment: MutableMapping[str, str] = os.environ) -> Path | None:
    """Before NCCL's first word: the file that it is to write its log to. None where the profile asks for its log."""
    if _LEVEL in environment:
        return None
    file = Path(mkdtemp(prefix="kubetune-nccl-")) / "log"
    environment.update({_LEVEL: "INFO", _PARTS: "INIT,NET", _FILE: str(file)})
    return file


def tell_network(file: Path) -> None:
    """Once it has connected the workers: logs what by. A file that is not there has nothing to tell."""
    try:
        with file.open(errors="replace") as lines:
            told = network(lines)
    except OSError:
        return
    if told:
        _log.warning("%s", told)


def network(lines: Iterable[str]) -> str | None:
    """What NCCL connects nodes by, in a sentence; None where it does not say."""
    name, devices = None, dict[str, str]()
    for line in lines:
        if found := _NETWORK.search(line):
            name = found["older"] or found["newer"]
        elif found := _DEVICES.search(line):
            devices[found["network"]] = found["devices"]
    if name is None:
        return None
    by = f"{name} ({devices[name]})" if name in devices else name
    if name != _TCP:
        return f"NCCL connects the nodes by {by}"
    return (
        f"NCCL connects the nodes by TCP, {by}, and finds no RDMA; where the nodes have it, the profile must give it to"
        " the workers (docs/profiles.md)"
    )
