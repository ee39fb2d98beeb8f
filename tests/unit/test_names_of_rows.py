"""A name of a table stands in its row and in the one place that does it; everything else asks the row."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from kubetune_api.families import FAMILIES
from kubetune_api.formats import FORMATS, all_endings
from kubetune_api.metrics import LOSS, METRICS
from kubetune_api.schemes import REMOTE
from kubetune_api.tasks import TASKS

ROOT = Path(__file__).parents[2]
PACKAGES = ("crds/kubetune_api", "planner/kubetune_planner", "operator/kubetune_operator", "cli/kubetune_cli")
TRAINER = "trainer/kubetune_trainer"


def files_with(names: Iterable[str], form: str, folders: Iterable[str]) -> set[str]:
    """The sources in which one of the names stands in this form."""
    pattern = re.compile(form.format("|".join(map(re.escape, names))))
    sources = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix() for path in sources if pattern.search(path.read_text("utf-8"))}


@pytest.mark.parametrize(
    ("names", "form", "folders", "places"),
    [
        pytest.param(
            TASKS,
            r"(?<!nn\.)\b({})\b",  # torch has an nn.Embedding
            (*PACKAGES, TRAINER),
            rf"crds/kubetune_api/tasks\.py|{TRAINER}/tasks/\w+\.py",
            id="tasks",
        ),
        pytest.param(
            set(METRICS) - {LOSS},
            "[\"']({})[\"']",
            (*PACKAGES, TRAINER),
            rf"crds/kubetune_api/(metrics|tasks)\.py|{TRAINER}/tasks/\w+\.py",
            id="metrics",
        ),
        pytest.param(
            FAMILIES, "[\"']({})[\"']", (*PACKAGES, TRAINER), r"crds/kubetune_api/families\.py", id="families"
        ),
        pytest.param(
            REMOTE,
            "[\"']({})[\"']",
            (*PACKAGES, TRAINER),
            rf"crds/kubetune_api/schemes\.py|{TRAINER}/storage/(clients|credentials)\.py",
            id="schemes",
        ),
        pytest.param(
            {*FORMATS, *all_endings()},
            "[\"']({})[\"']",
            (*PACKAGES, TRAINER),
            rf"crds/kubetune_api/formats\.py|{TRAINER}/data/read\.py",
            id="formats",
        ),
    ],
)
def test_a_name_stands_in_its_row_and_where_it_is_done(
    names: Iterable[str], form: str, folders: Iterable[str], places: str
) -> None:
    found = files_with(names, form, folders)
    assert found, "the form finds not even the row"
    assert {file for file in found if not re.fullmatch(places, file)} == set()
