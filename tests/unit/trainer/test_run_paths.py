"""Where a run's files lie, and errors that travel between processes."""

import pickle

import pytest
from pydantic import ValidationError

from kubetune_api.reasons import Reason
from kubetune_api.run import Run
from kubetune_trainer.errors import RunError
from support.run_records import job


def run(**fields: object) -> Run:
    return Run(job=job(), run_id="20260101-abc", **fields)  # type: ignore[arg-type]


def test_a_run_lies_under_namespace_name_and_id() -> None:
    assert run().root == "s3://models/team-a/film-reviews/20260101-abc"


def test_a_slash_at_the_end_of_the_output_is_not_doubled() -> None:
    assert Run(job=job(output={"uri": "file:///out/"}), run_id="r").root == "file:///out/team-a/film-reviews/r"


def test_each_execution_has_its_claim_and_its_folder() -> None:
    assert run(execution=3).claim == "executions/3.json"
    assert run(execution=3).folder == "executions/3"


@pytest.mark.parametrize("run_id", ["", "../else", "a/b", "UPPER", "-first", "x" * 64])
def test_an_id_that_is_no_folder_name_is_refused(run_id: str) -> None:
    with pytest.raises(ValidationError, match=r"run_?[iI]d"):
        Run(job=job(), run_id=run_id)


def test_a_run_survives_the_way_to_the_trainer() -> None:
    there = run(execution=2, workers=3)
    assert Run.model_validate_json(there.model_dump_json(by_alias=True, exclude_none=True)) == there


def test_a_run_error_survives_pickling() -> None:
    back = pickle.loads(pickle.dumps(RunError(Reason.INVALID_DATA, "row 3 has no label; add one")))
    assert (back.reason, back.message, str(back)) == (
        Reason.INVALID_DATA, "row 3 has no label; add one", "row 3 has no label; add one",
    )  # fmt: skip
