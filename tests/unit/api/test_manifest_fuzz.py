"""Whatever stands in a manifest, it is judged, not stumbled over."""

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_api.base import API_VERSION
from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import read_manifest
from kubetune_api.schema import fields, structural_schema

NAMES = sorted({str(path[-1]) for path, _ in fields(structural_schema(FineTuneJob))} | {"<<", "", "y", "a.b"})
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(NAMES)
VALUES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.binary() | st.text())
def test_any_bytes_and_any_text_end_in_errors_or_objects(text: bytes | str) -> None:
    manifest = read_manifest(text, "f")
    assert manifest.errors or manifest.jobs or manifest.profiles


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["FineTuneJob", "FineTuneProfile"]), st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_any_tree_of_known_names_ends_in_errors_that_are_sentences(kind: str, spec: dict[str, Any]) -> None:
    text = yaml.safe_dump({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec})
    manifest = read_manifest(text, "f")
    assert manifest.errors or manifest.jobs or manifest.profiles
    for error in manifest.errors:
        assert error.line is not None
        assert str(error).isprintable()
        assert "Input should" not in error.message


@settings(deadline=None)
@given(st.text() | st.from_regex(r"spec\.[a-z]{1,4}(\[\d\])?\.[a-z]{1,4}=.*", fullmatch=True))
def test_any_override_is_applied_or_refused(override: str) -> None:
    text = f"{{apiVersion: {API_VERSION}, kind: FineTuneJob, metadata: {{name: a}}, spec: {{}}}}"
    assert read_manifest(text, "f", overrides=[override]).errors
