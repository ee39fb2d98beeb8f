"""Statements in in-toto's form (v1): what is said of files that are known by their digests."""

from collections.abc import Sequence
from typing import Any

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""The type of a statement's bytes within an envelope."""


def statement(subject: Sequence[dict[str, Any]], predicate_type: str, predicate: dict[str, Any]) -> dict[str, Any]:
    """What `predicate` says of the subject."""
    return {"_type": STATEMENT, "subject": list(subject), "predicateType": predicate_type, "predicate": predicate}


def described(sha256: str, **fields: Any) -> dict[str, Any]:
    """in-toto's ResourceDescriptor of a file."""
    return {**fields, "digest": {"sha256": sha256}}
