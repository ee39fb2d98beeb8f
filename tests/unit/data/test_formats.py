"""Every format and compression of the API's table has a reader, and a file's name tells which."""

import pytest

from kubetune_api.formats import COMPRESSIONS, FORMATS, all_endings, compression_of, format_of
from kubetune_trainer.data.read import READERS
from kubetune_trainer.data.streams import OPENERS


def test_every_format_has_a_reader() -> None:
    assert list(READERS) == list(FORMATS)


def test_every_compression_has_an_opener() -> None:
    assert list(OPENERS) == list(COMPRESSIONS.values())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("s3://b/x.csv", ("CSV", None)),
        ("x.csv.gz", ("CSV", "gzip")),
        ("x.jsonl.bz2", ("JSONL", "bzip2")),
        ("x.parquet", ("Parquet", None)),
        ("x.parquet.gz", (None, "gzip")),
        ("x.json", (None, None)),
        ("csv", (None, None)),
    ],
)
def test_the_name_tells_format_and_compression(name: str, told: tuple[str | None, str | None]) -> None:
    assert (format_of(name), compression_of(name)) == told


def test_the_endings_are_told_with_those_of_compressed_files() -> None:
    assert all_endings() == (".csv", ".csv.gz", ".csv.bz2", ".jsonl", ".jsonl.gz", ".jsonl.bz2", ".parquet")
