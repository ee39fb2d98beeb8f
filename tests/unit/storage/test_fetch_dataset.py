"""From the URI of a dataset to files on this machine."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from kubetune_api.job import DataSource
from kubetune_api.reasons import Reason
from kubetune_api.uris import resolve_relative_uris
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.patterns import MOST_FOLDERS, Pattern
from kubetune_trainer.storage.sources import fetch_dataset
from kubetune_trainer.storage.store import ObjectInfo, Store
from kubetune_trainer.storage.trees import StoreSource, fetch, open_source


def with_files(folder: Path, names: Iterable[str]) -> Path:
    """The folder with files of these names, each of which holds its own."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = ("b.csv", "a.csv", "a.parquet", "README.md", "2024/x.jsonl.gz", "2025/x.jsonl.gz", "2025/y.txt")
    return with_files(tmp_path / "data", names)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        pytest.param("a.csv", ["a.csv"], id="one file"),
        pytest.param("*.csv", ["a.csv", "b.csv"], id="a pattern, in the order of the paths"),
        pytest.param("a.*", ["a.csv", "a.parquet"], id="any suffix of data"),
        pytest.param("*", ["a.csv", "a.parquet", "b.csv"], id="a pattern leaves out what is no data"),
        pytest.param("*/x.jsonl.gz", ["2024/x.jsonl.gz", "2025/x.jsonl.gz"], id="a pattern over folders"),
        pytest.param("20*5/*.jsonl.gz", ["2025/x.jsonl.gz"], id="a pattern in both"),
    ],
)
def test_a_uri_names_its_files(data: Path, tmp_path: Path, pattern: str, names: list[str]) -> None:
    files = fetch_dataset(f"{data.as_uri()}/{pattern}", None, tmp_path / "cache")
    assert [file.uri for file in files] == [f"{data.as_uri()}/{name}" for name in names]
    assert [file.path.read_text() for file in files] == names
    assert [(file.size, file.sha256) for file in files] == [
        (len(name), hashlib.sha256(name.encode()).hexdigest()) for name in names
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        pytest.param(
            "c.csv",
            "There is no file {data}/c.csv: {data} holds README.md, a.csv, a.parquet, b.csv, 2024/ and 1 more."
            " Correct the URI; `*` stands for any part of a name, `**` for any folders.",
            id="a missing file",
        ),
        pytest.param(
            "*.jsonl",
            "There is no file {data}/*.jsonl: {data} holds README.md, a.csv, a.parquet, b.csv, 2024/ and 1 more."
            " Correct the URI; `*` stands for any part of a name, `**` for any folders.",
            id="a pattern without a match",
        ),
        pytest.param(
            "2024",
            "There is no file {data}/2024: {data}/2024 holds x.jsonl.gz."
            " Correct the URI; `*` stands for any part of a name, `**` for any folders.",
            id="a folder",
        ),
        pytest.param(
            "none/*.csv",
            "There is no file {data}/none/*.csv: {data}/none holds nothing."
            " Correct the URI; `*` stands for any part of a name, `**` for any folders.",
            id="a missing folder",
        ),
        pytest.param(
            "README.md",
            "{data}/README.md names no data file: README.md."
            " Name files that end in .csv, .csv.gz, .csv.bz2, .jsonl, .jsonl.gz, .jsonl.bz2 or .parquet.",
            id="a file of another kind",
        ),
    ],
)
def test_a_uri_without_data_is_told_with_what_is_there(data: Path, tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(RunError) as caught:
        fetch_dataset(f"{data.as_uri()}/{pattern}", None, tmp_path / "cache")
    assert caught.value.reason == Reason.INVALID_DATA
    assert str(caught.value) == message.format(data=data.as_uri())


def test_a_changed_file_is_read_anew(data: Path, tmp_path: Path) -> None:
    uri = f"{data.as_uri()}/a.csv"
    before = fetch_dataset(uri, None, tmp_path / "cache")
    (data / "a.csv").write_text("other words")
    after = fetch_dataset(uri, None, tmp_path / "cache")
    assert before[0].sha256 != after[0].sha256
    assert after[0].path.read_text() == "other words"


def test_what_a_killed_process_left_unfinished_is_begun_anew(data: Path, tmp_path: Path) -> None:
    uri, cache = f"{data.as_uri()}/a.csv", tmp_path / "cache"
    whole = fetch_dataset(uri, None, cache)[0].path.parent
    unfinished = whole.rename(whole.with_suffix(".unfinished"))
    (unfinished / ".listing.json").unlink()
    assert fetch_dataset(uri, None, cache)[0].path.read_text() == "a.csv"


def test_a_cache_that_cannot_be_written_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(RunError) as caught:
        fetch_dataset(f"{data.as_uri()}/a.csv", None, tmp_path / "cache")
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == f"{tmp_path / 'cache'} could not be written: File exists."


class Meddling(Store):
    """A store in which somebody acts between the listing and the reading."""

    act: Callable[[], object]

    def children(self, path: str = "") -> tuple[list[str], list[ObjectInfo]]:
        found = super().children(path)
        self.act()
        return found


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda path: path.write_text("other"), id="replaced"),
        pytest.param(lambda path: path.unlink(), id="removed"),
    ],
)
def test_a_file_that_changes_after_the_listing_is_refused(
    data: Path, tmp_path: Path, act: Callable[[Path], object]
) -> None:
    store = Meddling.open("file:///")
    assert isinstance(store, Meddling)
    store.act = lambda: act(data / "a.csv")
    source = StoreSource(store)
    with pytest.raises(RunError) as caught:
        fetch(source, Pattern(f"{data}/a.csv".strip("/")).find(source), tmp_path / "cache")
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        f"{data.as_uri()}/a.csv changed or went away while it was being read; start the run again."
    )


def test_a_file_that_changed_under_its_link_is_not_taken_from_the_cache(data: Path, tmp_path: Path) -> None:
    source, path = open_source(f"{data.as_uri()}/a.csv", None)
    listed = Pattern(path).find(source)
    fetch(source, listed, tmp_path / "cache")
    (data / "a.csv").write_text("other words")
    with pytest.raises(RunError, match="changed or went away while it was being read"):
        fetch(source, listed, tmp_path / "cache")


@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_what_never_ends_is_not_read(data: Path, tmp_path: Path, kind: str) -> None:
    if kind == "a pipe":
        os.mkfifo(data / "c.csv")
    else:
        (data / "c.csv").symlink_to("/dev/zero")
    with pytest.raises(RunError) as caught:
        fetch_dataset(f"{data.as_uri()}/*.csv", None, tmp_path / "cache")
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == f"{data.as_uri()}/c.csv is a device or a pipe, which is never read; name a file."


def test_a_name_moves_no_cursor(data: Path, tmp_path: Path) -> None:
    (data / "notes\u009b31m\u202e.txt").write_text("")
    with pytest.raises(RunError) as caught:
        fetch_dataset(f"{data.as_uri()}/*.txt", None, tmp_path / "cache")
    assert str(caught.value).startswith(f"{data.as_uri()}/*.txt names no data file: notes\\x9b31m\\u202e.txt.")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = (
        "a.csv",
        ".hidden.csv",
        "2024/a.csv",
        "2024/01/a.csv",
        "2024/01/._a.csv",
        "2025/x/y/a.csv",
        "2025/x/y/b.jsonl",
        ".trash/a.csv",
        "2025/.ipynb_checkpoints/a.csv",
    )
    return with_files(tmp_path / "tree", names)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        pytest.param("**/*.csv", ["2024/01/a.csv", "2024/a.csv", "2025/x/y/a.csv", "a.csv"], id="all folders"),
        pytest.param("**/a.csv", ["2024/01/a.csv", "2024/a.csv", "2025/x/y/a.csv", "a.csv"], id="one name"),
        pytest.param("**", ["2024/01/a.csv", "2024/a.csv", "2025/x/y/a.csv", "2025/x/y/b.jsonl", "a.csv"], id="alone"),
        pytest.param("2024/**/*.csv", ["2024/01/a.csv", "2024/a.csv"], id="the folders below one"),
        pytest.param("**/y/*", ["2025/x/y/a.csv", "2025/x/y/b.jsonl"], id="a folder below any"),
        pytest.param("**/x/**/*.jsonl", ["2025/x/y/b.jsonl"], id="twice"),
        pytest.param("*/**/*.csv", ["2024/01/a.csv", "2024/a.csv", "2025/x/y/a.csv"], id="not here"),
    ],
)
def test_two_stars_stand_for_any_folders(tree: Path, tmp_path: Path, pattern: str, names: list[str]) -> None:
    """T7."""
    files = fetch_dataset(f"{tree.as_uri()}/{pattern}", None, tmp_path / "cache")
    assert [file.uri for file in files] == [f"{tree.as_uri()}/{name}" for name in names]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        pytest.param("*.csv", ["a.csv"], id="not with a star"),
        pytest.param(".*.csv", [".hidden.csv"], id="with a dot"),
        pytest.param(".hidden.csv", [".hidden.csv"], id="by name"),
        pytest.param("*/a.csv", ["2024/a.csv"], id="nor in hidden folders"),
        pytest.param(".trash/*.csv", [".trash/a.csv"], id="in a hidden folder that is named"),
    ],
)
def test_hidden_files_are_read_where_their_dot_is_spelled(
    tree: Path, tmp_path: Path, pattern: str, names: list[str]
) -> None:
    """T7."""
    files = fetch_dataset(f"{tree.as_uri()}/{pattern}", None, tmp_path / "cache")
    assert [file.uri for file in files] == [f"{tree.as_uri()}/{name}" for name in names]


def test_that_only_hidden_files_are_there_is_told(tmp_path: Path) -> None:
    """T7."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".a.csv").write_text("")
    with pytest.raises(
        RunError, match=r"holds \.a\.csv\. .* What begins with a dot is read where the URI spells the dot\."
    ):
        fetch_dataset(f"{(tmp_path / 'data').as_uri()}/*.csv", None, tmp_path / "cache")


def test_a_star_in_the_manifests_own_folder_is_no_pattern(tmp_path: Path) -> None:
    """T7."""
    for name in ("my*jobs", "my other jobs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text(name)
    source = DataSource(uri="file://./*.csv")
    uri = resolve_relative_uris(source, tmp_path / "my*jobs").uri
    (file,) = fetch_dataset(uri, None, tmp_path / "cache")
    assert file.path.read_text() == "my*jobs"
    with pytest.raises(RunError, match=r"my\*jobs holds data\.csv"):
        fetch_dataset(uri.replace("*.csv", "none.csv"), None, tmp_path / "cache")


def test_a_link_that_leads_back_is_followed_to_a_limit(tmp_path: Path) -> None:
    """T7."""

    class Endless:
        def children(self, path: str = "") -> tuple[list[str], list[ObjectInfo]]:
            return ["again"], []

    with pytest.raises(RunError, match=f"more than {MOST_FOLDERS} folders below the root"):
        Pattern("**/*.csv").find(Endless())
