"""The pages list what the API's tables have, row by row, and nothing else."""

import re
from collections import defaultdict
from pathlib import Path

import pytest
from pydantic.alias_generators import to_camel

from kubetune_api.families import FAMILIES
from kubetune_api.formats import FORMATS, endings
from kubetune_api.metrics import METRICS
from kubetune_api.schemes import SCHEMES, WRITABLE, SchemeRow
from kubetune_api.tasks import TASKS

ROOT = Path(__file__).parents[2]
README, DATA, STORAGE, TRAINING, REPORT = (
    (ROOT / page).read_text("utf-8")
    for page in ("README.md", "docs/data.md", "docs/storage.md", "docs/training.md", "docs/report.md")
)
_CODE = re.compile(r"`([^`]+)`")
_VARIABLE = re.compile(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b")


def table(page: str, first: str) -> list[list[str]]:
    """The cells of the first table whose header begins so, row by row."""
    _, found, rest = page.partition(f"\n| {first} |" if first else "\n| |")
    assert found, f"no table of {first}"
    rows = rest.splitlines()[2:]
    rows = rows[: next(number for number, line in enumerate(rows) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def names(text: str) -> list[str]:
    """What stands there in code type."""
    return _CODE.findall(text)


def readme_row(title: str) -> str:
    (row,) = (row[1] for row in table(README, "") if row[0] == title)
    return row


def test_each_format_has_a_row_with_its_endings_and_what_it_holds() -> None:
    told = [(tuple(names(row[0])), row[1]) for row in table(DATA, "name ends in")]
    assert told == [(endings(row), row.holds) for row in FORMATS.values()]


def test_each_task_has_its_paragraph_and_its_columns() -> None:
    assert re.findall(r"^\*\*`(\w+)`\*\*", TRAINING, re.MULTILINE) == list(TASKS)
    sentences = {found[1]: names(found[2]) for found in re.finditer(r"`(\w+)` reads\s([^.]*)\.", DATA)}
    assert sentences == {name: [to_camel(column) for column in task.reads] for name, task in TASKS.items()}


def test_each_metric_has_a_row() -> None:
    told = [name for row in table(TRAINING, "metric") for name in names(row[0])]
    assert set(told) - set(TASKS) == set(METRICS)
    (metrics,) = re.findall(r"^\| `metrics` \| (`loss`.*) \|$", REPORT, re.MULTILINE)
    assert set(names(metrics)) == set(METRICS)


def test_each_family_says_what_it_can_learn() -> None:
    rows = table(TRAINING, "type in `config.json`")
    told = {name: [cell == "yes" for cell in row[1:]] for row in rows for name in names(row[0])}
    assert told == {
        name: [family.encoder_decoder is None, family.decoder, family.encoder_decoder is not None]
        for name, family in FAMILIES.items()
    }


def test_each_scheme_says_what_may_lie_there() -> None:
    told: dict[str, str] = defaultdict(str)
    for form, *cells in table(STORAGE, "form"):
        told[form.strip("`").partition("://")[0]] += " ".join(cells)
    assert list(told) == list(SCHEMES)
    assert tuple(name for name, said in told.items() if "output" in said) == WRITABLE
    assert all(SCHEMES[name].title.removeprefix("the ") in said for name, said in told.items())


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.keys])
def test_each_scheme_has_its_variables_and_its_keys(name: str) -> None:
    scheme = SCHEMES[name]
    variables, keys = (
        next(row[1] for row in table(STORAGE, header) if row[0] == f"`{name}://`") for header in ("store", "URIs")
    )
    assert set(_VARIABLE.findall(keys)) == set(_VARIABLE.findall(scheme.keys))
    assert variables_of(scheme) <= set(_VARIABLE.findall(variables))


def variables_of(scheme: SchemeRow) -> set[str]:
    """What people set; other names of the same are not for a page."""
    more = (scheme.usual_endpoint_variable, scheme.allow_http_variable, scheme.region_variable)
    return {*_VARIABLE.findall(scheme.variables), *(each for each in more if each)}


def test_the_readme_names_every_task_family_and_scheme() -> None:
    assert [name for name in names(readme_row("Tasks")) if name in TASKS] == list(TASKS)
    assert set(names(readme_row("Models"))) == set(FAMILIES)
    assert {name.removesuffix("://") for name in names(readme_row("Stores"))} == set(SCHEMES)
