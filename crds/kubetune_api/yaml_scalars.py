"""What a YAML scalar means to kubectl.

kubectl reads YAML with go-yaml v2 and hands the result on as JSON. PyYAML reads the same text otherwise: `2e-5` is a
string to it, `y` too, and `1:30` is the number 90. Here are go-yaml's rules, as recorded from it.
"""

import math
import re

Scalar = str | int | float | bool | None

IMPLICIT_TAG = "?"
"""The tag of a scalar that is neither quoted nor tagged: its text decides what it is."""
_PREFIX = "tag:yaml.org,2002:"

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGERS = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[-+]?0[bB][01]+"), 2),
    (re.compile(r"[-+]?0[oO]?[0-7]+"), 8),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)"), 10),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_FRACTION = re.compile(r"\.\d+(_\d+)*([eE][-+]?\d+(_\d+)*)?", re.ASCII)
"""After a leading dot, underscores may only stand between digits; elsewhere they may stand anywhere."""
_INTEGER_LIMITS = (-(2**63), 2**64)
_LONGEST_INTEGER = 70
"""Characters: 64 binary digits with sign and prefix. What is longer is at best a float."""


class ScalarError(ValueError):
    """The scalar has no value in JSON, or not the one that its tag promises. The message is a sentence."""


def resolve_plain(text: str) -> Scalar:
    """The value of an unquoted scalar. Raises `ScalarError` for infinity and NaN, which JSON does not have."""
    if text in _WORDS:
        value = _WORDS[text]
        if isinstance(value, float):
            raise ScalarError(f"{text} is not a number in JSON; give a finite number, or quote it")
        return value
    if text[0] == ".":
        return _float(text.replace("_", ""), text) if _FRACTION.fullmatch(text) else text
    if text[0] in "+-0123456789":
        return _number(text)
    return text


def resolve(tag: str, text: str) -> Scalar:
    """The value of a scalar with its tag: `IMPLICIT_TAG`, or one of YAML's own. Raises `ScalarError`."""
    kind = tag.removeprefix(_PREFIX)
    if kind in ("str", "timestamp"):
        return text
    if tag == IMPLICIT_TAG:
        return resolve_plain(text)
    wanted = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}.get(kind)
    if wanted is None:
        raise ScalarError(f"the tag {tag_as_written(tag)} has no meaning here; remove it")
    value = resolve_plain(text)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise ScalarError(f"the tag {tag_as_written(tag)} does not fit the value; remove it")
    return value


def tag_as_written(tag: str) -> str:
    """The short form of a tag: `!!int`."""
    return f"!!{tag.removeprefix(_PREFIX)}" if tag.startswith(_PREFIX) else tag


def _number(text: str) -> Scalar:
    plain = text.replace("_", "")
    for pattern, base in _INTEGERS:
        if len(plain) <= _LONGEST_INTEGER and pattern.fullmatch(plain):
            value = int(plain, base)
            if _INTEGER_LIMITS[0] <= value < _INTEGER_LIMITS[1]:
                return value
    return _float(plain, text)


def _float(plain: str, text: str) -> Scalar:
    return _as_json(float(plain), text) if _FLOAT.fullmatch(plain) else text


def _as_json(value: float, text: str) -> Scalar:
    """Go writes 3.0 as `3`, so a whole number stays one however it was written; what overflows stays a text."""
    if math.isinf(value):
        return text
    return int(value) if value.is_integer() and abs(value) < 2**63 else value
