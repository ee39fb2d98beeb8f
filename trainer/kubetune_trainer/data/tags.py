"""Which tags the words of a task have, how they mark entities, and whether the data can teach them.

Tags begin with B, I, E or S and a hyphen, before the type of the entity (IOB2, IOB1, IOBES), or are plain: then words
of the same tag beside each other are one entity.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from kubetune_trainer.data.labels import listed_labels, refuse_wrong_column
from kubetune_trainer.data.rows import Column, Row
from kubetune_trainer.data.tagged import OUTSIDE, SPANS, TaggedText, tagged
from kubetune_trainer.data.values import quoted
from kubetune_trainer.errors import RunError, invalid_data

_PREFIXED = re.compile(r"([BIES])(?:-(.*))?", re.DOTALL)
_OTHERS = re.compile(r"[LUMWP]-.+", re.DOTALL)
_BEHIND = re.compile(r".+-[BIESLU]", re.DOTALL)


def are_prefixed(tags: Iterable[str]) -> bool:
    """Whether they begin with the place of the word in its entity."""
    return all(tag == OUTSIDE or _PREFIXED.fullmatch(tag) for tag in tags)


def place_and_type(tag: str, *, prefixed: bool) -> tuple[str, str]:
    """Where in an entity the word is (B, I, E, S, or O for in none), and of which type."""
    if tag == OUTSIDE:
        return OUTSIDE, "_"
    match = _PREFIXED.fullmatch(tag) if prefixed else None
    return (match[1], match[2] or "_") if match else ("I", tag)


def tag_set(
    counts: Counter[str], given: Sequence[str] | None, column: Column, classes: Sequence[str]
) -> tuple[str, ...]:
    """The tags, in the order of the head's outputs, from those that the training data has.

    Those of `classes` stand in its order, the others behind them: `O`, then by type. Where a type begins, it may go on:
    all of its tags are there.
    """
    _refuse_other_schemes(counts, column)
    if given is not None:
        return tuple(given)
    refuse_wrong_column(counts, column)
    if len(counts) == 1:
        raise invalid_data(
            f"{column.field}: every word has the tag {listed_labels(list(counts))}; there is nothing to tell apart"
        )
    prefixed = are_prefixed(counts)
    found = set(counts)
    if prefixed:
        places = "BIES" if any(tag[0] in "ES" for tag in counts) else "BI"
        types = {place_and_type(tag, prefixed=True)[1] for tag in counts if tag != OUTSIDE}
        found |= {place if kind == "_" else f"{place}-{kind}" for kind in types for place in places}
    of_files = [tag for tag in dict.fromkeys(classes) if tag in found]

    def order(tag: str) -> tuple[bool, str, str]:
        place, kind = place_and_type(tag, prefixed=prefixed)
        return (tag != OUTSIDE, kind, place)

    return (*of_files, *sorted(found - set(of_files), key=order))


def tags_of_types(given: Sequence[str]) -> tuple[str, ...]:
    """The tags of entities of these types."""
    return (OUTSIDE, *(f"{place}-{kind}" for kind in given for place in "BI"))


def refuse_unknown(rows: Sequence[Row], tags: Collection[str], source: str, *, given: bool) -> None:
    """Raises if rows have a tag that is none of `tags`, which were given or found in the training data."""
    known = set(tags)
    unknown: Counter[str] = Counter()
    first = None
    for row in rows:
        if others := [tag for tag in tagged(row).tags if tag not in known]:
            unknown.update(others)
            first = first or row
    if first is None:
        return
    missing = "that spec.task.labels does not name" if given else "that are not in the training data"
    types = " (name the labels of the spans)" if given and SPANS in first.names else ""
    remedy = f"name them there{types}" if given else "add training rows with them"
    raise invalid_data(
        f"{first.where}: the {source} data has tags {missing}: {listed_labels(list(unknown))}; correct them, or"
        f" {remedy}"
    )


def odd_beginnings(found: Iterable[TaggedText]) -> int:
    """How many entities begin with I and not with B, as IOB1 writes them."""
    odd = 0
    for one in found:
        before = ""
        for tag in one.tags:
            odd += tag.startswith("I-") and before not in (tag, f"B{tag[1:]}")
            before = tag
    return odd


def _refuse_other_schemes(counts: Counter[str], column: Column) -> None:
    names = [tag for tag in counts if tag != OUTSIDE]
    other = [tag for tag in names if _OTHERS.fullmatch(tag)]
    marked = [tag for tag in names if _PREFIXED.fullmatch(tag)]
    if names and all(tag.isdecimal() for tag in names):
        raise _wrong(column, names, "numbers without names; name the tags in spec.task.labels, in their order")
    if other and all(tag in other or tag in marked for tag in names):
        raise _wrong(column, other, "of another scheme than IOB2 or IOBES; write E- for L-, S- for U-, and I- for M-")
    if names and not marked and all(map(_BEHIND.fullmatch, names)):
        raise _wrong(column, names, "with the place in the entity behind its type; write B-PER for PER-B")
    plain = [tag for tag in names if tag not in marked]
    if plain and any("-" in tag for tag in marked):
        raise _wrong(column, plain, "plain beside others that begin with B- or I-; write all of them alike")


def _wrong(column: Column, tags: Sequence[str], what: str) -> RunError:
    shown = listed_labels(sorted(tags))
    return invalid_data(f"{column.field}: the column {quoted(column.name)} has tags ({shown}) that are {what}")
