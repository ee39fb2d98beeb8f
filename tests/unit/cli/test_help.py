"""What a newcomer reads first: the help of each command, and the version."""

import re
from importlib.metadata import version

import pytest
import typer.main
from typer.testing import CliRunner

from kubetune_cli.main import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def help_of(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return plain(result.stdout)


def plain(text: str) -> str:
    """Without the colours that some environments ask for."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"kubetune {version('kubetune')}\n")


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in COMMANDS)], ids=lambda command: " ".join(command) or "all"
)
def test_no_type_of_python_stands_in_the_help(command: tuple[str, ...]) -> None:
    text = help_of(*command)
    assert re.findall(r"<\w[^>]*>|[{}]", text) == []
    assert "--help" in text


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        pytest.param("run", r"Usage: \S+ run \[OPTIONS\] FILE\n", id="what must be given"),
        pytest.param("validate", r"Usage: \S+ validate \[OPTIONS\] FILE\.\.\.\n", id="what may be given often"),
        pytest.param("status", r"Usage: \S+ status \[OPTIONS\] \[NAME\]\n", id="what may be given"),
        pytest.param("run", r"--set +PATH=VALUE +Overrides", id="an option with a value"),
        pytest.param("run", r"--workers +N \[1<=x<=4096\] +Workers", id="a number with its bounds"),
        pytest.param("status", r"--watch +-w +Follows", id="a switch"),
    ],
)
def test_the_help_names_what_to_give(command: str, shown: str) -> None:
    text = "\n".join(line.rstrip() for line in help_of(command).splitlines())
    assert re.search(shown, text), text


def test_a_paragraph_is_broken_where_the_terminal_ends() -> None:
    lines = [line.strip() for line in help_of("status").splitlines()]
    assert any(line.startswith("Exit code 0: shown;") and line.endswith("no such job.") for line in lines)


def test_without_a_command_the_help_names_them_all() -> None:
    text = plain(CliRunner().invoke(app, [], env={"COLUMNS": "200"}).output)
    assert "Fine-tunes language models from one manifest." in text
    for command in COMMANDS:
        assert re.search(rf"│ {command} +\w", text)


def test_what_is_no_id_of_a_run_does_not_go_on() -> None:
    result = CliRunner().invoke(app, ["run", "job.yaml", "--resume", "../other"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert "'../other' is no id of a run" in plain(result.output)
