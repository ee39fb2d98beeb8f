"""Which metrics of slices may be required."""

import pytest
from pydantic import ValidationError

from kubetune_api.job import FineTuneJobSpec
from support.job_cases import RULES_BROKEN


def test_an_answer_metric_of_a_slice_is_refused_with_what_to_do() -> None:
    (case,) = (case for case in RULES_BROKEN if case.what == "a metric of answers of a slice")
    with pytest.raises(ValidationError, match="require it without the name of the slice") as refused:
        FineTuneJobSpec.model_validate(case.manifest["spec"])
    assert refused.value.error_count() == 1
