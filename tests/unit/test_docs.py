"""The pages say what is so: links lead somewhere, commands and manifests parse, names are those of the code."""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import read_manifest
from kubetune_api.reasons import REASONS, help_on
from kubetune_api.schema import fields, structural_schema
from kubetune_cli.main import app
from kubetune_operator.settings import Settings, variable

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
    key=lambda page: page.as_posix(),
)
SOURCES = (
    "crds/kubetune_api",
    "planner/kubetune_planner",
    "operator/kubetune_operator",
    "trainer/kubetune_trainer",
    "cli/kubetune_cli",
)
SPEC_PARTS = "model|task|dataset|method|training|resources|zero|evaluation|output|schedule|cleaning|columns|freeze"

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    return _COMMENT.sub("", page.read_text(encoding="utf-8"))


def prose_of(page: Path) -> str:
    return _FENCE.sub("", text_of(page))


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for found, content in _FENCE.findall(text_of(page)):
            if found == language:
                yield page, content


def commands(program: str) -> list[str]:
    """Every line of a shell block that calls the program, without redirections and what a pipe leads to."""
    lines = (line.strip() for _, block in blocks("sh") for line in block.splitlines())
    calls = (re.split(r"\s[|<>]", line)[0] for line in lines)
    return sorted(
        {call.removeprefix(".venv/bin/") for call in calls if call.removeprefix(".venv/bin/").startswith(f"{program} ")}
    )


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def by_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_relative_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in _LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_paths_in_code_type_exist(page: Path) -> None:
    folders = "|".join(("crds", "trainer", "cli", "scripts", "tests", "docs", "examples"))
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", prose_of(page)):
        assert (ROOT / path).exists(), f"{path} does not exist"


def test_every_module_stands_in_the_map_of_concepts() -> None:
    linked = {(ROOT / "docs" / link).resolve() for link in _LINK.findall(text_of(ROOT / "docs" / "architecture.md"))}
    modules = {path for folder in SOURCES for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py"}
    assert sorted(by_name(path) for path in modules - linked) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [
            (page.parent / link.partition("#")[0]).resolve()
            for link in _LINK.findall(prose_of(page))
            if link[0] != "#" and ":" not in link
        ]
    assert [by_name(page) for page in PAGES if page not in reached] == []


@pytest.mark.parametrize("command", commands("kubetune"))
def test_commands_of_the_pages_parse(command: str) -> None:
    group = typer.main.get_command(app)
    name, subcommand, arguments = group.resolve_command(
        group.make_context("kubetune", ["run"]), shlex.split(command)[1:]
    )
    context = subcommand.make_context(name, arguments)
    assert context.params


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"^make ([a-z-]+)$", text_of(page), re.MULTILINE) + re.findall(
        r"`make ([a-z-]+)`", text_of(page)
    )
    assert set(named) <= targets


def test_whole_manifests_of_the_pages_are_right() -> None:
    manifests = [(page, block) for page, block in blocks("yaml") if block.startswith("apiVersion: kubetune.dev/")]
    assert manifests
    for page, block in manifests:
        assert [str(error) for error in read_manifest(block, by_name(page)).errors] == []


def test_the_readme_shows_the_manifest_of_the_demo() -> None:
    _, shown, *_ = [block for page, block in blocks("yaml") if page == ROOT / "README.md"]
    demo = (ROOT / "examples" / "reviews.yaml").read_text(encoding="utf-8")
    assert read_manifest(shown, "README.md").jobs == read_manifest(demo, "reviews.yaml").jobs


def test_the_readme_begins_with_twelve_lines_for_a_csv() -> None:
    example = (ROOT / "examples" / "csv.yaml").read_text(encoding="utf-8")
    assert len(example.splitlines()) == 12
    for name in ("README.md", "docs/from-a-csv.md"):
        assert next(block for page, block in blocks("yaml") if page == ROOT / name) == example


def test_the_pages_on_clusters_show_the_example_for_one() -> None:
    example = read_manifest((ROOT / "examples" / "cluster.yaml").read_text(encoding="utf-8"), "cluster.yaml")
    shown = {page.name: read_manifest(block, page.name) for page, block in reversed(list(blocks("yaml")))}
    assert shown["install.md"].profiles == example.profiles
    assert shown["cluster.md"].jobs == example.jobs


def test_every_example_is_right_and_listed() -> None:
    listed = _LINK.findall(text_of(ROOT / "examples" / "README.md"))
    for example in sorted((ROOT / "examples").glob("*.yaml")):
        manifest = read_manifest(example.read_text(encoding="utf-8"), example.name)
        assert [str(error) for error in manifest.errors] == []
        assert manifest.jobs
        assert example.name in listed


def test_each_example_has_a_name_of_its_own() -> None:
    """Row N5."""
    manifests = [read_manifest(path.read_text("utf-8"), path.name) for path in (ROOT / "examples").glob("*.yaml")]
    names = [job.metadata.name for manifest in manifests for job in manifest.jobs]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_fields_of_a_job_that_a_page_names_exist(page: Path) -> None:
    known = {re.sub(r"\.0(?=\.|$)", "", ".".join(map(str, path))) for path, _ in fields(structural_schema(FineTuneJob))}
    for code in _CODE.findall(prose_of(page)):
        found = re.fullmatch(rf"(?:spec\.)?((?:{SPEC_PARTS})(?:\.\w+|\[\w*\])+)(?:: \S+)?", code)
        if found and not found[1].endswith((".py", ".json", ".safetensors", ".sig")):
            path = re.sub(r"\[\w*\]", "", found[1])
            assert any(name == path or name.endswith(f".{path}") for name in known), f"there is no field {code}"


def reasons_of_the_page() -> dict[str, dict[str, str]]:
    """What stands under the heading of each reason, by its label: `Who acts`, `Again`."""
    section = text_of(ROOT / "docs" / "troubleshooting.md").partition("\n## Reasons\n")[2].partition("\n## ")[0]
    found = {}
    for part in section.split("\n#### ")[1:]:
        heading, _, text = part.partition("\n")
        items = re.findall(r"^- \*\*([\w ]+):\*\* (.*(?:\n  .*)*)", text, re.MULTILINE)
        found[heading.strip("`")] = {label: " ".join(words.split()) for label, words in items}
    return found


def test_every_reason_has_a_heading_of_its_own_where_the_status_says() -> None:
    assert sorted(reasons_of_the_page()) == sorted(REASONS)
    for reason in REASONS:
        page, _, anchor = help_on(reason).partition("#")
        assert anchor in anchors(ROOT / page)
    listed = text_of(ROOT / "docs" / "troubleshooting.md").partition("\n## Reasons\n")[2].partition("\n### ")[0]
    assert re.findall(r"\[`(\w+)`\]", listed) == list(reasons_of_the_page()), "the index has them in their order"


def test_the_heading_of_a_failure_says_whether_another_attempt_follows() -> None:
    words = {"Never": "never.", "Counted": "counted.", "Exempt": "exempt."}
    words |= {"ExemptOnce": "exempt the first time; then counted."}
    words |= {"ExemptIfSaved": "exempt with a checkpoint."}
    words |= {"ExemptIfSmaller": "exempt, as long as the micro-batch can be made smaller; then never."}
    said = {reason: items["Again"] for reason, items in reasons_of_the_page().items() if "Again" in items}
    assert said == {reason: words[row.retry] for reason, row in REASONS.items() if row.retry}


def test_the_heading_of_a_reason_says_first_whose_turn_it_is() -> None:
    words = {"User": "author", "Platform": "platform team", "Nobody": "nobody"}
    for reason, items in reasons_of_the_page().items():
        who = items.get("Who acts", "nobody")
        named = [turn for turn, word in words.items() if word in who]
        first = min(named, key=lambda turn: who.index(words[turn]), default=None)
        assert first == REASONS[reason].turn, f"{reason}: {who}"


def test_every_alert_has_a_heading_of_its_own() -> None:
    alerts = (ROOT / "charts" / "kubetune" / "files" / "alerts.yaml").read_text("utf-8")
    names = re.findall(r"^ +- alert: (\w+)$", alerts, re.MULTILINE)
    section = text_of(ROOT / "docs" / "operations.md").partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, re.MULTILINE) == names
    index = section.partition("\n### ")[0]
    assert re.findall(r"^\| \[(\w+)\]", index, re.MULTILINE) == names


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_variables_of_kubetune_that_a_page_names_are_read(page: Path) -> None:
    code = "".join(path.read_text(encoding="utf-8") for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))
    code += " ".join(variable(setting.name) for setting in dataclasses.fields(Settings))
    for name in set(re.findall(r"\bKUBETUNE_[A-Z_]+\b", text_of(page))):
        assert name in code


def test_every_decision_stands_in_the_index_under_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    index = text_of(folder / "README.md")
    for page in sorted(folder.glob("0*.md")):
        number, title = re.match(r"# (\d+)\. (.*)\n", page.read_text(encoding="utf-8")).groups()  # type: ignore[union-attr]
        assert page.name.startswith(f"{int(number):04}-")
        assert f"| [{number}]({page.name}) | {title} |" in index
