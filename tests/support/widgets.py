"""A kind of which the operator knows nothing: a Widget wants an account of its colour, and says whether it has it.

The jobs own ServiceAccounts, too: two kinds share one informer.
"""

from datetime import datetime
from typing import NamedTuple

from kubetune_operator.machinery.cache import Cache
from kubetune_operator.machinery.entries import Entry, ObjectKey, Watched
from kubetune_operator.machinery.events import Transition
from kubetune_operator.machinery.kinds import POD, SERVICE_ACCOUNT, Kind, Object
from kubetune_operator.machinery.labels import MANAGED, OwnerLabels
from kubetune_operator.machinery.plan import Guard, Plan, Ref
from kubetune_operator.settings import Settings

WIDGET = Kind("tests.dev/v1", "Widget", "widgets")


class Status(NamedTuple):
    says: str = ""

    def to_dict(self) -> Object:
        return {"says": self.says}


class View(NamedTuple):
    namespace: str
    name: str
    uid: str
    resource_version: str
    stored_status: Object
    colour: str | None


Seen = tuple[View, list[Entry]]


class Widgets:
    kind, noun, labels = WIDGET, "widget", OwnerLabels("tests.dev/uid", "tests.dev/widget")
    owns, reads, throttled = (Watched(SERVICE_ACCOUNT, applied=True),), (), frozenset[str]()

    def view(self, obj: Object) -> View:
        fields = ("namespace", "name", "uid", "resourceVersion")
        return View(*(obj["metadata"][field] for field in fields), obj.get("status", {}), obj["spec"].get("colour"))

    def concerns(self, subject: View, entry: Entry) -> bool:
        return False

    def observe(self, cache: Cache, key: ObjectKey) -> Seen | None:
        widget = cache.subject(key)
        return (widget, cache.owned(widget)) if widget else None

    def reconcile(self, seen: Seen, settings: Settings, now: datetime) -> Plan[Status]:
        widget, children = seen
        if widget.colour is None:
            return Plan(Status("bare"), delete=tuple(Ref(SERVICE_ACCOUNT, one.name, one.uid) for one in children))
        if children:
            return Plan(Status(f"has {widget.colour}"))
        labels = MANAGED | {"tests.dev/uid": widget.uid, "tests.dev/widget": widget.name}
        metadata = {"namespace": widget.namespace, "name": f"{widget.name}-painter", "labels": labels}
        metadata["annotations"] = {"tests.dev/colour": widget.colour}
        wanted = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        guard = Guard(POD, f"tests.dev/uid={widget.uid}", "pod {name} still paints")
        return Plan(Status(widget.stored_status.get("says", "waits")), create=wanted, guards=(guard,))

    def refused(self, seen: Seen, error: str, now: datetime) -> Status:
        return Status(f"refused: {error}")

    def record(self, seen: Seen, status: Status) -> None: ...

    def events(self, seen: Seen, status: Status) -> list[Transition]:
        return [Transition((status.says,), "Said", "Say", status.says)]
