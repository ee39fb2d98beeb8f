"""A run that is to go on and is not there."""

from pathlib import Path

import pytest

from kubetune_api.run import Run
from kubetune_trainer.errors import RunError
from kubetune_trainer.events import LastProgress
from support.runs_in_one_process import executed
from support.tiny_models import job_for


def test_a_mistyped_id_leaves_no_folder_behind(tmp_path: Path) -> None:
    run = Run(job=job_for("CausalLM", output={"uri": (tmp_path / "out").as_uri()}), run_id="mistyped", resumes=True)
    with pytest.raises(RunError, match="there is no run mistyped"):
        executed(run, LastProgress(), tmp_path / "cache")
    assert not (tmp_path / "out").exists()
