"""Quantities are those of Kubernetes (O13); the API server judges the same texts in `test_crds.py`."""

from decimal import Decimal

import pytest

from kubetune_api.quantity import amount, is_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"),
        ("2", "2"),
        ("500m", "0.5"),
        ("1.5Gi", "1610612736"),
        (".5", "0.5"),
        ("5.", "5"),
        ("+1", "1"),
        ("1e9", "1e9"),
        ("1E9", "1e9"),
        ("15e-1", "1.5"),
        ("1E", "1e18"),
        ("1Ei", str(2**60)),
        ("1Pi", str(2**50)),
        ("3u", "3e-6"),
        ("7n", "7e-9"),
        ("1e-12", "1e-9"),
        ("9e99", str(2**63 - 1)),
    ],
)
def test_a_quantity_stands_for_a_number(text: str, number: str) -> None:
    assert is_quantity(text)
    assert amount(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", "Gi", "-1", "1 Gi", "1gi", "1GB", "1K", "1e", "1e1.5", "1.2.3", "1e9\n", "1" * 33]
)
def test_what_is_no_quantity(text: str) -> None:
    assert not is_quantity(text)
