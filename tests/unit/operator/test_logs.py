import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from kubetune_operator.machinery.logs import JsonFormatter, configure, object_log, one_line
from kubetune_operator.settings import Settings

Capture = pytest.CaptureFixture[str]
HOSTILE = "s3://data\n2026-05-01T00:00:00.000Z INFO kubetune: all is well\x1b[2J\u2028\u202ereversed\ud800\x00"


@pytest.fixture(autouse=True)
def restored_loggers() -> Iterator[None]:
    """Leaves the process's logging as it was."""
    loggers = [logging.getLogger(name) for name in ("", "aiohttp", "kopf")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


def fail(message: str) -> None:
    raise ValueError(message)


def log_failure(message: str) -> None:
    try:
        fail(message)
    except ValueError:
        logging.getLogger("kubetune_operator.loop").exception("The look at the job failed.")


def lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object(capsys: Capture) -> None:
    configure(Settings())
    logging.getLogger("kubetune_operator.loop").info("Looked at %d jobs.", 3)
    (line,) = lines(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "INFO", "logger": "kubetune_operator.loop", "message": "Looked at 3 jobs."}


def test_the_log_of_a_job_names_the_job_and_keeps_what_a_call_adds(capsys: Capture) -> None:
    configure(Settings())
    object_log("job", "team-a", "reviews", attempt=2).info("Starts again.", extra={"decision": "retry"})
    object_log("job", "team-a", "reviews").info("Waits.")
    first, second = lines(capsys)
    assert first | {"namespace": "team-a", "job": "reviews", "attempt": 2, "decision": "retry"} == first
    assert second["job"] == "reviews"
    assert not {"attempt", "decision"} & set(second)


def test_a_traceback_is_one_field(capsys: Capture) -> None:
    configure(Settings())
    log_failure("no bucket")
    (line,) = lines(capsys)
    assert line["message"] == "The look at the job failed."
    assert line["traceback"].startswith("Traceback (most recent call last):\n")
    assert line["traceback"].endswith("\nValueError: no bucket")


def test_an_exception_that_is_logged_where_none_is_leaves_no_traceback(capsys: Capture) -> None:
    configure(Settings())
    logging.getLogger("kubetune_operator").exception("Nothing was raised.")
    (line,) = lines(capsys)
    assert "traceback" not in line


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_tenants_text_begins_no_line_and_steers_no_terminal(log_format: str, capsys: Capture) -> None:
    configure(Settings(log_format=log_format))
    object_log("job", "team-a", HOSTILE).warning("The data at %s cannot be read.", HOSTILE, extra={"decision": HOSTILE})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    if log_format == "json":
        assert (
            "s3://data 2026-05-01T00:00:00.000Z INFO kubetune: all is well [2J reversed" in json.loads(line)["message"]
        )


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_tenants_text_in_an_exception_begins_no_line(log_format: str, capsys: Capture) -> None:
    configure(Settings(log_format=log_format))
    log_failure(HOSTILE)
    first, *others = capsys.readouterr().err.splitlines()
    assert "The look at the job failed." in first
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    assert bool(others) == (log_format == "text")


def test_text_lines_are_for_people(capsys: Capture) -> None:
    configure(Settings(log_format="text"))
    object_log("job", "team-a", "reviews", attempt=1).info("Starts.", extra={"decision": "start"})
    time, said = capsys.readouterr().err.split(" ", 1)
    assert time.endswith("Z")
    assert said == "INFO    kubetune_operator.jobs: Starts. namespace=team-a job=reviews attempt=1 decision=start\n"


@pytest.mark.parametrize("library", ["aiohttp.access", "kopf.objects"])
def test_libraries_are_heard_from_their_warnings_on(library: str, capsys: Capture) -> None:
    configure(Settings(log_level="DEBUG"))
    logging.getLogger(library).info("GET /healthz")
    logging.getLogger(library).warning("The connection was lost.")
    assert [line["message"] for line in lines(capsys)] == ["The connection was lost."]


def test_a_level_above_warnings_counts_for_libraries_too(capsys: Capture) -> None:
    configure(Settings(log_level="ERROR"))
    logging.getLogger("kopf").warning("The connection was lost.")
    assert capsys.readouterr().err == ""


def test_configuring_twice_says_nothing_twice(capsys: Capture) -> None:
    configure(Settings())
    configure(Settings())
    logging.getLogger("kubetune_operator").info("Once.")
    assert len(lines(capsys)) == 1


def test_other_fields_of_a_record_are_not_told() -> None:
    record = logging.makeLogRecord({"msg": "Hello.", "secret": "s3cr3t", "attempt": 1})
    assert "s3cr3t" not in JsonFormatter().format(record)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("two\r\nlines", "two lines", id="line ends"),
        pytest.param("  wide   gaps ", "wide gaps", id="runs of spaces"),
        pytest.param("naïve – 模型 ✓", "naïve – 模型 ✓", id="writing of other languages stays"),
        pytest.param("\x1b[31mred\x07", "[31mred", id="what steers a terminal"),
        pytest.param("a\u202eb\u2066c", "a b c", id="what reverses the writing"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_text_is_made_one_line(text: str, line: str) -> None:
    assert one_line(text) == line
