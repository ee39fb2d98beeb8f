"""Splits rows into train, validation and test.

The place of a row follows from the hash of the seed and its text, not from its place in the files: files may be listed
in any order, and new rows leave nearly all others where they were. Rows with the same text (letter case and spaces
aside) are one group, and a group never crosses splits.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kubetune_trainer.data.rows import Row

Key = Callable[[Row], str]
"""The text that ties rows together."""
Stratum = Callable[[Row], str | Sequence[str] | None]
"""What every split gets the same share of; of several the rarest, None where there is nothing to share out."""


def folded(*texts: str) -> str:
    """The texts as one key, without what letter case and spaces tell apart."""
    return "\x1f".join(" ".join(text.casefold().split()) for text in texts)


@dataclass(frozen=True)
class Group:
    """Rows that stay together."""

    digest: bytes
    rows: tuple[Row, ...]


def split(
    rows: Sequence[Row], *, validation: float, test: float, seed: int, key: Key, stratum: Stratum
) -> dict[str, list[Row]]:
    """The rows of each split, in an order that depends on the seed and the texts alone.

    `validation` and `test` are shares of the rows, 0 to 0.9. Each stratum is split by the same shares, and at
    least one group of each stays in train. Where every text stands once, the sizes are exact: the shares
    of the total, rounded half up, spread over the strata by largest remainder.
    """
    strata = list(_strata(_groups(rows, seed, key), stratum).values())
    sizes = [sum(len(group.rows) for group in members) for members in strata]
    # Where all else is held out, the last group of a stratum stays in train.
    room = [size - len(members[-1].rows) for size, members in zip(sizes, strata, strict=True)]
    tests = allocate(sizes, test, room)
    validations = allocate(sizes, validation, [space - taken for space, taken in zip(room, tests, strict=True)])
    placed: dict[str, list[Group]] = {"train": [], "validation": [], "test": []}
    for members, wanted_test, wanted_validation in zip(strata, tests, validations, strict=True):
        _place(members, {"test": wanted_test, "validation": wanted_validation}, placed)
    # Ordered by the digest's other end: by the same end, a split would begin with the label whose share ended first.
    return {
        name: [row for group in sorted(groups, key=lambda group: group.digest[::-1]) for row in group.rows]
        for name, groups in placed.items()
    }


def allocate(sizes: Sequence[int], share: float, capacity: Sequence[int]) -> list[int]:
    """How many rows each stratum gives up, by largest remainder; none gives up more than its capacity.

    The sum is `share` of all rows, rounded half up, as far as the capacities allow.
    """
    exact = [size * share for size in sizes]
    given = [min(math.floor(amount), room) for amount, room in zip(exact, capacity, strict=True)]
    missing = math.floor(sum(sizes) * share + 0.5) - sum(given)
    by_remainder = sorted(range(len(sizes)), key=lambda index: given[index] - exact[index])
    for index in by_remainder:
        if missing > 0 and given[index] < capacity[index]:
            given[index] += 1
            missing -= 1
    return given


def _groups(rows: Sequence[Row], seed: int, key: Key) -> list[Group]:
    """The groups, in the order of their digests."""
    by_digest: dict[bytes, list[Row]] = defaultdict(list)
    salt = seed.to_bytes(8, "big")
    for row in rows:
        by_digest[hashlib.blake2b(key(row).encode(), digest_size=16, key=salt).digest()].append(row)
    return [Group(digest, tuple(sorted(by_digest[digest], key=_content))) for digest in sorted(by_digest)]


def _content(row: Row) -> tuple[str, ...]:
    return tuple(value or "" for value in row.values)


def _strata(groups: Sequence[Group], stratum: Stratum) -> dict[str, list[Group]]:
    """The groups by stratum, in order; a group that belongs to several goes to the rarest, which needs it most."""

    def of(group: Group) -> Iterator[str]:
        for found in map(stratum, group.rows):
            yield from (found,) if isinstance(found, str) else found or ("",)

    counts = Counter(name for group in groups for name in of(group))
    strata: dict[str, list[Group]] = {name: [] for name in sorted(counts)}
    for group in groups:
        strata[min(of(group), key=lambda name: (counts[name], name))].append(group)
    return {name: members for name, members in strata.items() if members}


def _place(groups: Sequence[Group], wanted: dict[str, int], placed: dict[str, list[Group]]) -> None:
    """Fills test, then validation, in the order of the digests; the rest, at least one group, stays in train."""
    filled = dict.fromkeys(wanted, 0)
    in_train = 0
    for index, group in enumerate(groups):
        size = len(group.rows)
        # Half a group too many is nearer to the wanted size than half a group too few.
        open_to = [name for name in wanted if filled[name] + size / 2 <= wanted[name]]
        last_chance = index == len(groups) - 1 and not in_train
        name = open_to[0] if open_to and not last_chance else "train"
        placed[name].append(group)
        if name == "train":
            in_train += 1
        else:
            filled[name] += size
