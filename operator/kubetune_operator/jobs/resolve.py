"""A job and its profile give what really runs, or the rule that forbids it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kubetune_api.job import Credentials, FineTuneJob, queue_label_error
from kubetune_api.profile import FineTuneProfile, profile_name, within
from kubetune_api.reasons import Reason
from kubetune_api.resolved_settings import ResolvedSettings
from kubetune_api.schemes import REMOTE, WRITABLE, scheme_of, scheme_texts
from kubetune_api.selector import LabelSelector
from kubetune_api.tables import listed
from kubetune_api.uris import Use, lies_below, uri_fields
from kubetune_api.violations import Violation, violations
from kubetune_operator.jobs.memory import planned
from kubetune_operator.settings import Settings
from kubetune_planner.states import precision_that_runs, stage_that_runs


@dataclass(frozen=True)
class Resolved:
    """What an attempt runs."""

    job: FineTuneJob
    """With what was left open filled in, but for the method: see `filled_in`."""
    profile: FineTuneProfile
    image: str
    workers: int
    deadline: int | None
    """The longest that the attempts may run, in seconds."""
    credentials: tuple[Credentials, ...]
    """Those of the job, then those of the profile."""
    avoided_nodes: tuple[str, ...] = ()
    """The nodes that no pod of the attempt goes to."""


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
    job = filled_in(job)
    if not_admitted := _why_not_admitted(job, profile, namespace_labels):
        return Refused(Reason.PROFILE_FORBIDS, not_admitted)
    forbidden = [*violations(job, profile), *_without_a_queue(job, profile)]
    if errors := [*forbidden, *_on_the_pods_disk(job)]:
        reason = Reason.PROFILE_FORBIDS if forbidden else Reason.INVALID_MANIFEST
        return Refused(reason, "; ".join(f"{path}: {sentence}" for path, _, sentence in errors))
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
    """The same with the ZeRO stage and the micro-batch that fit, and the precision of the plan; or why none does. Costs
    milliseconds: an attempt that runs needs it no more."""
    fitting = planned(resolved.job, resolved.profile, resolved.workers)
    if isinstance(fitting, str):
        return Refused(Reason.DOES_NOT_FIT, fitting)
    return replace(resolved, job=fitting)


def settings_of(resolved: Resolved) -> ResolvedSettings:
    """What is known before the attempt begins; its trainer reports the rest."""
    spec, accelerator = resolved.job.spec, resolved.profile.spec.accelerator
    has_bf16 = accelerator is not None and accelerator.bf16
    stage, precision = spec.zero.stage, precision_that_runs(spec.training.precision, has_bf16=has_bf16)
    return ResolvedSettings(
        workers=resolved.workers,
        zero_stage=None if stage is None else stage_that_runs(precision, stage),
        precision=precision,
        micro_batch_size=spec.training.micro_batch_size,
        learning_rate=spec.training.learning_rate,
        max_length=spec.task.max_length,
    )


def filled_in(job: FineTuneJob) -> FineTuneJob:
    """The job with every default but those of its method, which are the adapter's where `model.uri` names one: only the
    trainer reads that, and it could not tell a default from what the author asks for."""
    spec = job.spec.resolved.model_copy(update={"method": job.spec.method})
    return job.model_copy(update={"spec": spec})


def _why_not_admitted(
    job: FineTuneJob, profile: FineTuneProfile, namespace_labels: Mapping[str, str] | None
) -> str | None:
    name, namespace = profile.metadata.name, job.metadata.namespace
    if namespace_labels is None and profile.spec.namespace_selector != LabelSelector():
        return (
            f"profile {name} (namespaceSelector) asks for labels of the namespace {namespace}, which are not known yet;"
            " the job goes on once they are"
        )
    if unmet := profile.spec.namespace_selector.unmet(namespace_labels or {}):
        return (
            f"profile {name} (namespaceSelector) does not admit the namespace {namespace}, of which"
            f" {listed(map(str, unmet))}; use another profile, or ask the platform team for access"
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


def _without_a_queue(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    """What a profile forbids only in a cluster: a local run has no queue."""
    if not profile.spec.requires_queue or job.spec.queue_name is not None:
        return []
    sentence = f"profile {profile.metadata.name} (requiresQueue) requires a queue; name a Kueue LocalQueue"
    return [("spec.queueName", None, sentence)]


def _on_the_pods_disk(job: FineTuneJob) -> list[Violation]:
    """What is right in a local run alone, whatever the profile says."""
    found = list[Violation]()
    for path, uri, use in uri_fields(job):
        if scheme_of(uri) not in REMOTE:
            others = tuple(scheme for scheme in REMOTE if use is Use.READ or scheme in WRITABLE)
            sentence = f"in a cluster, file:// is the pod's own disk, which is empty; use {scheme_texts(others)}"
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
