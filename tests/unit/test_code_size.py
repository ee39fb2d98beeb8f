"""Functions are read in one look and modules hold one idea: limits on their lines, and exceptions with a reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(ROOT.glob("*/kubetune_*/**/*.py"))
LONGEST_FUNCTION, LONGEST_MODULE = 40, 300
LONGER_FUNCTIONS: dict[str, int] = {}
"""`module:function` to its lines, each with the reason beside it."""
LONGER_MODULES = {
    "operator/kubetune_operator/machinery/api_server.py": 340,  # one doorway, all of its verbs
}


def name_of(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def functions(module: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{name_of(module)}:{node.name}", node.end_lineno - node.lineno + 1


def test_there_are_modules_of_every_package() -> None:
    assert {name_of(module).split("/")[0] for module in MODULES} == {"cli", "crds", "operator", "planner", "trainer"}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_and_its_functions_are_short(module: Path) -> None:
    lines = len(module.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGER_MODULES.get(name_of(module), LONGEST_MODULE), "divide it by idea"
    long = {name: size for name, size in functions(module) if size > LONGER_FUNCTIONS.get(name, LONGEST_FUNCTION)}
    assert not long, "divide them by idea"


def test_every_exception_is_still_needed() -> None:
    sizes = {name_of(module): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert [name for name in LONGER_MODULES if sizes.get(name, 0) <= LONGEST_MODULE] == []
    lengths = dict(found for module in MODULES for found in functions(module))
    assert [name for name in LONGER_FUNCTIONS if lengths.get(name, 0) <= LONGEST_FUNCTION] == []
