"""How many objects a page of a list may hold: few enough that a page fits into memory, whatever tenants have made.

Any of them may make hundreds of objects of a megabyte under our labels. So a list is handed on page by page, and what
is kept of a page is trimmed before the next one is asked for.
"""

from dataclasses import dataclass

from kubetune_operator.machinery.kinds import Object

FIRST_LIMIT, MOST_ON_A_PAGE = 10, 50
"""Objects on the first page, when nobody knows how large they are, and on any other."""
PAGES_AT_ONCE = 3
"""Pages that are read at the same time."""
PAGE_BYTES = 8 << 20
"""What a page should hold at most; one object alone may be larger."""


@dataclass(frozen=True)
class Page:
    """Some of the objects of a list."""

    objects: list[Object]
    version: str
    """The version at which the whole list was so; the same for each of its pages."""


def next_limit(limit: int, size: int) -> int:
    """How many objects to ask for after a page of so many that had so many bytes."""
    return max(1, min(MOST_ON_A_PAGE, limit * PAGE_BYTES // max(1, size)))
