"""URIs, taken apart."""

import pytest

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.locations import Location


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        pytest.param("s3://bucket/a/b.csv", Location("s3", "bucket", "a/b.csv"), id="bucket and key"),
        pytest.param("s3://bucket", Location("s3", "bucket", ""), id="a bucket alone"),
        pytest.param("gs://bucket/a/", Location("gs", "bucket", "a"), id="a slash at the end counts for nothing"),
        pytest.param("az://container/a", Location("az", "container", "a"), id="an Azure container"),
        pytest.param("s3://bucket/a%20b", Location("s3", "bucket", "a%20b"), id="keys are taken as written"),
        pytest.param("file:///data/a%20b.csv", Location("file", "", "data/a b.csv"), id="file paths are decoded"),
        pytest.param("file:///data//x", Location("file", "", "data/x"), id="two slashes in a file path are one"),
        pytest.param("file://localhost/data", Location("file", "", "data"), id="localhost is this machine"),
        pytest.param("file:///data/what?#1.csv", Location("file", "", "data/what?#1.csv"), id="? and # are characters"),
    ],
)
def test_a_uri_is_taken_apart(uri: str, expected: Location) -> None:
    assert Location.parse(uri) == expected


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        pytest.param("http://host/x", "its scheme is none of file, s3, gs and az", id="another scheme"),
        pytest.param("/data/x", "its scheme is none of file, s3, gs and az", id="a bare path"),
        pytest.param(
            "file://data/x", "the path after file:// is not absolute; write file:///folder/file", id="a relative path"
        ),
        pytest.param("s3:///key", "it names no bucket; write s3://bucket/path", id="no bucket"),
        pytest.param(
            "s3://bucket/a/../b", "its path contains an empty part, `.` or `..`; write the path in full", id="climbing"
        ),
        pytest.param(
            "file:///a/%2e%2e/b",
            "its path contains an empty part, `.` or `..`; write the path in full",
            id="climbing in disguise",
        ),
        pytest.param(
            "s3://bucket/a//b",
            "its path contains an empty part, `.` or `..`; write the path in full",
            id="an empty part of a key",
        ),
        pytest.param("s3://bucket/a\nb", "its path contains a control character", id="a line break"),
    ],
)
def test_a_uri_that_cannot_be_used_is_refused_with_the_reason(uri: str, why: str) -> None:
    with pytest.raises(RunError) as caught:
        Location.parse(uri)
    assert caught.value.reason == Reason.INVALID_MANIFEST
    assert str(caught.value) == f"The URI {uri} cannot be used: {why}.".replace("\n", "\\n")


@pytest.mark.parametrize("uri", ["s3://key:secret@bucket/x", "s3://key:sec/ret@bucket/x", "az://secret@container/x"])
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(RunError) as caught:
        Location.parse(uri)
    assert str(caught.value) == (
        f"The URI {uri[:5]}… cannot be used: there are credentials in it; give them as variables (docs/storage.md)."
    )


def test_a_child_cannot_climb_out() -> None:
    with pytest.raises(RunError, match="write the path in full") as caught:
        Location.parse("s3://bucket/mine").child("../yours")
    assert caught.value.reason == Reason.STORAGE_FAILED


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/a/b",
        "s3://bucket/a%41",
        "s3://bucket/",
        "file:///data/x",
        "file:///data/a b",
        "file:///%2541",
        "file:///",
    ],
)
def test_a_location_writes_itself_as_it_was_read(uri: str) -> None:
    assert Location.parse(uri).uri == uri


@pytest.mark.parametrize("name", ["%41", "a b", "100%", "%2e%2e", "%2F", "ü"])
def test_any_name_on_this_disk_survives_as_a_uri(name: str) -> None:
    place = Location.parse("file:///data").child(name)
    assert Location.parse(place.uri) == place
