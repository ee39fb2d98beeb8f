"""Who may do what in a job's namespace: the heads report to one ConfigMap each, and nobody else may do anything."""

from kubetune_operator.jobs import names
from kubetune_operator.jobs.objects.meta import owned, shared, with_inherited
from kubetune_operator.jobs.observed import JobView
from kubetune_operator.jobs.resolve import Resolved
from kubetune_operator.machinery.kinds import CONFIG_MAP, ROLE, ROLE_BINDING, SERVICE_ACCOUNT, Object

_RBAC = "rbac.authorization.k8s.io"


def accounts(namespace: str) -> list[Object]:
    """The ServiceAccounts of a namespace. A pod that needs a token says so itself."""
    return [
        {**shared(SERVICE_ACCOUNT, namespace, name), "automountServiceAccountToken": False}
        for name in (names.HEAD_ACCOUNT, names.WORKER_ACCOUNT)
    ]


def head_account(resolved: Resolved) -> str:
    """The ServiceAccount of the head."""
    return resolved.profile.spec.service_account_name or names.HEAD_ACCOUNT


def worker_account(resolved: Resolved) -> str:
    """The ServiceAccount of workers and submitter."""
    return resolved.profile.spec.service_account_name or names.WORKER_ACCOUNT


def reporting(job: JobView, resolved: Resolved, account: str) -> list[Object]:
    """The ConfigMap that the job's heads report to, and their right to do so, which have this account.

    The ConfigMap is named without data: that belongs to the head, and no later apply may take it away.
    """
    name = names.reports(job.name, job.uid)
    role = {
        **with_inherited(owned(ROLE, job, name), resolved),
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get", "patch"]}],
    }
    binding = {
        **with_inherited(owned(ROLE_BINDING, job, name), resolved),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": job.namespace}],
    }
    return [with_inherited(owned(CONFIG_MAP, job, name), resolved), role, binding]
