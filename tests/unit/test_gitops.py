"""Argo CD's health script, as the page gives it, says what a job's status says."""

import re
from pathlib import Path

import pytest
import yaml
from lupa import LuaRuntime

from kubetune_api.status import FineTuneJobStatus
from kubetune_api.times import moment
from kubetune_operator.jobs.state import JobState, with_state

PAGE = Path(__file__).parents[2] / "docs" / "gitops.md"
NOW = moment("2026-01-01T00:00:00Z")


def health(status: FineTuneJobStatus | None, generation: int = 1) -> tuple[str, str]:
    found = re.search(r"^```yaml\n(data:.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found
    (script,) = yaml.safe_load(found[1])["data"].values()
    lua = LuaRuntime(unpack_returned_tuples=True)
    judge = lua.eval(f"function(obj) {script} end")
    thing = {"metadata": {"generation": generation}, **({"status": status.to_dict()} if status else {})}
    answer = judge(lua.table_from(thing, recursive=True))
    return answer["status"], answer["message"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(JobState("Pending", "WaitingForQuota", "waits"), "Progressing", id="a job that waits"),
        pytest.param(JobState("Running", "Training", "trains", admitted=True), "Progressing", id="a job that trains"),
        pytest.param(JobState("Suspended", "Suspended", "suspended"), "Suspended", id="a suspended job"),
        pytest.param(JobState("Succeeded", "ModelPublished", "done"), "Healthy", id="a published model"),
        pytest.param(JobState("Failed", "InvalidData", "no column"), "Degraded", id="a failed job"),
        pytest.param(JobState("Pending", "ProfileForbids", "no", refused=True), "Degraded", id="a refused job"),
    ],
)
def test_each_state_has_its_health_and_its_sentence(state: JobState, expected: str) -> None:
    status = with_state(FineTuneJobStatus(), state, 1, NOW)
    assert health(status) == (expected, state.message)


def test_a_job_that_was_just_changed_or_not_looked_at_yet_is_in_progress() -> None:
    status = with_state(FineTuneJobStatus(), JobState("Failed", "InvalidData", "old"), 1, NOW)
    assert health(status, generation=2)[0] == "Progressing"
    assert health(None)[0] == "Progressing"
