"""Which jobs may go on with fewer workers."""

import pytest
from pydantic import ValidationError

from kubetune_api.job import FineTuneJobSpec
from support.job_cases import PAIRS, SCORES, Case

BOTH = {"spec.resources": {"workers": 4, "minWorkers": 2}, "spec.training.checkpoints": {}}


def test_where_rows_are_compared_fewer_workers_do_not_go_on_from_a_checkpoint() -> None:
    job = Case("compared rows", {**PAIRS, **BOTH})
    with pytest.raises(ValidationError, match="remove minWorkers, or remove") as refused:
        FineTuneJobSpec.model_validate(job.manifest["spec"])
    assert refused.value.error_count() == 1


def test_rows_with_a_score_are_not_compared_and_may_have_both() -> None:
    job = Case("rows with a score", {**SCORES, **BOTH})
    assert FineTuneJobSpec.model_validate(job.manifest["spec"]).resources.min_workers
