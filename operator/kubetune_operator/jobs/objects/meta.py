"""What the metadata of every object has: labels to find it by, and an owner whose end is its own."""

from kubetune_api.violations import inherited
from kubetune_operator.jobs import names
from kubetune_operator.jobs.kinds import FINE_TUNE_JOB
from kubetune_operator.jobs.observed import JobView
from kubetune_operator.jobs.resolve import Resolved
from kubetune_operator.machinery.kinds import Kind, Object
from kubetune_operator.machinery.labels import MANAGED


def with_inherited(obj: Object, resolved: Resolved) -> Object:
    """The object, or the template of a pod, with what profile and job add to its metadata; kubetune's own stays."""
    metadata, added = obj["metadata"], inherited(resolved.job, resolved.profile)
    more = {"labels": {**added.labels, **metadata["labels"]}}
    if annotations := {**added.annotations, **metadata.get("annotations", {})}:
        more["annotations"] = annotations
    return {**obj, "metadata": {**metadata, **more}}


def owned(kind: Kind, job: JobView, name: str, labels: dict[str, str] | None = None) -> Object:
    """An object that belongs to a job and goes with it."""
    owner = {
        "apiVersion": FINE_TUNE_JOB.api_version,
        "kind": FINE_TUNE_JOB.name,
        "name": job.name,
        "uid": job.uid,
        "controller": True,
        # To block a deletion asks for rights on the job's finalizers, which nothing here needs.
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "name": name,
            "namespace": job.namespace,
            "labels": names.labels_of(job.name, job.uid) | (labels or {}),
            "ownerReferences": [owner],
        },
    }


def shared(kind: Kind, namespace: str, name: str) -> Object:
    """An object that the jobs of a namespace share."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": namespace, "labels": dict(MANAGED)},
    }
