"""How numbers and tenants' texts are worded."""

from datetime import timedelta

import pytest

from kubetune_api import text
from kubetune_api.metrics import metric_text
from kubetune_api.numbers import number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("a\nb\r\nc\td", "a b c d", id="white space becomes spaces"),
        pytest.param("\x00\x1b[31m\x7f\x85", r"\x00\x1b[31m\x7f\x85", id="control characters are spelt out"),
        pytest.param("a\u202eb\u2066c", r"a\u202eb\u2066c", id="overrides of the direction are spelt out"),
        pytest.param("\ud800", r"\ud800", id="a lone surrogate can be written as UTF-8"),
        pytest.param("日本語 👩‍👩‍👧 עברית é", "日本語 👩‍👩‍👧 עברית é", id="every script stays as it is"),
    ],
)
def test_a_tenants_text_is_made_visible(value: str, shown: str) -> None:
    assert text.printable(value) == shown
    assert text.printable(value).encode("utf-8")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("short", "short", id="what fits stays"),
        pytest.param("0123456789", "0123456789", id="what just fits stays"),
        pytest.param("0123456789a", "012345678…", id="what does not fit is cut"),
        pytest.param("01234567e\u0301 more", "01234567…", id="an accent is not cut from its letter"),
    ],
)
def test_a_long_text_is_elided(value: str, shown: str) -> None:
    assert text.elide(value, 10) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.69314, "0.6931"),
        (12.3456, "12.35"),
        (123456.0, "123,456"),
        (0.000021, "2.100e-5"),
        (1e12, "1.000e+12"),
        (-3.5, "-3.500"),
        (float("nan"), "NaN"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        (5e-324, "4.941e-324"),
    ],
)
def test_a_number_has_four_significant_digits(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("share", "digits", "shown"),
    [
        (0.835, 1, "83.5 %"),
        (0.835, 0, "84 %"),
        (0.0, 1, "0.0 %"),
        (0.0001, 1, "< 0.1 %"),
        (0.99999, 1, "> 99.9 %"),
        (0.996, 0, "> 99 %"),
        (1.0, 0, "100 %"),
        (float("nan"), 1, "–"),
    ],
)
def test_a_small_share_is_never_shown_as_none_nor_a_great_one_as_all(share: float, digits: int, shown: str) -> None:
    assert text.percent(share, digits) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("test/accuracy", 0.85, "0.8500"),
        ("f1_macro", 0.0, "0.0000"),
        ("validation/loss", 2.291, "2.291"),
        ("perplexity", 1234.5, "1,234"),
        ("accuracy", float("nan"), "NaN"),
    ],
)
def test_a_metric_is_rounded_by_its_kind(name: str, value: float, shown: str) -> None:
    assert metric_text(name, value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (90_868_376, "90.9 MB"), (999_600, "1 MB"), (5 * 10**16, "50 PB")],
)
def test_a_size_is_in_decimal_units(value: int, shown: str) -> None:
    assert text.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(9_999, "9,999"), (12_345, "12.3 k"), (22_713_216, "22.7 M"), (7_000_000_000, "7 B")]
)
def test_a_great_number_is_shortened(value: int, shown: str) -> None:
    assert text.magnitude(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (8.34, "8.3 s"),
        (59.6, "1 min 00 s"),
        (252, "4 min 12 s"),
        (3600 * 26 + 240, "26 h 04 min"),
        (-5, "0.0 s"),
    ],
)
def test_a_duration_is_told_in_two_units(seconds: float, shown: str) -> None:
    assert text.duration(timedelta(seconds=seconds)) == shown
