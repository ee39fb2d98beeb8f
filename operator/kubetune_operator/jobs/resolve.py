"""A job and its profile give what really runs, or the rule that forbids it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kubetune_api.job import Credentials, FineTuneJob, queue_label_error
from kubetune_api.profile import FineTuneProfile, Violation, profile_name, violations, within
from kubetune_api.reasons import Reason
from kubetune_api.schemes import REMOTE, WRITABLE, scheme_of, scheme_texts
from kubetune_api.selector import LabelSelector
from kubetune_api.status import ResolvedSettings
from kubetune_api.uris import Use, lies_below, uri_fields
from kubetune_operator.jobs.memory import planned
from kubetune_operator.settings import Settings
from kubetune_planner.states import stage_that_runs


@dataclass(frozen=True)
class Resolved:
    """What an attempt runs."""

    job: FineTuneJob
    """With what was left open filled in."""
    profile: FineTuneProfile
    image: str
    workers: int
    deadline: int | None
    """The longest that the attempts may run, in seconds."""
    credentials: tuple[Credentials, ...]
    """Those of the job, then those of the profile."""


@dataclass(frozen=True)
class Refused:
    """Why a job may not run."""

    reason: str
    message: str


def resolve(
    job: FineTuneJob,
    profile: FineTuneProfile | None,
    namespace_labels: Mapping[str, str] | None,
    settings: Settings,
    profile_error: str = "",
    queue_label: str | None = None,
) -> Resolved | Refused:
    """What the job runs with, or all that its profile forbids. `queue_label` is the queue that Kueue's label names."""
    if mislabelled := queue_label_error(queue_label, job.spec.queue_name):
        return Refused(Reason.INVALID_MANIFEST, mislabelled)
    if profile is None:
        return _without_profile(job, profile_error)
    job = job.resolved
    if not_admitted := _why_not_admitted(job, profile, namespace_labels):
        return Refused(Reason.PROFILE_FORBIDS, not_admitted)
    forbidden = [*violations(job, profile), *_in_a_cluster(job, profile)]
    if forbidden:
        return Refused(Reason.PROFILE_FORBIDS, "; ".join(f"{path}: {sentence}" for path, _, sentence in forbidden))
    image = profile.spec.image or settings.trainer_image
    if not image:
        return Refused(
            Reason.PROFILE_FORBIDS,
            f"profile {profile.metadata.name} names no image, and the operator was given none; the platform team sets"
            " the profile's spec.image",
        )
    return Resolved(
        job=job,
        profile=profile,
        image=image,
        workers=job.spec.resources.workers or 1,
        deadline=job.spec.active_deadline_seconds or profile.spec.limits.max_active_deadline_seconds,
        credentials=(*job.spec.credentials, *_defaults(job, profile)),
    )


def fitted(resolved: Resolved) -> Resolved | Refused:
    """The same with the ZeRO stage and the micro-batch that fit, or why none does. Costs milliseconds: an attempt that
    runs needs it no more."""
    fitting = planned(resolved.job, resolved.profile, resolved.workers)
    if isinstance(fitting, str):
        return Refused(Reason.DOES_NOT_FIT, fitting)
    return replace(resolved, job=fitting)


def settings_of(resolved: Resolved) -> ResolvedSettings:
    """What is known before the attempt begins; its trainer reports the rest."""
    spec, accelerator = resolved.job.spec, resolved.profile.spec.accelerator
    stage, precision = spec.zero.stage, spec.training.precision
    if precision == "Auto":
        precision = "BF16" if accelerator is not None and accelerator.bf16 else "FP32"
    return ResolvedSettings(
        workers=resolved.workers,
        zero_stage=None if stage is None else stage_that_runs(precision, stage),
        precision=precision,
        micro_batch_size=spec.training.micro_batch_size,
        learning_rate=spec.training.learning_rate,
        max_length=spec.task.max_length,
    )


def _why_not_admitted(
    job: FineTuneJob, profile: FineTuneProfile, namespace_labels: Mapping[str, str] | None
) -> str | None:
    name, namespace = profile.metadata.name, job.metadata.namespace
    if namespace_labels is None and profile.spec.namespace_selector != LabelSelector():
        return (
            f"profile {name} (namespaceSelector) asks for labels of the namespace {namespace}, which are not known yet;"
            " the job goes on once they are"
        )
    if not profile.admits(namespace_labels or {}):
        return (
            f"profile {name} (namespaceSelector) does not admit the namespace {namespace}; use another profile, or ask"
            " the platform team for access"
        )
    return None


def _without_profile(job: FineTuneJob, error: str) -> Refused:
    name = profile_name(job)
    if error:
        return Refused(
            Reason.PROFILE_FORBIDS, f"profile {name} cannot be read: {error}; the platform team must correct it"
        )
    how = "spec.profileRef names it" if job.spec.profile_ref.name else "a job without a profile needs it"
    return Refused(
        Reason.PROFILE_NOT_FOUND,
        f"there is no FineTuneProfile {name}, and {how}; `kubectl get finetuneprofiles` lists the existing ones",
    )


def _in_a_cluster(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    """What a profile forbids only there: a local run has no queue, and `file://` is its own disk."""
    name, found = profile.metadata.name, list[Violation]()
    if profile.spec.requires_queue and job.spec.queue_name is None:
        found.append(
            ("spec.queueName", None, f"profile {name} (requiresQueue) requires a queue; name a Kueue LocalQueue")
        )
    for path, uri, use in uri_fields(job):
        if scheme_of(uri) not in REMOTE:
            others = tuple(scheme for scheme in REMOTE if use is Use.READ or scheme in WRITABLE)
            sentence = f"file:// is the pod's own disk, which is empty; use {scheme_texts(others)}"
            found.append((path, uri, sentence))
    return found


def _defaults(job: FineTuneJob, profile: FineTuneProfile) -> list[Credentials]:
    """Those of the profile that none of the job's covers: the trainer takes the longest prefix that fits."""
    namespace = job.metadata.namespace
    ours = [
        credentials.model_copy(update={"prefix": within(credentials.prefix, namespace)})
        for credentials in profile.spec.credentials
    ]
    return [
        credentials
        for credentials in ours
        if not any(lies_below(credentials.prefix, own.prefix) for own in job.spec.credentials)
    ]
