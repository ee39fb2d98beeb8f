"""Whether an object in the cluster is already as it should be, and what to send if it is not."""

import hashlib
from typing import Any

from kubetune_operator.machinery.kinds import Object

_MOST_KEYS = 16
"""The most keys of a ConfigMap and the most annotations that are told apart; a profile may give as many."""
_KEPT_METADATA = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences")


def trimmed(obj: Object) -> Object:
    """An object without what is never looked at; annotations and the texts of a ConfigMap as their digests.

    Any tenant may give a ConfigMap our label, and 1 MB of whatever it likes: what is kept of it is small all the same.
    """
    kept = {key: value for key, value in obj.items() if key not in ("status", "binaryData")}
    kept["metadata"] = {key: value for key, value in obj["metadata"].items() if key in _KEPT_METADATA}
    if annotations := obj["metadata"].get("annotations"):
        kept["metadata"]["annotations"] = _digests(annotations)
    if isinstance(data := kept.get("data"), dict):
        kept["data"] = _digests(data)
    return kept


def is_as_wanted(live: Object | None, wanted: Object) -> bool:
    """Whether all that is wanted is so in the trimmed object; what the server or others added does not matter."""
    return live is not None and _holds(live, trimmed(wanted))


def merge_patch(before: Any, after: Any) -> Any:
    """The merge patch (RFC 7386) that makes `before` into `after`; empty if they are the same."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := merge_patch(old, value):
                patch[key] = inner
        elif value != old:
            patch[key] = value
    return patch


def _holds(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and _holds(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(_holds(one, other) for one, other in zip(live, wanted, strict=True))
        )
    return bool(live == wanted)


def _digests(texts: Object) -> dict[str, str]:
    return {key: _digest(value) for key, value in texts.items()} if len(texts) <= _MOST_KEYS else {}


def _digest(text: object) -> str:
    return hashlib.sha256(str(text).encode(errors="replace")).hexdigest()
