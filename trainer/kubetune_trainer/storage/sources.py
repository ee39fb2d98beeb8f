"""Where datasets come from: any store, or the Hugging Face hub."""

from pathlib import Path

from kubetune_api.formats import all_endings, format_of
from kubetune_api.tables import listed
from kubetune_trainer.errors import invalid_data
from kubetune_trainer.records import LocalFile
from kubetune_trainer.storage.credentials import ENVIRONMENT, StoreCredentials
from kubetune_trainer.storage.patterns import Pattern
from kubetune_trainer.storage.store import ObjectInfo
from kubetune_trainer.storage.trees import Source, fetch, open_source

_NAMES_SHOWN = 5


def fetch_dataset(
    uri: str, revision: str | None, into: Path, credentials: StoreCredentials = ENVIRONMENT
) -> list[LocalFile]:
    """The files that a dataset's URI names, on this machine, in the order of their paths.

    `into` is a cache folder. RunError (INVALID_DATA) if nothing fits, with the names of what is there instead.
    """
    source, path = open_source(uri, revision, credentials)
    pattern = Pattern.of(uri, path)
    found = pattern.find(source)
    data = [info for info in found if format_of(info.path)]
    if not data:
        raise invalid_data(_nothing(uri, source, pattern, found))
    return fetch(source, data, into)


def _nothing(uri: str, source: Source, pattern: Pattern, found: list[ObjectInfo]) -> str:
    if found:
        return (
            f"{uri} names no data file: {_some([info.path.rpartition('/')[2] for info in found])}."
            f" Name files that end in {listed(all_endings(), 'or')}."
        )
    folder = pattern.folder
    if pattern.is_literal and source.children(pattern.path) != ([], []):
        folder = pattern.path
    folders, objects = source.children(folder)
    names = [info.path.rpartition("/")[2] for info in objects] + [f"{name}/" for name in folders]
    here = f"{source.uri(folder)} holds {_some(names)}" if names else f"{source.uri(folder)} holds nothing"
    hidden = " What begins with a dot is read where the URI spells the dot." if any(map(_hidden, names)) else ""
    return (
        f"There is no file {uri}: {here}. Correct the URI; `*` stands for any part of a name, `**` for any folders."
        f"{hidden}"
    )


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
