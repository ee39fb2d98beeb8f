"""The kinds beyond Kubernetes' own that a FineTuneJob has to do with."""

from kubetune_api.base import API_VERSION
from kubetune_api.kinds import JOB, PROFILE, KindRow
from kubetune_operator.machinery.kinds import Kind


def _ours(row: KindRow) -> Kind:
    return Kind(API_VERSION, row.name, row.plural, namespaced=row.scope == "Namespaced")


FINE_TUNE_JOB, FINE_TUNE_PROFILE = _ours(JOB), _ours(PROFILE)
RAY_JOB = Kind("ray.io/v1", "RayJob", "rayjobs")
RAY_CLUSTER = Kind("ray.io/v1", "RayCluster", "rayclusters")
WORKLOADS = tuple(Kind(f"kueue.x-k8s.io/{version}", "Workload", "workloads") for version in ("v1beta2", "v1beta1"))
"""What Kueue makes of a RayJob, in the versions of its API; a cluster has one of them, or both."""
