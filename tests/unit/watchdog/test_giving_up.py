"""A process that cannot end a run tells its end, and is gone."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer import alone
from kubetune_trainer.errors import RunError
from kubetune_trainer.training import loop
from kubetune_trainer.watchdog.beats import Beat
from kubetune_trainer.watchdog.hangs import Hang, Hangs
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import hard_rows, write_csv

_STUCK = """
import sys, threading, types
from kubetune_trainer.errors import RunError

def execute(run, *, give_up, **_):
    threading.Thread(target=give_up, args=(RunError("Hung", "rank 0 does nothing"),), daemon=True).start()
    threading.Event().wait()

driver = types.ModuleType("kubetune_trainer.driver")
driver.execute = execute
sys.modules["kubetune_trainer.driver"] = driver
from kubetune_trainer.__main__ import main
main()
"""


def test_the_process_of_a_run_that_gives_up_tells_why_and_ends(tmp_path: Path) -> None:
    job = job_for(
        "SequenceClassification",
        tmp_path / "model",
        dataset={"uri": "file:///d/rows.csv", "columns": {"text": "text", "label": "label"}},
    )
    file = tmp_path / "run.json"
    file.write_text(Run(job=job, run_id="run-1").model_dump_json(by_alias=True))
    done = subprocess.run([sys.executable, "-c", _STUCK, str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "finished"
    (condition,) = [one for one in last["status"]["conditions"] if one["type"] == "Failed"]
    assert (condition["reason"], condition["message"]) == (Reason.HUNG, "rank 0 does nothing")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_worker_that_hangs_in_this_process_makes_it_give_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rank is the thread that would have to end it."""
    given_up: list[RunError] = []
    entered, freed = threading.Event(), threading.Event()

    def give_up(error: RunError) -> None:
        given_up.append(error)
        freed.set()

    def stuck(*_: object) -> None:
        entered.set()
        assert freed.wait(60)
        raise OSError("the disk is there again")

    class AsSoonAsItIs(Hangs):
        def judge(self, beats: Iterable[Beat], now: float) -> Hang | None:
            (beat,) = beats
            return Hang((beat,), {}, 60.0) if entered.is_set() and beat.stacks else None

    monkeypatch.setattr(alone, "hangs_of", lambda _: AsSoonAsItIs())
    job = job_for(
        "SequenceClassification",
        saved(tiny_model("bert", labels=2), tmp_path / "model"),
        dataset={
            "uri": write_csv(tmp_path / "rows.csv", ("text", "label"), hard_rows(40)),
            "columns": {"text": "text", "label": "label"},
        },
        training={"maxSteps": 4, "globalBatchSize": 8},
        output={"uri": (tmp_path / "out").as_uri()},
    )
    collate, calls = loop.collate, iter(range(100))
    monkeypatch.setattr(loop, "collate", lambda *given: stuck() if next(calls) == 2 else collate(*given))
    with pytest.raises(RunError, match=r"^rank 0 .* takes step 3 for 60 seconds, in _passes \(training\.loop, "):
        run_of(job, tmp_path, give_up)
    assert [error.reason for error in given_up] == [Reason.HUNG]
