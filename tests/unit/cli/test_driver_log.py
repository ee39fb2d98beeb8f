"""`kubetune logs` reads as `kubetune run` prints: what it makes of the lines of a driver."""

import json
from typing import Any

import pytest

from kubetune_api.outcome import Ending
from kubetune_api.reasons import Reason
from kubetune_api.status import Artifact
from kubetune_cli.driver_log import DriverLog
from kubetune_cli.jobs import LogLine
from support.fake_cli_cluster import artifact

ENDING = Ending("run-1", start_time="2026-01-01T00:00:00Z", completion_time="2026-01-01T00:01:00Z")
STATE = {"step": 3, "totalSteps": 9, "epoch": 0.5, "loss": 0.25, "tokensPerSecond": 1234.5, "secondsLeft": 75.4}
CHATTER = "(train_rank pid=7) [W] Gloo connected"
TRACE = ("Traceback (most recent call last):", '  File "driver.py", line 1', "TypeError: no")


def event(name: str, **content: Any) -> str:
    return json.dumps({"event": name, **content})


def finished(status: Any) -> str:
    return event("finished", status=status.to_dict())


def read(*texts: str, verbose: bool = False, seconds: int = 1) -> list[str]:
    log = DriverLog(verbose=verbose)
    times = [f"2026-01-01T00:{place * seconds // 60:02}:{place * seconds % 60:02}.5Z" for place in range(len(texts))]
    shown = [line for time, text in zip(times, texts, strict=True) for line in log.read(LogLine(time, text))]
    return [*shown, *log.end()]


def test_events_are_sentences_and_the_lines_of_ray_are_left_out() -> None:
    record = {"split": "test", "step": 9, "metrics": {"accuracy": 0.75}}
    texts = [
        CHATTER,
        event("stage", text="Reading the data"),
        event("note", text="3 rows were dropped"),
        event("claimed", execution=1),
        event("progress", progress=STATE),
        CHATTER,
        event("evaluated", evaluation=record),
        finished(Ending("r", start_time="t", completion_time="t", artifact=Artifact(**artifact())).succeeded()),
    ]
    sentences = [
        "• Reading the data",
        "  note: 3 rows were dropped",
        "  step 3/9  epoch 0.50  loss 0.2500  1,234 tokens/s  1:15 left",
        "  test after step 9: accuracy 0.7500",
        "Succeeded",
        "model     s3://models/model",
        "report    s3://models/report.html",
        "manifest  s3://models/manifest.json",
    ]
    assert read(*texts) == sentences
    assert read(*texts, verbose=True) == [CHATTER, *sentences[:3], CHATTER, *sentences[3:]]


def test_steps_are_as_far_apart_as_they_were_when_they_were_written() -> None:
    steps = [event("progress", progress={**STATE, "step": step}) for step in range(1, 10)]
    end = finished(ENDING.failed(Reason.INTERRUPTED, "stopped"))
    assert [line.split()[1] for line in read(*steps, end)[:-1]] == ["1/9", "9/9"]
    assert [line.split()[1] for line in read(*steps, end, seconds=5)[:-1]] == ["1/9", "3/9", "5/9", "7/9", "9/9"]


def test_an_error_of_the_manifest_or_the_data_is_a_sentence_without_a_traceback() -> None:
    shown = read(*TRACE, finished(ENDING.failed(Reason.INVALID_DATA, "there is no column `label`")))
    assert shown == ["Failed (InvalidData): there is no column `label`"]


def test_an_error_that_nobody_foresaw_comes_with_its_traceback() -> None:
    shown = read(CHATTER, *TRACE, finished(ENDING.failed(Reason.UNKNOWN, "TypeError: no")))
    assert shown == [*TRACE, "Failed (Unknown): TypeError: no"]


def test_of_a_trainer_that_was_killed_the_last_lines_are_shown() -> None:
    shown = read(event("stage", text="Fetching the model"), *[f"line {number}" for number in range(30)])
    assert shown[:2] == ["• Fetching the model", "The trainer ended without a message. The last lines of its log:"]
    assert shown[2:] == [f"line {number}" for number in range(10, 30)]


@pytest.mark.parametrize(
    "text",
    [
        '{"event": "stage"}',
        '{"event": "stage", "text": ',
        '{"event": []}',
        '{"event": "evaluated", "evaluation": {"split": "test", "step": 1, "metrics": {"loss": "high"}}}',
        '{"event": "evaluated", "evaluation": {"split": "t", "step": 1, "metrics": {"loss": 1' + "0" * 400 + "}}}",
        '{"event": "progress", "progress": {"step": -1}}',
        '{"event": "finished", "status": {"phase": "Running"}}',
        '{"event": ' + "[" * 100_000,
    ],
)
def test_what_only_looks_like_an_event_is_a_line_like_any_other(text: str) -> None:
    assert read(text, verbose=True) in ([text], [])


def test_a_tenants_sentence_cannot_move_the_cursor() -> None:
    assert read(event("note", text="\x1b[31mred\x07"))[0] == "  note: red"


def test_a_bar_that_was_drawn_before_an_event_does_not_hide_it() -> None:
    assert read(" 1%\r 99%\r" + event("stage", text="Publishing")) == ["• Publishing"]


def test_times_that_are_none_do_no_harm() -> None:
    log = DriverLog(verbose=False)
    assert list(log.read(LogLine("", event("progress", progress=STATE)))) != []
