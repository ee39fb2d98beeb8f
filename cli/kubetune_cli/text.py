"""What comes from a cluster, fit for a terminal: the texts of a status and the lines of a log are a tenant's."""

import re

from kubetune_api.text import UNSEEN, WHITESPACE

_SEQUENCES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor
    "|(?:\x1b[\\]P_^X]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x9c|\x1b\\\\)"  # OSC and its like: titles, links
    "|\x1b[ -/]*[0-~]"
)


def printable(text: str) -> str:
    """`text` in one line, without terminal sequences and anything else that is not seen."""
    return UNSEEN.sub("", _SEQUENCES.sub("", text).translate(WHITESPACE))


def paragraphs(text: str) -> list[str]:
    """The lines of a longer text, each printable."""
    return [printable(line) for line in text.splitlines()] or [""]


def log_line(text: str) -> str:
    """A line of a log: tabs stay, and of what a progress bar wrote over itself only the last state is shown."""
    last = text.rstrip("\r").rpartition("\r")[2]
    return UNSEEN.sub("", _SEQUENCES.sub("", last).replace("\n", " "))


def age(seconds: float) -> str:
    """`45s`, `12m`, `3h04m`, `2d05h`, as kubectl shows an age."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 2:
        return f"{whole}s"
    if hours < 2:
        return f"{minutes}m"
    return f"{hours}h{minutes % 60:02}m" if days < 2 else f"{days}d{hours % 24:02}h"
