"""The kinds of this API: one row for each, as the API server, kubectl and the operator know it."""

from dataclasses import dataclass
from typing import Literal

from kubetune_api.job import FineTuneJob
from kubetune_api.profile import FineTuneProfile


@dataclass(frozen=True)
class KindRow:
    """One kind."""

    model: type[FineTuneJob] | type[FineTuneProfile]
    plural: str
    short: str
    """What people type for it."""
    scope: Literal["Namespaced", "Cluster"]
    categories: tuple[str, ...] = ("kubetune",)
    """What `kubectl get` lists it under. Never `all`: `kubectl delete all --all` would take it along."""

    @property
    def name(self) -> str:
        """`FineTuneJob`."""
        return self.model.__name__

    @property
    def file(self) -> str:
        """The name of the file that holds its definition."""
        return f"{self.plural}.yaml"


KINDS: dict[str, KindRow] = {
    kind.name: kind
    for kind in (
        KindRow(FineTuneJob, "finetunejobs", "ftj", "Namespaced"),
        KindRow(FineTuneProfile, "finetuneprofiles", "ftp", "Cluster"),
    )
}
"""By name."""
JOB, PROFILE = KINDS[FineTuneJob.__name__], KINDS[FineTuneProfile.__name__]
