"""How values and tenants' text are put into words: rounded, shortened, and with nothing invisible left in them."""

import math
import re
import unicodedata
from datetime import timedelta

MAX_SHOWN = 48
"""Characters of a tenant's text that a table or a heading shows."""
MAX_TITLE = 1024
"""Characters of it that a tooltip holds; labels in a manifest have at most 256."""

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)
"""What a reader cannot see, or what reorders the text around it: controls but tabs and line ends, lone surrogates,
marks and overrides of direction."""
WHITESPACE = str.maketrans({"\n": " ", "\r": " ", "\t": " ", "\u2028": " ", "\u2029": " "})
"""A translation of all of it to spaces."""
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def printable(text: str) -> str:
    r"""`text` with whitespace as spaces, and with each unseen character as an escape (`\x00`)."""
    return UNSEEN.sub(_escape, text.replace("\r\n", " ").translate(WHITESPACE))


def visible(text: str) -> str:
    """`text` in its own lines, with each unseen character but tabs and line ends as an escape."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def elide(text: str, limit: int = MAX_SHOWN) -> str:
    """The beginning of `text`, at most `limit` characters with the `…` that says there is more."""
    if len(text) <= limit:
        return text
    end = limit - 1
    # A combining mark or a joiner belongs to the character before it.
    while end > limit // 2 and (unicodedata.combining(text[end]) or text[end] in "\u200d\ufe0f"):
        end -= 1
    return text[:end].rstrip() + "…"


def ends_of(text: str, limit: int) -> str:
    """The beginning and the end of `text`, where it has more than `limit` characters."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]} … {text[-half:]}"


def count(value: int) -> str:
    """`13,905`."""
    return f"{value:,}"


def plural(value: int, noun: str, nouns: str = "") -> str:
    """`1 row`, `13,905 rows`; `nouns` where it is no more than an s."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {nouns or f'{noun}s'}"


def percent(share: float, digits: int = 1) -> str:
    """`83.5 %`; a share that is small but not zero is never shown as zero, nor one below 1 as 100 %."""
    if not math.isfinite(share):
        return "–"
    least = 10.0**-digits
    if 0 < share * 100 < least:
        return f"< {least:.{digits}f} %"
    if 0 < 100 - share * 100 < least:
        return f"> {100 - least:.{digits}f} %"
    return f"{share * 100:.{digits}f} %"


def size(value: int) -> str:
    """Bytes in decimal units: `90.9 MB`."""
    amount, unit = float(value), _SIZE_UNITS[0]
    for unit in _SIZE_UNITS:
        if amount < 999.5 or unit == _SIZE_UNITS[-1]:
            break
        amount /= 1000
    return f"{value} B" if unit == "B" else f"{amount:.3g} {unit}"


def magnitude(value: int) -> str:
    """A number of parameters or tokens: `22.7 M`."""
    for limit, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
        if value >= max(limit, 10_000):
            return f"{value / limit:.3g} {unit}"
    return count(value)


def duration(value: timedelta) -> str:
    """`1 h 04 min`, `4 min 12 s`, `8.3 s`."""
    seconds = max(0.0, value.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"
