"""Every task with every family that can learn it, every method, every ZeRO stage: what the documentation says, runs."""

import pytest

from support.matrix import RAN, Entry, entries, outcomes
from support.matrix_page import BEGIN, END, PAGE, tables
from support.ranks import run_ranks


@pytest.fixture(scope="module")
def found() -> dict[Entry, str]:
    return run_ranks(outcomes, 2, entries())[0]


@pytest.mark.parametrize("entry", entries(), ids=str)
def test_it_trains_on_two_workers_and_is_published(entry: Entry, found: dict[Entry, str]) -> None:
    assert found[entry] == RAN


def test_the_page_on_models_says_what_ran(found: dict[Entry, str]) -> None:
    assert BEGIN + tables(found) + END in PAGE.read_text("utf-8"), "make matrix writes it anew"
