"""Texts whose words have tags: read from cells, judged, and brought to one form.

A row has the words and a tag for each, or a text and the spans of its entities. Either way it becomes a text with the
places of its words and their tags: the model is trained on the text as it will be asked, not on a list.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from kubetune_api.text import elide, plural
from kubetune_trainer.data.rows import Column, Row, Texts
from kubetune_trainer.data.values import bounded, kind_of, quoted
from kubetune_trainer.errors import RunError, invalid_data

_DIGITS = 18
"""Of the longest number of a class."""
OUTSIDE = "O"
"""The tag of a word that is in no entity."""
TOKENS, TAGS, TEXT, SPANS = "tokens", "tags", "text", "spans"
"""The fields of a row."""
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Chinese and Japanese have no spaces between words: each character is one.
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+|[^\w\s]")
_KEYS = ("start", "end", "label")


@dataclass(frozen=True)
class TaggedText:
    """A row."""

    text: str
    words: tuple[tuple[int, int], ...]
    """From which character to which each word is."""
    tags: tuple[str, ...]
    """Of each word."""
    widened: int = 0
    """How many spans began or ended within a word."""

    @property
    def spaced(self) -> list[str]:
        """The words alone."""
        return [self.text[start:end] for start, end in self.words]


def tagged(row: Row) -> TaggedText:
    """The words of a row and their tags; RunError (INVALID_DATA) where these do not fit each other."""
    if SPANS in row.names:
        return _from_spans(row)
    words, tags = items(row[TOKENS]), items(row[TAGS])
    if len(words) != len(tags):
        raise invalid_data(
            f"{row.where}: {plural(len(words), 'token')} and {plural(len(tags), 'tag')}; each token needs one tag"
        )
    return joined_words(words, tags)


def joined_words(words: Sequence[str], tags: Sequence[str]) -> TaggedText:
    """The words with a space between them."""
    places, end = [], -1
    for word in words:
        start = end + 1
        end = start + len(word)
        places.append((start, end))
    return TaggedText(" ".join(words), tuple(places), tuple(tags))


def tokens_of(value: object, column: Column, where: str) -> str | None:
    """A cell of words, as the JSON of their list; one without words is missing."""
    words = _items(value, column, where, "words")
    if not words:
        return None
    for word in words:
        if not isinstance(word, str):
            raise _wrong_item(word, column, where, "a word must be a string")
    return _cell(words, column, where)


def tags_of(value: object, column: Column, where: str, *, names: Sequence[str] | None = None) -> str | None:
    """A cell of tags, as the JSON of their list. A number stands for the tag at that place of `names`."""
    tags = _items(value, column, where, "tags")
    if not tags:
        return None
    for tag in tags:
        if isinstance(tag, bool) or not isinstance(tag, str | int):
            raise _wrong_item(tag, column, where, "a tag must be a string, or the number of a class")
    return _cell([_named(str(tag), names, column, where) for tag in tags], column, where)


def spans_of(value: object, column: Column, where: str) -> str | None:
    """A cell of entities, as the JSON of a list of [start, end, label]; an empty list says that there are none."""
    at = f"{where}: the column {quoted(column.name)} ({column.field})"
    if isinstance(value, str) and value.strip():
        value = _parsed(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, list):
        raise invalid_data(f'{at} holds {kind_of(value)}; write a list, [{{"start": 0, "end": 5, "label": "PER"}}]')
    return _cell([_span(entry, f"{at}, entity {number}") for number, entry in enumerate(value, 1)], column, where)


def _changed(value: str, change: Callable[[str], str]) -> str:
    return json.dumps([change(item) for item in items(value)], ensure_ascii=False)


def _in_one(value: str) -> str:
    return " ".join(items(value))


WORDS_OF_A_CELL = Texts(_changed, lambda value: (_in_one(value),), _in_one)
"""Each is normalized by itself, so that their number stays."""
TAGS_OF_A_CELL = Texts(lambda value, change: _changed(value, lambda tag: change(tag).strip()), lambda _: ())
TEXT_WITH_SPANS = Texts(lambda value, _: value)
"""As it is in the file: the spans count its characters."""
SPANS_OF_A_CELL = Texts(lambda value, _: value, lambda _: ())


def items(value: str) -> list[str]:
    """The words, or the tags, of a value."""
    found: list[str] = json.loads(value)
    return found


def types_in(value: str) -> list[str]:
    """The labels of the spans of a value."""
    return [label for _, _, label in json.loads(value)]


def _items(value: object, column: Column, where: str, what: str) -> list[object]:
    if isinstance(value, str):
        if value.lstrip().startswith(("['", '["')):
            value = _parsed(value)
            if isinstance(value, str):
                raise invalid_data(
                    f"{where}: the column {quoted(column.name)} ({column.field}) holds a list that is not JSON; write"
                    f" the {what} with spaces between them, or the JSON of the list (in Python json.dumps, not str)"
                )
        else:
            value = value.split()
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid_data(
            f"{where}: the column {quoted(column.name)} ({column.field}) holds {kind_of(value)}; write a list of"
            f" {what}, or a string with spaces between them"
        )
    return value


def _parsed(text: str) -> object:
    """What the JSON holds; the text itself if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _wrong_item(item: object, column: Column, where: str, rule: str) -> RunError:
    shown = "a missing value" if item is None else kind_of(item)
    return invalid_data(f"{where}: the column {quoted(column.name)} ({column.field}) holds {shown} in its list; {rule}")


def _named(tag: str, names: Sequence[str] | None, column: Column, where: str) -> str:
    if names is None or tag in names or not tag.isdecimal():
        return tag
    # Python raises an error for a number of thousands of digits.
    number = int(tag) if len(tag) <= _DIGITS else len(names)
    if number >= len(names):
        raise invalid_data(
            f"{where}: the column {quoted(column.name)} ({column.field}) holds the tag {elide(tag)}, and"
            f" spec.task.labels names those of 0 to {len(names) - 1}; name every tag, in the order of the numbers"
        )
    return names[number]


def _cell(items: Sequence[object], column: Column, where: str) -> str:
    return bounded(json.dumps(items, ensure_ascii=False), column, where)


def _span(entry: object, at: str) -> tuple[int, int, str]:
    if isinstance(entry, dict):
        missing = [key for key in _KEYS if entry.get(key) is None]
        if missing:
            raise invalid_data(f"{at}, has no {missing[0]}; write its start, end and label")
        entry = [entry[key] for key in _KEYS]
    if not isinstance(entry, list) or len(entry) != len(_KEYS):
        raise invalid_data(f'{at}, is {kind_of(entry)}; write {{"start": 0, "end": 5, "label": "PER"}}')
    start, end, label = entry
    if not (_is_place(start) and _is_place(end) and start < end):
        raise invalid_data(
            f"{at}, is from {start} to {end}; start and end are whole numbers of characters from 0, and end is behind"
            " the last character"
        )
    if not isinstance(label, str) or not label.strip():
        raise invalid_data(f"{at}, has {kind_of(label)} as its label; write its type in a word")
    return start, end, label.strip()


def _is_place(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _from_spans(row: Row) -> TaggedText:
    text, spans = row[TEXT], sorted(json.loads(row[SPANS]))
    words = tuple(match.span() for match in _WORD.finditer(text))
    starts, ends = [first for first, _ in words], [last for _, last in words]
    tags, widened, behind = [OUTSIDE] * len(words), 0, 0
    for start, end, label in spans:
        refuse = partial(_wrong_span, row, start, end, label)
        if end > len(text):
            raise refuse(f"the text has {plural(len(text), 'character')}; count characters, not bytes or tokens")
        inside = range(bisect_right(ends, start), bisect_left(starts, end))
        if not inside:
            raise refuse("there is no word; correct its start and end")
        if start < behind or tags[inside[0]] != OUTSIDE:
            raise refuse("another entity has a word of it; a word has one tag, so keep one of the two")
        for place in inside:
            tags[place] = f"I-{label}"
        tags[inside[0]] = f"B-{label}"
        widened += words[inside[0]][0] < start or words[inside[-1]][1] > end
        behind = end
    return TaggedText(text, words, tuple(tags), widened)


def _wrong_span(row: Row, start: int, end: int, label: str, why: str) -> RunError:
    return invalid_data(f"{row.where}: the entity {quoted(label)} is from {start} to {end}, and {why}")
