"""Rows refer to rows that exist, and one that is added counts at once: in manifests, in the CRD, in the page."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from kubetune_api import reference
from kubetune_api.base import RULES_KEY
from kubetune_api.crd import definition
from kubetune_api.families import FAMILIES
from kubetune_api.job import Columns
from kubetune_api.job.task_rules import column_rules, metric_rules
from kubetune_api.kinds import JOB
from kubetune_api.manifest import read_manifest
from kubetune_api.metrics import LOSS, METRICS, MetricRow
from kubetune_api.schema import Schema
from kubetune_api.schemes import SCHEMES
from kubetune_api.tables import listed
from kubetune_api.tasks import TASKS, TaskRow, tasks_with_labels
from support.job_cases import CAUSAL, edited
from support.more_rows import more_rows

GRADING = TaskRow(
    does="puts a number on a text",
    noun="a judge of texts",
    columns=("text",),
    optional_columns=("text_pair",),
    metrics=(LOSS, "spread"),
    headline=("spread", LOSS),
    model="Any",
    max_length=256,
    pipeline=("text-classification", "Text Classification"),
)
GRADED = {"spec.task.type": "Grading", "spec.dataset.columns": {"text": "body"}}


@pytest.fixture(autouse=True)
def _grading() -> Iterator[None]:
    with more_rows(METRICS, spread=MetricRow("spread", "Min", bounded=False)), more_rows(TASKS, Grading=GRADING):
        yield


def judged(edits: dict[str, Any]) -> list[str]:
    return [f"{error.path}: {error.message}" for error in read_manifest(json.dumps(edited(edits)), "job.json").errors]


def spec_schema() -> Schema:
    schema: Schema = definition(JOB)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def test_a_task_that_reads_every_column_has_no_rule_against_others() -> None:
    with more_rows(TASKS, Greedy=replace(GRADING, optional_columns=tuple(Columns.model_fields))):
        (rule,) = [rule for rule in column_rules() if "'Greedy'" in rule.cel]
    assert rule.cel == "self.task.type != 'Greedy' || (has(self.dataset.columns.text))"


@pytest.mark.parametrize("name", ["test/spread", "part/test/spread", "test/other", "spread", "spread/test"])
def test_the_api_server_and_the_manifest_reader_take_the_same_part_of_a_metrics_name(name: str) -> None:
    evaluation = SimpleNamespace(primary_metric=name, require=[SimpleNamespace(metric=name)])
    spec = SimpleNamespace(task=SimpleNamespace(type="Grading"), evaluation=evaluation)
    rules = [rule for rule in metric_rules() if "'Grading'" in rule.cel]
    assert len(rules) == 2
    for rule in rules:
        (pattern,) = re.findall(r"matches\('(.*?)'\)", rule.cel)
        assert rule.holds(spec) == (re.search(pattern, name) is not None)


def test_a_job_may_name_a_new_task_and_require_its_metric() -> None:
    assert judged({**GRADED, "spec.evaluation.require": [{"metric": "test/spread", "max": 1}]}) == []


@pytest.mark.parametrize(
    ("edits", "error"),
    [
        pytest.param(
            {"spec.task.type": "Gradings"},
            'spec.task.type: "Gradings" is not known; did you mean `Grading`?',
            id="a misspelt name",
        ),
        pytest.param(
            {**GRADED, "spec.dataset.columns": {"textPair": "body"}},
            "spec.dataset.columns: Grading needs the column `text`; name it",
            id="a column that it needs",
        ),
        pytest.param(
            {**GRADED, "spec.dataset.columns": {"text": "body", "label": "verdict"}},
            "spec.dataset.columns: Grading reads the columns `text` and `textPair` only; remove the others, or change"
            " task.type",
            id="a column of another task",
        ),
        pytest.param(
            {**GRADED, "spec.training.labelSmoothing": 0.1},
            "spec.training.labelSmoothing: Grading does not choose among labels or tokens, so there is nothing to"
            " smooth; remove labelSmoothing, or change task.type (given: 0.1)",
            id="labels to smooth",
        ),
        pytest.param(
            {**GRADED, "spec.task.labels": ["a", "b"]},
            f"spec.task.labels: labels belong to {listed(tasks_with_labels())}; remove them, or change task.type",
            id="labels that it has not",
        ),
        pytest.param(
            {**GRADED, "spec.evaluation.require": [{"metric": "test/accuracy", "min": 1}]},
            "spec.evaluation.require: a required metric does not exist for Grading, which has loss and spread; require"
            " one of these",
            id="a metric of another task",
        ),
        pytest.param(
            {**CAUSAL, "spec.evaluation.require": [{"metric": "test/spread", "min": 1}]},
            "spec.evaluation.require: a required metric does not exist for CausalLM, which has loss, perplexity,"
            " exact_match, token_f1 and rouge_l; require one of these",
            id="its metric of another task",
        ),
    ],
)
def test_a_job_of_a_new_task_is_judged_by_its_row(edits: dict[str, Any], error: str) -> None:
    assert judged(edits) == [error]


def test_the_definition_for_the_api_server_follows_the_rows() -> None:
    spec = spec_schema()
    assert "Grading" in spec["properties"]["task"]["properties"]["type"]["enum"]
    required = spec["properties"]["evaluation"]["properties"]["require"]["items"]["properties"]
    assert "|spread|" in required["metric"]["pattern"]
    others = [
        f"!has(self.dataset.columns.{to_camel(name)})"
        for name in Columns.model_fields
        if name not in ("text", "text_pair")
    ]
    rules = [rule["rule"] for rule in spec[RULES_KEY] if "'Grading'" in rule["rule"]]
    assert rules == [
        "self.task.type != 'Grading' || (has(self.dataset.columns.text))",
        f"self.task.type != 'Grading' || ({' && '.join(others)})",
        "self.task.type != 'Grading' || (self.evaluation.require.all(r,"
        " r.metric.contains('/custom.') || r.metric.matches('/(loss|spread)$')))",
        "self.task.type != 'Grading' || (!has(self.evaluation.primaryMetric) ||"
        " self.evaluation.primaryMetric.contains('/custom.') ||"
        " self.evaluation.primaryMetric.matches('/(loss|spread)$'))",
        "self.task.type != 'Grading' || (self.training.labelSmoothing == 0.0)",
    ]


def test_the_page_on_the_api_follows_the_rows() -> None:
    page = reference.page()
    assert "`Grading` puts a number on a text." in page
    assert "`text` (and `textPair`) for Grading" in page
    assert "`loss`, `spread` (Grading)" in page


@pytest.mark.parametrize("name", list(TASKS))
def test_a_task_names_columns_and_metrics_that_exist(name: str) -> None:
    task = TASKS[name]
    assert set(task.reads) <= set(Columns.model_fields)
    assert set(task.metrics) <= set(METRICS)
    assert set(task.headline) <= set(task.all_metrics) <= set(METRICS)
    assert LOSS in task.metrics


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_family_names_the_same_sizes_as_the_others(name: str) -> None:
    family = FAMILIES[name]
    own = {"embedding", "head", "decoder_layers", "decoder_intermediate"}
    without = {"positions"} if family.encoder_decoder and family.encoder_decoder.relative else set()
    assert set(family.names) - own == set(FAMILIES["bert"].names) - without


@pytest.mark.parametrize("name", list(SCHEMES))
def test_a_scheme_that_another_server_may_stand_in_for_names_the_variable_that_people_set(name: str) -> None:
    scheme = SCHEMES[name]
    assert (scheme.usual_endpoint_variable in scheme.endpoint_variables) == bool(scheme.endpoint_variables)
    assert scheme.endpoint_variables or not scheme.allow_http_variable
