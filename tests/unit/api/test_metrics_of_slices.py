"""Which metrics of slices may be required, and which may stand for the model."""

import pytest
from pydantic import ValidationError

from kubetune_api.job import FineTuneJobSpec
from support.job_cases import RULES_BROKEN
from support.tiny_models import spec_for

GERMAN = {"name": "german", "column": "lang", "values": ["de"]}


def test_an_answer_metric_of_a_slice_may_be_required() -> None:
    required = [{"metric": "test/german/rouge_l", "min": 0.1}]
    spec = spec_for("CausalLM", evaluation={"generation": {}, "slices": [GERMAN], "require": required})
    assert spec.evaluation.require[0].metric == "test/german/rouge_l"


def test_a_slice_does_not_stand_for_the_model_and_what_to_do_is_said() -> None:
    (case,) = (case for case in RULES_BROKEN if case.what == "a metric of a slice that stands for the model")
    with pytest.raises(ValidationError, match="leave out the name of the slice") as refused:
        FineTuneJobSpec.model_validate(case.manifest["spec"])
    assert refused.value.error_count() == 1
