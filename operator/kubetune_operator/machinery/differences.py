"""Whether an object in the cluster is already as it should be, and what to send if it is not."""

import hashlib
import json
from itertools import islice
from typing import Any

from kubetune_operator.machinery.kinds import Object

_MOST_KEYS = 16
"""The most keys of a ConfigMap and the most annotations that are told apart; a profile may give as many."""
_MOST_LABELS = 64
"""The most labels that are kept: more than anything of ours has."""
_KEPT_METADATA = ("name", "namespace", "uid", "resourceVersion")


def trimmed(obj: Object) -> Object:
    """An object without what is never looked at: the texts of a ConfigMap, annotations, owners and whole fields, as a
    `spec` or the `rules` of a Role, as their digests.

    Any tenant may give an object our label, and 1 MB of whatever it likes: what is kept of it is small all the same.
    """
    kept: Object = {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
    kept["metadata"] = _trimmed_metadata(obj["metadata"])
    if isinstance(data := obj.get("data"), dict):
        kept["data"] = _digests(data)
    whole = obj.keys() - {"apiVersion", "kind", "metadata", "data", "binaryData", "status"}
    return kept | {key: _digest(json.dumps(obj[key], sort_keys=True)) for key in whole}


def is_as_wanted(live: Object | None, wanted: Object) -> bool:
    """Whether all that is wanted is so in the trimmed object. What the server or others added to its metadata or to the
    data of a ConfigMap does not matter; each other field that is wanted is compared whole, so that nobody narrows the
    selector of a NetworkPolicy, or adds to a peer or a right."""
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
    return bool(live == wanted)


def _trimmed_metadata(metadata: Object) -> Object:
    kept: Object = {key: metadata[key] for key in _KEPT_METADATA if key in metadata}
    if labels := metadata.get("labels"):
        kept["labels"] = dict(islice(labels.items(), _MOST_LABELS))
    if owners := metadata.get("ownerReferences"):
        kept["ownerReferences"] = _digest(json.dumps(owners, sort_keys=True))
    if annotations := metadata.get("annotations"):
        kept["annotations"] = _digests(annotations)
    return kept


def _digests(texts: Object) -> dict[str, str]:
    return {key: _digest(value) for key, value in texts.items()} if len(texts) <= _MOST_KEYS else {}


def _digest(text: object) -> str:
    return hashlib.sha256(str(text).encode(errors="replace")).hexdigest()
