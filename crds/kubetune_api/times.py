"""Times as Kubernetes writes them (RFC 3339)."""

from datetime import datetime


def moment(text: str) -> datetime:
    """The time that a text stands for."""
    return datetime.fromisoformat(text)


def timestamp(at: datetime) -> str:
    """The text for a time in UTC, in whole seconds."""
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
