"""How a number is shown to people, on every page and in every message."""

import math
from collections.abc import Callable


def number(value: float, digits: int = 4) -> str:
    """`value` with `digits` significant digits, without an exponent where a person would not write one."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e+")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def on_its_side(value: float, meets: Callable[[float], bool]) -> str:
    """The value, rounded no further than it stays on its side of a bound: 0.84999 is never shown as 0.85."""
    if not math.isfinite(value):
        return number(value)
    for digits in range(4, 17):
        shown = f"{value:.{digits}g}"
        if meets(float(shown)) == meets(value):
            return shown
    return repr(value)


def minutes(seconds: float) -> str:
    """`1:15`."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02}"
