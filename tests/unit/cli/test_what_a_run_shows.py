"""What the command line says of a run, and how it exits."""

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from kubetune_api.outcome import Ending
from kubetune_api.reasons import Reason
from kubetune_api.status import Artifact, CheckpointStatus
from kubetune_cli.main import app
from kubetune_cli.progress import PlainLines, PlainView, detail, line_for, progress_in
from kubetune_cli.results import print_results
from kubetune_cli.run import Finished, going_on, new_run_id
from kubetune_cli.trainer_process import why_not_installed
from support.job_cases import edited
from support.tiny_models import job_for

ENDING = Ending("run-1", start_time="2026-01-01T00:00:00Z", completion_time="2026-01-01T00:01:00Z")
STATE = {"step": 3, "totalSteps": 9, "epoch": 0.5, "loss": 0.25, "tokensPerSecond": 1234.5, "secondsLeft": 75.4}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(ENDING.succeeded(), 0, id="a published model"),
        pytest.param(ENDING.failed(Reason.REQUIREMENT_MISSED, "too low"), 1, id="a missed requirement"),
        pytest.param(ENDING.failed(Reason.STORAGE_FAILED, "no bucket"), 1, id="a store that fails"),
        pytest.param(ENDING.failed(Reason.INTERRUPTED, "Ctrl-C"), 1, id="an interrupt"),
        pytest.param(ENDING.failed(Reason.INVALID_DATA, "no column"), 2, id="data to be mended"),
        pytest.param(ENDING.failed(Reason.INVALID_MODEL, "a pickle"), 2, id="a model to be exchanged"),
    ],
)
def test_the_exit_code_tells_who_must_act(status: Any, code: int) -> None:
    assert Finished(status).exit_code == code


def test_a_run_id_sorts_by_time_and_fits_the_path() -> None:
    early = new_run_id(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "ffffff")
    late = new_run_id(datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC), "000000")
    assert early == "20260102-030405-ffffff"
    assert early < late


def test_progress_shows_loss_speed_and_time_left() -> None:
    assert detail(progress_in({"progress": STATE})) == "epoch 0.50  loss 0.2500  1,234 tokens/s  1:15 left"


def test_progress_says_which_step_is_saved() -> None:
    lines = PlainLines(lambda: 0.0)
    assert lines.of({"event": "checkpoint", "checkpoint": {"step": 2, "time": "2026-01-01T00:00:00Z"}}) is None
    assert str(lines.of({"event": "progress", "progress": STATE})).endswith("1:15 left  saved at step 2")


def test_only_a_run_that_has_left_a_checkpoint_is_offered_to_go_on() -> None:
    def offered(checkpoint: CheckpointStatus | None) -> str | None:
        return going_on(replace(ENDING, checkpoint=checkpoint).failed(Reason.UNKNOWN, "it was killed"))

    assert offered(None) is None
    assert offered(CheckpointStatus(failures=1, message="the store does not answer")) is None
    assert offered(CheckpointStatus(step=1200)) == (
        "to go on from its last checkpoint, that of step 1,200: --resume run-1"
    )


def test_an_evaluation_has_a_line_of_its_own() -> None:
    record = {"split": "test", "step": 9, "metrics": {"loss": 0.5, "accuracy": 0.75}}
    assert line_for({"event": "evaluated", "evaluation": record}) == "  test after step 9: loss 0.5000  accuracy 0.7500"


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        pytest.param({"step": 9, "secondsLeft": 0.0}, "1,234 tokens/s", id="after the last step no time is left"),
        pytest.param(
            {"step": 9, "secondsLeft": 0.0, "evaluating": "test"},
            "1,234 tokens/s  evaluating the test split",
            id="the evaluation behind the last step is named",
        ),
        pytest.param({"evaluating": "validation"}, "evaluating the validation split", id="so is one in between"),
        pytest.param(
            {"evaluating": "test", "answers": 40, "totalAnswers": 200},
            "evaluating the test split, 40 of 200 answers written",
            id="answers that are written are counted",
        ),
    ],
)
def test_the_time_of_an_evaluation_is_not_shown_as_no_time_left(state: dict[str, Any], shown: str) -> None:
    """Row N5."""
    line = detail(progress_in({"progress": {**STATE, **state}}))
    assert line.endswith(shown)
    assert "0:00" not in line


def test_a_pipe_gets_the_first_and_the_last_step_however_fast_they_come() -> None:
    out = StringIO()
    with PlainView(Console(file=out, width=120)) as view:
        for step in (1, 2, 9):
            view.show({"event": "progress", "progress": {**STATE, "step": step}})
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["1/9", "9/9"]


def test_a_pipe_gets_a_line_for_each_evaluation_that_begins_and_no_step_twice() -> None:
    out = StringIO()
    last = {**STATE, "step": 9, "secondsLeft": 0.0}
    with PlainView(Console(file=out, width=120)) as view:
        for state in (STATE, last, {**last, "evaluating": "validation"}, last, {**last, "evaluating": "test"}, last):
            view.show({"event": "progress", "progress": state})
    assert [line.split()[-2] for line in out.getvalue().splitlines()] == ["1:15", "1,234", "validation", "test"]


def test_a_pipe_gets_lines_while_answers_are_written() -> None:
    now, shown = [0.0], []
    lines = PlainLines(lambda: now[0])
    for answers in (None, 10, 20):
        written = {} if answers is None else {"answers": answers, "totalAnswers": 20}
        now[0] += 100.0 * (answers == 20)
        shown.append(lines.of({"event": "progress", "progress": {**STATE, "evaluating": "test", **written}}))
    assert [line and line.split("  ")[-1] for line in shown] == [
        "evaluating the test split",
        None,
        "evaluating the test split, 20 of 20 answers written",
    ]


def test_a_metric_has_the_digits_of_its_row() -> None:
    record = {"split": "test", "step": 9, "metrics": {"loss": 2.2912, "accuracy": 0.75, "perplexity": 1234.5}}
    line = line_for({"event": "evaluated", "evaluation": record})
    assert line == "  test after step 9: loss 2.291  accuracy 0.7500  perplexity 1,234"


def test_results_put_the_splits_side_by_side_and_name_a_missed_requirement() -> None:
    job = job_for("SequenceClassification", evaluation={"require": [{"metric": "test/accuracy", "min": 0.9}]})
    artifact = Artifact(
        uri="s3://b/[x]/model",
        manifest_uri="s3://b/m",
        report_uri="s3://b/r",
        digest=f"sha256:{'0' * 64}",
        size_bytes=1,
    )
    ending = Ending(
        "run-1",
        start_time="t",
        completion_time="t",
        metrics={"validation/accuracy": 0.75, "test/accuracy": 0.5},
        artifact=artifact,
    )
    out = StringIO()
    print_results(job, ending.failed(Reason.REQUIREMENT_MISSED, "missed"), Console(file=out, width=100))
    text = out.getvalue()
    assert "validation" in text
    assert "0.7500" in text
    assert "MISSED  test/accuracy is 0.5, wanted at least 0.9" in text
    assert "s3://b/[x]/model" in text


def test_the_title_of_a_narrow_table_stays_on_its_line(tmp_path: Path) -> None:
    job = job_for("CausalLM", tmp_path)
    ending = Ending(
        "run-1", start_time=ENDING.start_time, completion_time=ENDING.completion_time, metrics={"test/loss": 2.1}
    )
    out = StringIO()
    named = job.model_copy(update={"metadata": job.metadata.model_copy(update={"name": "a-job-with-a-long-name"})})
    print_results(named, ending.succeeded(), Console(file=out, width=100))
    assert "a-job-with-a-long-name: Succeeded" in out.getvalue()


def test_a_run_of_a_wrong_manifest_names_its_errors_and_exits_with_2(tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    manifest.write_text("apiVersion: kubetune.dev/v1alpha1\nkind: FineTuneJob\nmetadata: {name: a}\n")
    result = CliRunner().invoke(app, ["run", str(manifest)])
    assert result.exit_code == 2
    assert "spec" in result.stderr
    assert result.stdout == ""


def test_a_command_line_without_the_trainer_says_what_to_install() -> None:
    assert why_not_installed() is None
    sentence = why_not_installed(("json", "no_module_of_that_name"))
    assert sentence is not None
    assert "not installed (no_module_of_that_name); install kubetune with its extras `cli` and `trainer`" in sentence


def test_a_run_takes_one_job(tmp_path: Path) -> None:
    profile = "apiVersion: kubetune.dev/v1alpha1\nkind: FineTuneProfile\nmetadata: {name: p}\nspec: {}\n"
    manifest = tmp_path / "profile.yaml"
    manifest.write_text(profile)
    result = CliRunner().invoke(app, ["run", str(manifest)])
    assert result.exit_code == 2
    assert "a run takes one FineTuneJob, and there are 0" in result.stderr


def test_a_run_needs_a_name_that_no_api_server_makes(tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    manifest.write_text(yaml.safe_dump(edited({"metadata": {"generateName": "reviews-"}})))
    result = CliRunner().invoke(app, ["run", str(manifest)])
    assert result.exit_code == 2
    assert "only an API server can complete it; give the job a name, such as --set metadata.name=reviews-1" in " ".join(
        result.stderr.split()
    )


DATA = {
    "rowsRead": 1464,
    "splits": [
        {"name": "train", "rows": 1000, "tokens": 9000, "truncated": 7},
        {"name": "test", "rows": 464, "tokens": 100, "truncated": 0},
    ],
    "cleaning": [
        {"name": "unicodeNormalization", "rows": 3, "dropped": False},
        {"name": "dropEmpty", "rows": 0},
        {"name": "dropDuplicates", "rows": 12},
        {"name": "noTarget", "rows": 4},
    ],
    "labelCount": 2,
    "labels": [{"name": "go\u200bod", "rows": 1000}, {"name": "\x1b[31mbad", "rows": 464}],
}


def test_what_was_read_is_shown_with_rows_as_the_model_sees_them() -> None:
    answer = {"pieces": [{"text": "[CLS] a film [SEP]", "counted": False}], "tokens": 5, "answer": "good"}
    talk = {
        "pieces": [{"text": "user\nWhy?\x1b[2J", "counted": False}, {"text": "Because.<end>", "counted": True}],
        "tokens": 9,
        "answer": None,
    }
    out = StringIO()
    with PlainView(Console(file=out, width=60)) as view:
        view.show({"event": "data", "data": DATA, "samples": [answer, talk]})
    assert out.getvalue().splitlines() == [
        "  rows      1,464 read, 1,464 used: train 1,000, test 464",
        "  dropped   12 dropDuplicates, 4 noTarget",
        "  changed   3 unicodeNormalization",
        "  cut       7 of 1,464 rows, at task.maxLength or the longest that the model takes",
        "  labels    'go\\u200bod' 1,000, '\\x1b[31mbad' 464",
        "  rows as the model sees them, ⟦what the loss counts⟧ marked so:",
        "  1  [CLS] a film [SEP] → ⟦good⟧",
        "  2  user⏎Why?⟦Because.<end>⟧",
    ]


def test_without_rows_only_counts_are_shown() -> None:
    out = StringIO()
    with PlainView(Console(file=out, width=60)) as view:
        view.show({"event": "data", "data": DATA, "samples": []})
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["rows", "dropped", "changed", "cut", "labels"]
