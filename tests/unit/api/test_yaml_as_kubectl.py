"""YAML means here what it means to kubectl. The values were recorded from kubectl's own decoder
(apimachinery 0.36, sigs.k8s.io/yaml 1.6 over go-yaml v2).
"""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_api.yaml_tree import read_documents

SCALARS: list[tuple[str, Any]] = [
    # Numbers that PyYAML takes for texts, and the other way round.
    ("2e-5", 2e-5),
    ("1e-5", 1e-5),
    ("1E3", 1000),
    ("1e+3", 1000),
    ("12e03", 12000),
    ("1.e5", 100000),
    (".5", 0.5),
    ("+.5", 0.5),
    ("-.5", -0.5),
    ("5.", 5),
    ("3.0", 3),
    ("-0.0", 0),
    ("1e", "1e"),
    (".e5", ".e5"),
    (".", "."),
    ("1.2.3", "1.2.3"),
    ("1e400", "1e400"),
    ("1:30", "1:30"),
    ("190:20:30", "190:20:30"),
    # Whole numbers in every base.
    ("+1", 1),
    ("0x1F", 31),
    ("-0x1F", -31),
    ("0X1", 1),
    ("0b11", 3),
    ("-0b11", -3),
    ("0o14", 12),
    ("014", 12),
    ("00", 0),
    ("08", 8),
    ("09.5", 9.5),
    ("0o8", "0o8"),
    ("0b2", "0b2"),
    ("0x", "0x"),
    ("0x1.8p1", "0x1.8p1"),
    ("9223372036854775808", 9223372036854775808),
    ("18446744073709551616", 18446744073709551616.0),
    ("1e21", 1e21),
    # Underscores.
    ("1_000", 1000),
    ("1__0", 10),
    ("1_", 1),
    ("_1", "_1"),
    ("0x_1", 1),
    ("1_0.5", 10.5),
    ("1_e5", 100000),
    (".51_0", 0.51),
    (".51_", ".51_"),
    # Booleans and null.
    *[(word, True) for word in ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE")],
    *[(word, False) for word in ("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE")],
    ("yEs", "yEs"),
    ("tRUE", "tRUE"),
    *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
    ("NaN", "NaN"),
    ("=", "="),
    # Dates stay texts.
    ("2024-01-01", "2024-01-01"),
    ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    # Quotes and tags.
    ("'y'", "y"),
    ('"5"', "5"),
    ('"\\x41"', "A"),
    ("!!str 5", "5"),
    ("!!str", ""),
    ("! 5", "5"),
    ("!!int '5'", 5),
    ("!!float 5", 5),
    ("!!bool y", True),
    ("!!timestamp 2024-01-01", "2024-01-01"),
]


@pytest.mark.parametrize(("written", "value"), [pytest.param(*each, id=each[0] or "nothing") for each in SCALARS])
def test_a_scalar_has_the_value_that_kubectl_gives_it(written: str, value: Any) -> None:
    (document,), errors = read_documents(f"a: {written}", "f")
    assert errors == []
    assert document.value == {"a": value}
    assert type(document.value["a"]) is type(value)


TEXTS: list[tuple[str, str, list[Any]]] = [
    ("documents are cut at the lines of three dashes", "a: 1\n---\nb: 2", [{"a": 1}, {"b": 2}]),
    ("empty documents are passed over", "---\na: 1\n---\n---\n# nothing\n---\nb: 2\n---\n", [{"a": 1}, {"b": 2}]),
    ("a separator may have a comment", "a: 1\n--- # next\nb: y", [{"a": 1}, {"b": True}]),
    ("a separator may end in blanks or in Windows' line ends", "a: 1\r\n--- \r\nb: 2\r\n", [{"a": 1}, {"b": 2}]),
    ("dashes in a block of text separate nothing", "a: |\n  x\n  ---\n", [{"a": "x\n---\n"}]),
    ("a block of text ends its last line", "|\n  x\n---\na: |\n  y", ["x\n", {"a": "y\n"}]),
    ("a block of text may keep its last empty lines", "a: |+\n  x\n\n---\n|+\n  y\n", [{"a": "x\n\n"}, "y\n"]),
    ("a byte order mark is passed over", "\ufeffa: 1", [{"a": 1}]),
    ("an alias repeats its anchor", "a: &x [1]\nc: *x", [{"a": [1], "c": [1]}]),
    ("a merge gives way to what follows it", "a: &x {b: 1}\nc: {<<: *x, b: 2}", [{"a": {"b": 1}, "c": {"b": 2}}]),
    (
        "of several merged groups the first wins",
        "a: &x {b: 1}\nd: &y {b: 3, e: 4}\nc: {<<: [*x, *y]}",
        [{"a": {"b": 1}, "d": {"b": 3, "e": 4}, "c": {"b": 1, "e": 4}}],
    ),
    ("a quoted << is a name", "'<<': {a: 1}", [{"<<": {"a": 1}}]),
    ("a number as a name becomes a text", "1: a\n1.5: b", [{"1": "a", "1.5": "b"}]),
    ("a tab may part a name from its value", "a:\tb\t# c", [{"a": "b"}]),
    ("JSON is read", '{"a": [1, 2.5, "x", true, null]}', [{"a": [1, 2.5, "x", True, None]}]),
    ("JSON may be indented with tabs", '{\n\t"a":\t{\n\t\t"b": 1\n\t}\n}', [{"a": {"b": 1}}]),
    ("JSON's pairs of escapes are one character", '{"a": "\\ud83d\\ude00"}', [{"a": "😀"}]),
    ("an explicit name is a name", "? a\n: b", [{"a": "b"}]),
    ("a list needs no indentation", "a:\n- 1\n- 2\nb: 3", [{"a": [1, 2], "b": 3}]),
]


@pytest.mark.parametrize(("text", "values"), [pytest.param(text, values, id=what) for what, text, values in TEXTS])
def test_a_text_holds_the_documents_that_kubectl_sees(text: str, values: list[Any]) -> None:
    documents, errors = read_documents(text, "f")
    assert errors == []
    assert [document.value for document in documents] == values


def test_every_value_knows_its_line_also_in_a_later_document() -> None:
    (_, document), _ = read_documents("a: 1\n---\nb:\n  c:\n  - x\n  - {d: y}\n", "f")
    assert {path: place.line for path, place in document.places.items()} == {
        (): 3,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 5,
        ("b", "c", 1): 6,
        ("b", "c", 1, "d"): 6,
    }
    assert document.place(("b", "c", 1, "missing")).line == 6
    assert document.places["b", "c", 1, "d"].written == "y"


@settings(deadline=None)
@given(st.text() | st.text(alphabet="ab:-[]{},&*!|>'\"#%@` \t\n\\0123456789.e<~"))
def test_no_text_makes_the_reading_raise(text: str) -> None:
    documents, errors = read_documents(text, "f")
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 1
    assert all(error.line is not None and 1 <= error.line <= lines for error in errors)
    assert all(document.value is not None for document in documents)


@settings(deadline=None)
@given(st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_is_written_out_is_read_back(number: float) -> None:
    (document,), _ = read_documents(f"a: {number!r}", "f")
    assert math.isclose(document.value["a"], number, rel_tol=0, abs_tol=0)
