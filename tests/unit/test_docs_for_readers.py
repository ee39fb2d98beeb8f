"""What the pages for readers say in numbers and in YAML is what the code and the tests have."""

from pathlib import Path

import pytest
import yaml

from kubetune_api.job import MAX_NAME_LENGTH
from kubetune_api.manifest import read_manifest
from kubetune_api.tasks import TASKS
from kubetune_operator.jobs.objects.ray_job import RAY_VERSION
from support.job_cases import yaml_blocks
from support.sizing import MEMORIES, fewest_workers

ROOT = Path(__file__).parents[2]
PROFILES, GITOPS, FIRST = (
    (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("profiles", "gitops", "from-a-csv")
)
MODULES = {
    "Kubernetes": "kubernetes",
    "KubeRay": "kuberay",
    "Kueue": "kueue",
    "Helm": "helm",
}


def rows(page: str, first: str) -> list[list[str]]:
    """The cells of the table whose header begins so, row by row."""
    lines = page.partition(f"\n| {first} |")[2].splitlines()[2:]
    table = lines[: next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_versions_that_go_together_are_those_of_the_tests() -> None:
    told = {row[0]: row[-1] for row in rows(PROFILES, "part")}
    for name, folder in MODULES.items():
        module = (ROOT / "tests" / "servers" / "go" / folder / "go.mod").read_text("utf-8")
        assert f" v{told[name]}\n" in module.partition("\nrequire ")[2].partition("(")[0], name
    assert told["Ray, in the trainer's image"] == RAY_VERSION


@pytest.mark.parametrize("row", rows(PROFILES, "model"), ids=lambda row: row[0].strip("`"))
def test_the_table_of_sizes_is_the_planners(row: list[str]) -> None:
    assert row[1:] == [fewest_workers(row[0].strip("`"), gib, 1024) for gib in MEMORIES]


def test_starting_values_are_there_for_every_task() -> None:
    assert [row[0].strip("`") for row in rows(FIRST, "task")] == list(TASKS)


def test_each_recipe_is_a_profile_of_its_own() -> None:
    profiles = [profile for block in yaml_blocks(PROFILES) for profile in read_manifest(block, "profiles.md").profiles]
    names = [profile.metadata.name for profile in profiles]
    assert len(names) == len(set(names)) == len(yaml_blocks(PROFILES))


def test_the_yaml_on_gitops_can_be_read() -> None:
    whole = [block for block in yaml_blocks(GITOPS) if block.startswith("apiVersion")]
    kinds = [document["kind"] for block in whole for document in yaml.safe_load_all(block)]
    assert kinds == ["Kustomization", "Application", "Kustomization", "Kustomization"]


def test_a_suffix_of_a_hash_leaves_room_for_a_name() -> None:
    assert f"Names may have {MAX_NAME_LENGTH} characters" in GITOPS
