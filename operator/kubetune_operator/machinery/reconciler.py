"""What the machinery asks of a kind: how its objects are seen, what follows from that, and how it is told."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar

from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.entries import ObjectKey, Registration
from kubetune_operator.machinery.events import Transition
from kubetune_operator.machinery.plan import Plan, StatusT
from kubetune_operator.settings import Settings

Seen = TypeVar("Seen")
"""Everything that a decision about one object may look at."""


class Reconciler(Registration, Protocol[Seen, StatusT]):
    """A kind of our own: everything about it that the machinery does not know."""

    @property
    def noun(self) -> str:
        """What a line of the log calls one of them: `job`."""

    @property
    def throttled(self) -> frozenset[str]:
        """The fields of a status that change all the time, and are written now and then."""

    def observe(self, cache: Cache, key: ObjectKey) -> Seen | None:
        """All that a decision may look at; None if there is no such object."""

    def reconcile(self, seen: Seen, settings: Settings, now: datetime) -> Plan[StatusT]:
        """What should be there now. Pure."""

    def refused(self, seen: Seen, error: str, now: datetime) -> StatusT:
        """The status that says that the API server refuses what a plan wants to create."""

    def record(self, seen: Seen, status: StatusT) -> None:
        """Counts and logs that this status was written."""

    def events(self, seen: Seen, status: StatusT) -> Iterable[Transition]:
        """What has become of the object by this status, which was written."""
