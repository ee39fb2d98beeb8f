"""The RayJob of an attempt.

It is created once and never applied again: Kueue writes into it. Everything in KubeRay that would try again by itself
is off, so that an attempt of ours is one start of the trainer.
"""

import hashlib

from kubetune_api.profile import FineTuneProfileSpec
from kubetune_operator.jobs import names
from kubetune_operator.jobs.kinds import RAY_JOB
from kubetune_operator.jobs.objects.meta import owned, with_inherited
from kubetune_operator.jobs.objects.pods import head_pod, submitter_pod, worker_pod
from kubetune_operator.jobs.objects.run import RUN_FOLDER, RUN_KEY, run_text
from kubetune_operator.jobs.objects.shared_memory import object_store
from kubetune_operator.jobs.observed import JobView
from kubetune_operator.jobs.resolve import Resolved
from kubetune_operator.machinery.kinds import Object

RAY_VERSION = "2.60.0"
"""The Ray of the trainer's image; KubeRay chooses its probes by it."""
KEPT_SECONDS = 60
"""How long the pods of an ended run stay, for their logs."""


def ray_job(job: JobView, resolved: Resolved, attempt: int) -> Object:
    """With a queue it is created suspended, so that no quota is passed by where Kueue's webhook is not there."""
    spec = resolved.job.spec
    labels = {names.ATTEMPT: str(attempt), names.PROFILE: resolved.profile.metadata.name}
    if spec.queue_name:
        labels[names.QUEUE] = spec.queue_name
    if spec.priority_class_name:
        labels[names.PRIORITY_CLASS] = spec.priority_class_name
    digest = hashlib.sha256(run_text(job, resolved, attempt).encode()).hexdigest()
    obj = owned(RAY_JOB, job, names.ray_job(job.name, job.uid, attempt), labels)
    obj["metadata"]["annotations"] = {
        "ray.io/disable-provisioned-head-restart": "true",
        names.PROFILE_DIGEST: resolved.profile.digest,
    }
    obj["spec"] = {
        "submissionMode": "K8sJobMode",
        # An immutable ConfigMap can still be deleted and made anew: the driver holds what it reads against the digest.
        "entrypoint": f"python -m kubetune_trainer {RUN_FOLDER}/{RUN_KEY} --sha256 {digest}",
        "suspend": bool(spec.queue_name),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "backoffLimit": 0,
        "submitterConfig": {"backoffLimit": 0},
        "submitterPodTemplate": submitter_pod(job, resolved, attempt),
        "rayClusterSpec": _cluster(job, resolved, attempt),
    }
    return with_inherited(obj, resolved)


def _cluster(job: JobView, resolved: Resolved, attempt: int) -> Object:
    profile = resolved.profile.spec
    groups = pod_groups(resolved.workers, profile.workers_per_pod)
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": False,
        # No worker lands on the head: the driver alone runs there.
        "headGroupSpec": {"rayStartParams": _start(profile), "template": head_pod(job, resolved, attempt)},
        "workerGroupSpecs": [
            {
                "groupName": name,
                "replicas": pods,
                "minReplicas": pods,
                "maxReplicas": pods,
                "rayStartParams": _start(profile, workers),
                "template": worker_pod(job, resolved, attempt, workers),
            }
            for name, pods, workers in groups
        ],
    }


def _start(profile: FineTuneProfileSpec, workers: int = 0) -> dict[str, str]:
    """What Ray is started with: a slot for each worker, whatever the cores, and a GPU, whatever its resource's name."""
    gpus = {"num-gpus": str(workers)} if profile.accelerator else {}
    return {"num-cpus": str(workers), **gpus, "object-store-memory": str(object_store(profile, workers))}


def pod_groups(workers: int, per_pod: int) -> list[tuple[str, int, int]]:
    """Name, pods and workers of each pod, of the groups that hold all workers: full pods, then one with the rest."""
    full, rest = divmod(workers, per_pod)
    return [group for group in (("workers", full, per_pod), ("rest", 1 if rest else 0, rest)) if group[1]]
