"""What a cluster refused, as a sentence that says who can do what about it."""

import json
import re
from dataclasses import dataclass

from kubetune_api.base import GROUP
from kubetune_api.kinds import JOB
from kubetune_cli.jobs import ClusterError, NoSuchJobError, NoSuchPodError, UnreachableError

JOBS = f"{JOB.plural}.{GROUP}"
_FOR_NOW = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Ask:
    """What was asked of the API server, in the words of its access rules."""

    verb: str
    """`get`, `list`, `watch`."""
    resource: str
    """`finetunejobs.kubetune.dev`, `pods`, `pods/log`."""
    namespace: str | None = None
    """None: all namespaces."""
    name: str | None = None

    @property
    def right(self) -> str:
        """The right that it takes."""
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"`{self.verb}` on `{self.resource}` {where}"


def refusal(status: int, body: str, ask: Ask, server: str) -> ClusterError:
    """The error for an answer that is none."""
    message = _message(body)
    if status == 401:
        return ClusterError(
            f"The cluster at {server} does not accept your credentials (401); log in again, or correct the user of the"
            " context."
        )
    if status == 403:
        return ClusterError(_forbidden(message, ask))
    if status == 404:
        return _missing(message, ask, server)
    if status in _FOR_NOW:
        return UnreachableError(f"The cluster at {server} answered {status}: {message}; try again.")
    return ClusterError(f"The cluster at {server} answered {status}: {message}.")


def _forbidden(message: str, ask: Ask) -> str:
    found = re.search(r'User "([^"]*)"', message)
    who = f"user {found[1]}" if found else "your user"
    return (
        f"The cluster forbids it: {who} lacks the permission {ask.right}; ask the cluster's administrators for it,"
        " or choose another context or namespace."
    )


def _missing(message: str, ask: Ask, server: str) -> ClusterError:
    if ask.resource != JOBS:
        return NoSuchPodError(message)
    if "page not found" in message:
        return ClusterError(
            f"The cluster at {server} does not know FineTuneJobs; install kubetune there (its CRDs first),"
            " or choose another context."
        )
    return NoSuchJobError(message)


def _message(body: str) -> str:
    try:
        status = json.loads(body)
    except ValueError:
        return body.strip()[:300] or "nothing"
    return str(status.get("message", "")) if isinstance(status, dict) else body[:300]
