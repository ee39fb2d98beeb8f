"""Kubernetes events in the namespace of the object that they are about: `kubectl describe` shows them.

An event tells of a transition, never of a state. Its name is made of the transition, so a reconcile that is repeated
after a crash makes the same event again, and the API server answers that it is there already.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from kubetune_api.base import GROUP
from kubetune_operator.machinery.kinds import EVENT, Kind, Object
from kubetune_operator.machinery.logs import one_line

CONTROLLER = f"{GROUP}/operator"
MAX_NOTE_BYTES = 1024
"""The longest note that the API server takes."""
_MAX_INSTANCE = 128
"""The longest name of a replica that it takes."""


@dataclass(frozen=True)
class Regarding:
    """The object that events are about."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Transition:
    """What has become of an object."""

    key: tuple[object, ...]
    """What tells it from every other transition of the object."""
    reason: str
    action: str
    note: str
    type: Literal["Normal", "Warning"] = "Normal"


def event_of(regarding: Regarding, transition: Transition, now: datetime, instance: str) -> Object:
    """The event; `instance` is the replica that reports it."""
    digest = hashlib.sha256(repr((regarding.uid, *transition.key)).encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {"name": f"{regarding.name}.{digest}", "namespace": regarding.namespace},
        "eventTime": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_MAX_INSTANCE],
        "type": transition.type,
        "reason": one_line(transition.reason) or "Unknown",
        "action": transition.action,
        "note": _note(transition.note),
        "regarding": {
            "apiVersion": regarding.kind.api_version,
            "kind": regarding.kind.name,
            "namespace": regarding.namespace,
            "name": regarding.name,
            "uid": regarding.uid,
        },
    }


def _note(text: str) -> str:
    """The text on one line, cut where it is longer than an event may be."""
    line = one_line(text)
    whole = line.encode()
    if len(whole) <= MAX_NOTE_BYTES:
        return line
    mark = "…"
    # A character of several bytes that the cut goes through is left out.
    return whole[: MAX_NOTE_BYTES - len(mark.encode())].decode(errors="ignore") + mark
