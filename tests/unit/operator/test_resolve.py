from typing import Any

import pytest

from kubetune_api.job import FineTuneJob
from kubetune_api.profile import FineTuneProfile
from kubetune_api.reasons import Reason
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_operator.jobs.resolve import Refused, Resolved, fitted, resolve, settings_of
from kubetune_operator.settings import Settings
from support.observed_jobs import NAMESPACE, SETTINGS, Object, job, plan, profile

LABELS = {"kubernetes.io/metadata.name": NAMESPACE, "team": "a", "gpus": "yes"}
GPU: Object = {"accelerator": {"memory": "16Gi"}}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LLAMA: Object = {"uri": "hf://meta-llama/Llama-3.1-70B", "revision": COMMIT}


def resolved(
    wanted: Object, allowed: Object | None = None, labels: dict[str, str] = LABELS, settings: Settings = SETTINGS
) -> Resolved | Refused:
    found = FineTuneProfile.model_validate(allowed or profile())
    return resolve(FineTuneJob.model_validate(wanted), found, labels, settings)


def allowed(wanted: Object, by: Object | None = None, **more: Any) -> Resolved:
    found = resolved(wanted, by, **more)
    assert isinstance(found, Resolved), found
    return found


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "a namespace without the label": (
        {},
        {"namespaceSelector": {"matchExpressions": [{"key": "research", "operator": "Exists"}]}},
        ["profile default (namespaceSelector) does not admit the namespace team-a", "ask"],
    ),
    "a namespace with another value": (
        {},
        {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["b", "c"]}]}},
        ["namespaceSelector"],
    ),
    "a namespace that meets one rule of two": (
        {},
        {
            "namespaceSelector": {
                "matchLabels": {"gpus": "no"},
                "matchExpressions": [{"key": "team", "operator": "Exists"}],
            }
        },
        ["namespaceSelector"],
    ),
    "several workers on parts of GPUs": (
        {"resources__workers": 2},
        {"accelerator": {"resourceName": "nvidia.com/mig-3g.40gb", "memory": "39Gi"}},
        ["spec.resources.workers: profile default gives each worker a part of a GPU", "ask for 1"],
    ),
    "a model elsewhere": (
        {"model__uri": "s3://other/minilm"},
        {"allowedUriPrefixes": ["s3://models", "s3://data"]},
        ["spec.model.uri: profile default (allowedUriPrefixes) allows only URIs under s3://models, s3://data"],
    ),
    "another namespace's data": (
        {"dataset__uri": "s3://data/team-b/x.csv"},
        {"allowedUriPrefixes": ["s3://models", "s3://data/{namespace}"]},
        ["spec.dataset.uri", "s3://data/team-a"],
    ),
    "a namespace whose name begins the same": (
        {"dataset__uri": "s3://data/team-a-old/x.csv"},
        {"allowedUriPrefixes": ["s3://models", "s3://data/{namespace}"]},
        ["spec.dataset.uri"],
    ),
    "validation and test data elsewhere": (
        {"dataset__validation": {"uri": "s3://other/v.csv"}, "dataset__test": {"uri": "s3://other/t.csv"}},
        {"allowedUriPrefixes": ["s3://models", "s3://data"]},
        ["spec.dataset.validation.uri", "spec.dataset.test.uri"],
    ),
    "an output elsewhere": (
        {"output__uri": "gs://models/team-a"},
        {"allowedUriPrefixes": ["s3://"]},
        ["spec.output.uri", "s3://"],
    ),
    "an output where jobs may only read (S11)": (
        {"output__uri": "s3://shared/minilm/executions/1/model"},
        {"allowedUriPrefixes": ["s3://"], "allowedOutputPrefixes": ["s3://tenants/{namespace}/"]},
        ["spec.output.uri: profile default (allowedOutputPrefixes) allows only outputs under s3://tenants/team-a/"],
    ),
    "a dataset where jobs may only write (S11)": (
        {"output__uri": "s3://results/team-a", "dataset__uri": "s3://results/x.csv", "model__uri": "s3://models/m"},
        {"allowedUriPrefixes": ["s3://models"], "allowedOutputPrefixes": ["s3://results"]},
        ["spec.dataset.uri: profile default (allowedUriPrefixes) allows only URIs under s3://models"],
    ),
    "too many workers": (
        {"resources__workers": 9},
        {"limits": {"maxWorkers": 8}},
        ["spec.resources.workers: profile default (limits.maxWorkers) allows 8 workers at most; ask for 8 or fewer"],
    ),
    "too long a deadline": (
        {"activeDeadlineSeconds": 7200},
        {"limits": {"maxActiveDeadlineSeconds": 3600}},
        ["spec.activeDeadlineSeconds", "limits.maxActiveDeadlineSeconds", "3600"],
    ),
    "no queue": ({}, {"requiresQueue": True}, ["spec.queueName: profile default (requiresQueue) requires a queue"]),
    "the pod's own disk": (
        {"model__uri": "file:///models/minilm", "output__uri": "file:///out"},
        {},
        [
            "spec.model.uri: in a cluster, file:// is the pod's own disk, which is empty; use s3://, gs://, az:// or hf://",
            "spec.output.uri: in a cluster, file:// is the pod's own disk, which is empty; use s3://, gs:// or az://",
        ],
    ),
    "a priority where none is allowed": (
        {"queueName": "a", "priorityClassName": "high"},
        {},
        ["spec.priorityClassName: profile default (allowedPriorityClassNames) does not allow this priority; remove it"],
    ),
    "a priority that is not allowed": (
        {"queueName": "a", "priorityClassName": "high"},
        {"allowedPriorityClassNames": ["low", "middle"]},
        ["does not allow this priority; use low or middle, or remove it"],
    ),
    "a store opened by the key that signs": (
        {"credentials": [{"prefix": "s3://models", "secretName": "signing"}]},
        {"signing": {"secretName": "signing"}},
        [
            "spec.credentials[0].secretName: profile default (signing) signs models with this Secret; name another one"
            " for a store"
        ],
    ),
    "everything at once": (
        {"resources__workers": 9, "model__uri": "file:///m"},
        {"limits": {"maxWorkers": 8}, "requiresQueue": True},
        ["spec.resources.workers", "spec.queueName", "spec.model.uri"],
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_a_profile_forbids_and_why(case: tuple[dict[str, Any], dict[str, Any], list[str]]) -> None:
    wanted, rules, words = case
    refused = resolved(job(**wanted), profile(**rules))
    assert isinstance(refused, Refused)
    of_no_profile = wanted.keys() == {"model__uri", "output__uri"}
    assert refused.reason == (Reason.INVALID_MANIFEST if of_no_profile else Reason.PROFILE_FORBIDS), "N3"
    assert all(word in refused.message for word in words), refused.message


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        pytest.param(
            {"matchLabels": {"tier": "gold"}}, "of which the label tier must be gold; use another", id="a label"
        ),
        pytest.param(
            {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold", "silver"]}]},
            "the label tier must be gold or silver",
            id="one of several values",
        ),
        pytest.param(
            {
                "matchExpressions": [
                    {"key": "team", "operator": "NotIn", "values": ["a"]},
                    {"key": "cost", "operator": "Exists"},
                    {"key": "team", "operator": "DoesNotExist"},
                ]
            },
            "the label team must not be a, the label cost must be there and the label team must not be there",
            id="all that is wrong",
        ),
    ],
)
def test_a_namespace_that_is_not_admitted_is_told_by_which_label(selector: dict[str, Any], said: str) -> None:
    """N3."""
    refused = resolved(job(), profile(namespaceSelector=selector))
    assert isinstance(refused, Refused)
    assert said in refused.message


@pytest.mark.parametrize(
    ("wanted", "rules"),
    [
        pytest.param(
            {},
            {
                "namespaceSelector": {
                    "matchLabels": {"team": "a"},
                    "matchExpressions": [{"key": "gpus", "operator": "Exists"}],
                }
            },
            id="every rule met",
        ),
        pytest.param(
            {}, {"allowedUriPrefixes": ["s3://models/", "s3://data/reviews.csv"]}, id="prefixes with and without a /"
        ),
        pytest.param({"output__uri": "s3://models/team-a/"}, {"allowedUriPrefixes": ["s3://"]}, id="all of S3"),
        pytest.param({"resources__workers": 8}, {"limits": {"maxWorkers": 8}}, id="as many workers as allowed"),
        pytest.param({"queueName": "team-a"}, {"requiresQueue": True}, id="a queue"),
        pytest.param({}, {"limits": {"maxWorkers": 1}}, id="workers that are not named are one"),
    ],
)
def test_what_a_profile_allows(wanted: dict[str, Any], rules: dict[str, Any]) -> None:
    allowed(job(**wanted), profile(**rules))


def test_without_an_image_the_operators_counts_and_without_both_the_job_is_refused() -> None:
    assert allowed(job()).image == "trainer:1"
    assert allowed(job(), profile(image="mine:2")).image == "mine:2"
    refused = resolved(job(), settings=Settings())
    assert isinstance(refused, Refused)
    assert (refused.reason, "spec.image" in refused.message) == (Reason.PROFILE_FORBIDS, True)


@pytest.mark.parametrize(
    ("shown", "reason", "words"),
    [
        pytest.param(
            [job(profileRef__name="a100"), profile()],
            Reason.PROFILE_NOT_FOUND,
            ["there is no FineTuneProfile a100", "spec.profileRef names it", "kubectl get finetuneprofiles"],
            id="a profile that is not there",
        ),
        pytest.param(
            [job(), profile("a100")],
            Reason.PROFILE_NOT_FOUND,
            ["there is no FineTuneProfile default", "a job without a profile needs it"],
            id="no default profile",
        ),
        pytest.param(
            [job(), profile(scratchSize="much")],
            Reason.PROFILE_FORBIDS,
            ["profile default cannot be read: spec.scratchSize", "the platform team must correct it"],
            id="a profile of another version",
        ),
    ],
)
def test_a_profile_that_is_not_there_or_cannot_be_read(shown: list[Object], reason: str, words: list[str]) -> None:
    status = plan(*shown).status
    assert (status.phase, status.reason) == ("Pending", reason)
    assert all(word in (status.message or "") for word in words), status.message


def test_a_refused_job_says_so_to_people_and_to_gitops_and_may_be_mended() -> None:
    status = plan(job(resources__workers=9), profile(limits={"maxWorkers": 8})).status
    conditions = {one.type: (one.status, one.reason) for one in status.conditions}
    assert conditions["Accepted"] == ("False", Reason.PROFILE_FORBIDS)
    assert conditions["Stalled"] == ("True", Reason.PROFILE_FORBIDS)
    assert status.start_time is None
    mended = plan(job(status.to_dict(), resources__workers=8), profile(limits={"maxWorkers": 8})).status
    assert {one.type: one.status for one in mended.conditions}["Accepted"] == "True"


@pytest.mark.parametrize(
    ("asked", "most", "deadline"),
    [(None, None, None), (None, 3600, 3600), (60, 3600, 60), (60, None, 60), (3600, 3600, 3600)],
)
def test_a_job_without_a_deadline_gets_the_longest_that_is_allowed(
    asked: int | None, most: int | None, deadline: int | None
) -> None:
    by = profile(limits={"maxActiveDeadlineSeconds": most})
    assert allowed(job(activeDeadlineSeconds=asked), by).deadline == deadline


@pytest.mark.parametrize(
    ("own", "shared", "together"),
    [
        pytest.param([], ["s3://"], [("s3://", "shared")], id="those of the profile alone"),
        pytest.param(["s3://"], [], [("s3://", "own")], id="those of the job alone"),
        pytest.param(["s3://"], ["s3://"], [("s3://", "own")], id="the job's come first"),
        pytest.param(["s3://models"], ["s3://models/"], [("s3://models", "own")], id="a / at the end is nothing"),
        pytest.param(
            ["s3://"], ["s3://data"], [("s3://", "own")], id="the job's cover all below, where the longest would count"
        ),
        pytest.param(
            ["s3://data"], ["s3://"], [("s3://data", "own"), ("s3://", "shared")], id="the profile's cover the rest"
        ),
        pytest.param(
            ["s3://data"],
            ["s3://data-2", "hf://"],
            [("s3://data", "own"), ("s3://data-2", "shared"), ("hf://", "shared")],
            id="a name that begins the same is another",
        ),
        pytest.param(
            [], ["s3://data/{namespace}"], [("s3://data/team-a", "shared")], id="the namespace in the profile's prefix"
        ),
    ],
)
def test_the_credentials_of_job_and_profile_together(
    own: list[str], shared: list[str], together: list[tuple[str, str]]
) -> None:
    wanted = job(credentials=[{"prefix": prefix, "secretName": "own"} for prefix in own])
    by = profile(credentials=[{"prefix": prefix, "secretName": "shared"} for prefix in shared])
    found = allowed(wanted, by).credentials
    assert [(credentials.prefix, credentials.secret_name) for credentials in found] == together


def test_a_state_that_fits_no_accelerator_is_refused_with_a_proposal_and_one_that_fits_is_planned() -> None:
    refused = fitted(allowed(job(model=LLAMA), profile(**GPU)))
    assert isinstance(refused, Refused)
    assert refused.reason == Reason.DOES_NOT_FIT
    assert refused.message
    unknown = fitted(allowed(job(), profile(**GPU)))
    assert isinstance(unknown, Resolved)
    assert unknown.job.spec.zero.stage is None, "nothing is known of the model's shape"


def test_a_state_that_fits_no_pod_is_refused_and_the_profiles_field_is_named() -> None:
    known = {"model": {"uri": "hf://meta-llama/Llama-3.1-8B", "revision": COMMIT}, "resources__workers": 8}
    gpus: Object = {"accelerator": {"memory": "80Gi"}, "workersPerPod": 8, "scratchSize": "200Gi"}
    refused = fitted(allowed(job(**known), profile(**gpus)))
    assert isinstance(refused, Refused)
    assert refused.reason == Reason.DOES_NOT_FIT
    assert "worker.memory of profile default is 8Gi" in refused.message
    assert isinstance(fitted(allowed(job(**known), profile(**gpus, worker={"memory": "64Gi"}))), Resolved)


@pytest.mark.parametrize(("bf16", "precision"), [(True, "BF16"), (False, "FP32")])
def test_an_open_precision_is_set_to_that_of_the_plan(bf16: bool, precision: str) -> None:
    known = {"model": {"uri": "hf://google-bert/bert-base-uncased", "revision": COMMIT}}
    by = profile(accelerator={"memory": "80Gi", "bf16": bf16})
    planned = fitted(allowed(job(**known), by))
    assert isinstance(planned, Resolved)
    assert planned.job.spec.training.precision == precision
    set_by_its_author = fitted(allowed(job(**known, training__precision="FP32"), by))
    assert isinstance(set_by_its_author, Resolved)
    assert set_by_its_author.job.spec.training.precision == "FP32"


def test_the_status_says_what_was_chosen_for_an_attempt() -> None:
    begun = plan(job(resources__workers=2, training__precision="FP32"), profile()).status
    assert begun.resolved == ResolvedSettings(workers=2, precision="FP32", learning_rate=2e-5, max_length=512)


@pytest.mark.parametrize(("precision", "ran"), [("FP32", 0), ("BF16", 1)])
def test_the_stage_is_the_one_that_runs_in_this_precision(precision: str, ran: int) -> None:
    wanted = job(zero__stage=0, training__precision=precision)
    assert settings_of(allowed(wanted, profile())).zero_stage == ran


@pytest.mark.parametrize(
    ("accelerator", "precision"),
    [
        pytest.param({"memory": "80Gi"}, "BF16", id="an accelerator that has it"),
        pytest.param({"memory": "16Gi", "bf16": False}, "FP32", id="one that has not"),
        pytest.param(None, "FP32", id="none"),
    ],
)
def test_the_precision_follows_from_the_accelerator(accelerator: Object | None, precision: str) -> None:
    known = {"accelerator": accelerator} if accelerator else {}
    assert settings_of(allowed(job(), profile(**known))).precision == precision


def test_a_namespace_that_is_not_known_yet_is_not_admitted_by_what_it_lacks() -> None:
    selector = {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["untrusted"]}]}
    choosy = FineTuneProfile.model_validate(profile(namespaceSelector=selector))
    refused = resolve(FineTuneJob.model_validate(job()), choosy, None, SETTINGS)
    assert isinstance(refused, Refused)
    assert "which are not known yet; the job goes on once they are" in refused.message
    assert isinstance(resolve(FineTuneJob.model_validate(job()), choosy, {"tier": "trusted"}, SETTINGS), Resolved)
    for_all = FineTuneProfile.model_validate(profile())
    assert isinstance(resolve(FineTuneJob.model_validate(job()), for_all, None, SETTINGS), Resolved)
    assert plan(profile(namespaceSelector=selector), job()).create is None, "the cache knows no namespace"
