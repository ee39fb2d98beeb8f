"""A run that is to go on and is not there."""

from pathlib import Path

import pytest

from kubetune_api.run import Run
from kubetune_trainer.driver import execute
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import LastProgress
from kubetune_trainer.stop_request import StopRequest
from support.no_giving_up import no_giving_up
from support.tiny_models import job_for


def test_a_mistyped_id_leaves_no_folder_behind(tmp_path: Path) -> None:
    run = Run(job=job_for("CausalLM", output={"uri": (tmp_path / "out").as_uri()}), run_id="mistyped", resumes=True)
    with pytest.raises(RunError, match="there is no run mistyped"):
        execute(
            run,
            listener=LastProgress(),
            cache=tmp_path / "cache",
            start_time="",
            now=lambda: "",
            give_up=no_giving_up,
            stop=StopRequest(),
        )
    assert not (tmp_path / "out").exists()
