"""What an attempt needs besides its own objects: accounts, the rights of its head, the network of its pods. Pure."""

from kubetune_operator.jobs.objects.access import accounts, head_account, reporting
from kubetune_operator.jobs.objects.network import network_policies
from kubetune_operator.jobs.observed import Observed
from kubetune_operator.jobs.resolve import Resolved
from kubetune_operator.jobs.views import RayJobView
from kubetune_operator.machinery.differences import trimmed
from kubetune_operator.machinery.kinds import ROLE_BINDING, Object
from kubetune_operator.settings import Settings


def support(seen: Observed, resolved: Resolved, settings: Settings, account: str) -> tuple[Object, ...]:
    """What an attempt whose head has this account needs besides its own objects."""
    return (
        *accounts(seen.job.namespace),
        *network_policies(seen.job.namespace, resolved.profile, settings),
        *reporting(seen.job, resolved, account),
    )


def support_while_it_runs(
    seen: Observed, ray_job: RayJobView, resolved: Resolved, settings: Settings
) -> tuple[Object, ...]:
    """The same. The head keeps its right to report: its pod has the account that the profile named at the time."""
    wanted = support(seen, resolved, settings, ray_job.head_account or head_account(resolved))
    return tuple(obj for obj in wanted if not (obj["kind"] == ROLE_BINDING.name and _binds_another(seen, obj)))


def _binds_another(seen: Observed, binding: Object) -> bool:
    """Whether somebody made a RoleBinding of its name for another Role: no API server changes what one binds."""
    there = seen.existing.get((ROLE_BINDING.name, binding["metadata"]["name"]))
    return there is not None and there.get("roleRef") != trimmed(binding)["roleRef"]
