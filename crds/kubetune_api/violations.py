"""What a profile forbids in a job, and what it adds to one."""

from kubetune_api.inherited import InheritedMetadata, is_allowed
from kubetune_api.job import FineTuneJob
from kubetune_api.profile import FineTuneProfile, within
from kubetune_api.tables import listed
from kubetune_api.uris import Use, lies_below, uri_fields

Violation = tuple[str, object, str]
"""The field's path, its value, and a sentence with the rule's name."""


def violations(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    """What the profile forbids in the job, wherever it runs."""
    return [
        *_too_much(job, profile),
        *_too_many_parts(job, profile),
        *_too_important(job, profile),
        *_out_of_bounds(job, profile),
        *_signing_for_stores(job, profile),
        *_not_passed_on(job, profile),
    ]


def _too_much(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    name, limits = profile.metadata.name, profile.spec.limits
    found: list[Violation] = []
    for path, asked, most, rule, what in (
        ("spec.resources.workers", job.spec.resources.workers, limits.max_workers, "maxWorkers", "workers"),
        (
            "spec.activeDeadlineSeconds",
            job.spec.active_deadline_seconds,
            limits.max_active_deadline_seconds,
            "maxActiveDeadlineSeconds",
            "seconds",
        ),
    ):
        if most is not None and asked is not None and asked > most:
            sentence = f"profile {name} (limits.{rule}) allows {most} {what} at most; ask for {most} or fewer"
            found.append((path, asked, sentence))
    return found


def _too_many_parts(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    accelerator, workers = profile.spec.accelerator, job.spec.resources.workers
    if accelerator is None or not accelerator.is_part or workers is None or workers == 1:
        return []
    sentence = (
        f"profile {profile.metadata.name} gives each worker a part of a GPU ({accelerator.resource_name}), and NCCL"
        " does not connect two parts of one; ask for 1, or use a profile with whole GPUs"
    )
    return [("spec.resources.workers", workers, sentence)]


def _too_important(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    asked, allowed = job.spec.priority_class_name, profile.spec.allowed_priority_class_names
    if asked is None or asked in allowed:
        return []
    remedy = f"use {listed(allowed, 'or')}, or remove it" if allowed else "remove it"
    sentence = f"profile {profile.metadata.name} (allowedPriorityClassNames) does not allow this priority; {remedy}"
    return [("spec.priorityClassName", asked, sentence)]


def _out_of_bounds(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    read, written = profile.spec.allowed_uri_prefixes, profile.spec.allowed_output_prefixes
    found: list[Violation] = []
    for path, uri, use in uri_fields(job):
        told_apart = use is Use.WRITE and written
        rule, allowed = ("allowedOutputPrefixes", written) if told_apart else ("allowedUriPrefixes", read)
        prefixes = [within(prefix, job.metadata.namespace) for prefix in allowed]
        if prefixes and not any(lies_below(uri, prefix) for prefix in prefixes):
            what = "outputs" if told_apart else "URIs"
            sentence = f"profile {profile.metadata.name} ({rule}) allows only {what} under {', '.join(prefixes)}"
            found.append((path, uri, sentence))
    return found


def _signing_for_stores(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    """Credentials are in every pod of a job; the key that signs is in the one that publishes."""
    signing = profile.spec.signing
    sentence = f"profile {profile.metadata.name} (signing) signs models with this Secret; name another one for a store"
    return [
        (f"spec.credentials[{place}].secretName", one.secret_name, sentence)
        for place, one in enumerate(job.spec.credentials)
        if signing is not None and one.secret_name == signing.secret_name
    ]


def _not_passed_on(job: FineTuneJob, profile: FineTuneProfile) -> list[Violation]:
    asked, allowed = job.spec.inherited_metadata, profile.spec.allowed_inherited_metadata
    found: list[Violation] = []
    for what, keys, may in (
        ("labels", asked.labels, allowed.labels),
        ("annotations", asked.annotations, allowed.annotations),
    ):
        sentence = (
            f"profile {profile.metadata.name} (allowedInheritedMetadata.{what}) allows {', '.join(may) or 'none'};"
            " remove the others"
        )
        refused = [key for key in keys if not is_allowed(key, may)]
        found += [(f"spec.inheritedMetadata.{what}", ", ".join(refused), sentence)] if refused else []
    return found


def inherited(job: FineTuneJob, profile: FineTuneProfile) -> InheritedMetadata:
    """What the objects of a job get beside kubetune's own metadata; the profile's counts before the job's."""
    ours, its = profile.spec.inherited_metadata, job.spec.inherited_metadata
    return InheritedMetadata.model_construct(
        labels={**its.labels, **ours.labels}, annotations={**its.annotations, **ours.annotations}
    )
