"""The names of everything that the operator makes, and the labels by which it finds it again.

KubeRay takes RayJob names of up to 47 characters, so a job's name has 37 at most: `-<uid5>-<attempt>` needs the rest.
The part of the UID keeps a job apart from an earlier one of the same name. From attempt 1000 on, the longest names of
jobs are cut.
"""

from kubetune_api.base import GROUP
from kubetune_api.labels import ATTEMPT as ATTEMPT
from kubetune_api.labels import JOB as JOB
from kubetune_api.labels import JOB_UID as JOB_UID
from kubetune_api.labels import ROLE as ROLE
from kubetune_operator.machinery.labels import MANAGED

PROFILE = f"{GROUP}/profile"
PROFILE_DIGEST = f"{GROUP}/profile-digest"
"""An annotation of a RayJob: what its profile said when it was made."""
WORKERS = f"{GROUP}/workers"
"""How many workers a pod holds."""
QUEUE = "kueue.x-k8s.io/queue-name"
PRIORITY_CLASS = "kueue.x-k8s.io/priority-class"

SIGNING_VOLUME = "signing"
"""The volume of the head with the key that signs."""

HEAD_ACCOUNT = "kubetune-head"
"""The ServiceAccount of the heads in a namespace; each job's Role lets it report to that job's ConfigMap."""
WORKER_ACCOUNT = "kubetune-worker"
"""The ServiceAccount of the workers and submitters in a namespace, which has no right at all."""
_LONGEST_RAY_JOB = 47


def stem(job: str, uid: str) -> str:
    """What the names of a job's objects begin with."""
    return f"{job}-{_short(uid)}"


def ray_job(job: str, uid: str, attempt: int) -> str:
    """The RayJob of an attempt; the ConfigMap with its resolved run has the same name."""
    ending = f"-{_short(uid)}-{attempt}"
    return job[: _LONGEST_RAY_JOB - len(ending)].rstrip("-") + ending


def reports(job: str, uid: str) -> str:
    """The ConfigMap that a job's heads report to, and the Role and RoleBinding that let them."""
    return f"{stem(job, uid)}-report"


def network_policy(profile: str, what: str) -> str:
    """The NetworkPolicy of a namespace for the pods of a profile."""
    return f"kubetune-{profile}-{what}"


def is_shared_account(name: str) -> bool:
    """Whether a ServiceAccount of this name is one that the jobs of a namespace share."""
    return name in (HEAD_ACCOUNT, WORKER_ACCOUNT)


def is_network_policy(name: str) -> bool:
    """Whether a NetworkPolicy of this name may be one of `network_policy`."""
    return name.startswith("kubetune-") and name.endswith(("-pods", "-head"))


def labels_of(job: str, uid: str) -> dict[str, str]:
    """The labels of an object that one job owns."""
    return {**MANAGED, JOB: job, JOB_UID: uid}


def _short(uid: str) -> str:
    return uid.replace("-", "")[:5]
