"""`FineTuneProfile`: what the platform team lets a job use. Cluster-scoped."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from kubetune_api.base import ApiModel, Rule, Uri
from kubetune_api.job import FineTuneJob, ObjectMeta
from kubetune_api.uris import lies_below


class Limits(ApiModel):
    """Ceilings for one job."""

    max_workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """The most workers that a job may ask for. Unset: no ceiling."""


class FineTuneProfileSpec(ApiModel):
    """What a job of this profile may use."""

    description: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """What the profile is for, as its users would say it."""
    allowed_uri_prefixes: Annotated[list[Uri], Field(max_length=64)] = Field([])
    """Where a job's model, datasets and output may lie: each URI is one of these or lies below one, after a `/`, so
    that `s3://team-a` (the same as `s3://team-a/`) admits `s3://team-a/x` and not `s3://team-b` or `s3://team-a-old`.
    `s3://` is all of S3. Empty: anything."""
    limits: Limits = Limits()
    """Ceilings for one job."""

    rules: ClassVar[tuple[Rule, ...]] = ()


class FineTuneProfile(ApiModel):
    """The platform team's answer to "which hardware, and what may it touch"."""

    api_version: Literal["kubetune.dev/v1alpha1"]
    """The version of the API."""
    kind: Literal["FineTuneProfile"]
    """The kind of the object."""
    metadata: ObjectMeta
    """The object's name, labels and annotations."""
    spec: FineTuneProfileSpec
    """What a job of this profile may use."""


def violations(job: FineTuneJob, profile: FineTuneProfile) -> list[tuple[str, object, str]]:
    """What the profile forbids in the job: the field's path, its value, and a sentence with the rule's name."""
    name = profile.metadata.name
    found: list[tuple[str, object, str]] = []
    most = profile.spec.limits.max_workers
    workers = job.spec.resources.workers
    if most is not None and workers is not None and workers > most:
        found.append(
            (
                "spec.resources.workers",
                workers,
                f"profile {name} (limits.maxWorkers) allows {most} workers at most; ask for {most} or fewer",
            )
        )
    prefixes = profile.spec.allowed_uri_prefixes
    for path, uri in job.uris():
        if prefixes and not any(lies_below(uri, prefix) for prefix in prefixes):
            found.append(
                (path, uri, f"profile {name} (allowedUriPrefixes) allows only URIs under {', '.join(prefixes)}")
            )
    return found
