"""What the operator knows of the cluster: the objects of its own kinds, what belongs to them, and what they may use.

It is filled by what is heard and by the answers to our own writes, whichever is newer, so that a decision never waits
for the echo of the one before.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from typing import Any

from kubetune_operator.machinery.differences import trimmed
from kubetune_operator.machinery.entries import UNREAD, Entry, ObjectKey, Owner, Registration, Subject, Watched
from kubetune_operator.machinery.kinds import Object
from kubetune_operator.machinery.questions import Answers

_MOST_LINGERING = 16
"""Of one owner. A replica that does not lead looks at nothing, and so lets nothing go."""


class Cache:
    """The cluster, as last heard of."""

    def __init__(self, kinds: Iterable[Registration]) -> None:
        self._kinds = {registration.kind.name: registration for registration in kinds}
        self._watched = _table(self._kinds.values())
        self._subjects: dict[ObjectKey, Any] = {}
        """The objects that are reconciled, as their kinds view them."""
        self._entries: dict[str, Entry] = {}
        """Everything else, by UID."""
        self._owned: dict[str, dict[str, Entry]] = defaultdict(dict)
        """What belongs to a subject, by the UIDs of both."""
        self._lingering: dict[str, dict[str, Entry]] = defaultdict(dict)
        """What belonged to a subject and is no more, and at which nobody has looked since; by the UIDs of both."""
        self._shared: dict[str, dict[tuple[str, str], Entry]] = defaultdict(dict)
        """What belongs to none, by namespace, then by kind and name."""
        self.answers = Answers[ObjectKey](self._subjects.__contains__)
        """What was asked for a subject, as no watch tells it."""

    def put(self, obj: Object) -> Set[ObjectKey]:
        """Takes in an object; returns the subjects that it matters to."""
        touched = set[ObjectKey]()
        if obj["kind"] in self._kinds:
            touched |= self._put_subject(obj)
        if obj["kind"] in self._watched:
            touched |= self._put_entry(obj)
        return touched

    def gone(self, obj: Object) -> Set[ObjectKey]:
        """Forgets an object; returns the subjects that it mattered to."""
        metadata, touched = obj["metadata"], set[ObjectKey]()
        if obj["kind"] in self._kinds:
            touched |= self.forget(_key(obj), metadata["uid"])
        return touched | self._lose(metadata["uid"])

    def on_list(self, kind: str, uids: Set[str], version: int) -> Set[ObjectKey]:
        """Forgets what a list of all objects of the kind does not have; returns the subjects that it mattered to.

        Of an object that came and went while the watch was cut, the answer to our own write is all that is ever heard.
        """
        lost = [
            uid
            for uid, entry in self._entries.items()
            if entry.kind == kind and entry.version <= version and uid not in uids
        ]
        return {key for uid in lost for key in self._lose(uid)}

    def on_subjects(self, kind: str, uids: Set[str], version: int) -> None:
        """Forgets what a list of all subjects of the kind does not have, and what has the label of none of them: any
        tenant may give an object the label of a subject that never was."""
        for subject in self.subjects(kind):
            if subject.uid not in uids and int(subject.resource_version) <= version:
                self.forget(ObjectKey(kind, subject.namespace, subject.name), subject.uid)
        owned = [(entry, entry.owner) for entry in self._entries.values() if entry.owner is not None]
        for entry, owner in owned:
            # No subject is younger than what belongs to it.
            if owner.key.kind == kind and owner.uid not in uids and entry.version <= version:
                self._drop(entry.uid)

    def forget(self, key: ObjectKey, uid: str) -> Set[ObjectKey]:
        """Forgets a subject; another one may have its name by now."""
        subject = self._subjects.get(key)
        if subject is None or subject.uid != uid:
            return set()
        del self._subjects[key]
        self._lingering.pop(uid, None)
        self.answers.forget(key)
        return {key}

    def all_keys(self) -> list[ObjectKey]:
        """Every subject's name."""
        return list(self._subjects)

    def subject(self, key: ObjectKey) -> Any:
        """The subject as its kind views it; None if there is none of that name."""
        return self._subjects.get(key)

    def subjects(self, kind: str) -> Iterator[Any]:
        """Every subject of a kind."""
        # Copied in one step: metrics are counted in another thread.
        return iter([subject for key, subject in list(self._subjects.items()) if key.kind == kind])

    def owned(self, subject: Subject) -> list[Entry]:
        """What belongs to a subject. A label is anyone's to set: what lies in another namespace is not its own."""
        entries = [*self._owned.get(subject.uid, {}).values(), *self.lingering(subject)]
        return [entry for entry in entries if entry.namespace == subject.namespace]

    def lingering(self, subject: Subject) -> tuple[Entry, ...]:
        """What is among `owned` although it is no more, because nobody has looked since."""
        return tuple(self._lingering.get(subject.uid, {}).values())

    def let_go(self, subject: Subject, entries: Iterable[Entry]) -> bool:
        """Forgets those of the lingering ones; whether there were any."""
        known = self._lingering.get(subject.uid, {})
        gone = [known.pop(entry.uid, None) for entry in entries]
        if not known:
            self._lingering.pop(subject.uid, None)
        return any(gone)

    def shared(self, namespace: str) -> list[Entry]:
        """What the subjects of a namespace share."""
        return list(self._shared.get(namespace, {}).values())

    def find(self, kind: str, namespace: str, name: str, owner_uid: str | None = None) -> Entry | None:
        """The object of that name, among those of an owner or among the shared ones."""
        if owner_uid is None:
            return self._shared.get(namespace, {}).get((kind, name))
        wanted = (kind, namespace, name)
        among = self._owned.get(owner_uid, {}).values()
        return next((entry for entry in among if (entry.kind, entry.namespace, entry.name) == wanted), None)

    def _put_subject(self, obj: Object) -> Set[ObjectKey]:
        key, metadata = _key(obj), obj["metadata"]
        before = self._subjects.get(key)
        # One of the same name that was made anew has a higher version too.
        if before is not None and int(before.resource_version) >= int(metadata["resourceVersion"]):
            return set()
        self._subjects[key] = self._kinds[key.kind].view(obj)
        return {key}

    def _put_entry(self, obj: Object) -> Set[ObjectKey]:
        before, owner = self._entries.get(obj["metadata"]["uid"]), self._owner(obj)
        if before is not None and before.version >= int(obj["metadata"]["resourceVersion"]):
            return set()
        if owner is None and not self._is_shared(obj["kind"], obj["metadata"]["name"]):
            return self._drop(obj["metadata"]["uid"])
        entry = self._entry(obj, owner)
        # Its labels may have changed, and so whose it is.
        touched = self._drop(entry.uid) if before and before.owner != entry.owner else set()
        self._entries[entry.uid] = entry
        if entry.owner is None:
            self._shared[entry.namespace][entry.kind, entry.name] = entry
            # Nothing else follows from it than before.
            if before and (before.owner, before.view, before.object) == (None, entry.view, entry.object):
                return set()
        else:
            self._owned[entry.owner.uid][entry.uid] = entry
        return touched | self._touched_by(entry)

    def _entry(self, obj: Object, owner: Owner | None) -> Entry:
        metadata, watched = obj["metadata"], self._watched[obj["kind"]]
        return Entry(
            kind=obj["kind"],
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata["uid"],
            version=int(metadata["resourceVersion"]),
            owner=owner,
            view=self._view(watched, obj, owner),
            object=trimmed(obj) if watched.applied else None,
        )

    def _view(self, watched: Watched, obj: Object, owner: Owner | None) -> Any:
        if watched.view is None:
            return None
        subject = self._subjects.get(owner.key) if owner and watched.large else None
        known = subject is not None and owner is not None and subject.uid == owner.uid
        return watched.view(obj) if known or not watched.large else UNREAD

    def _owner(self, obj: Object) -> Owner | None:
        metadata = obj["metadata"]
        labels = metadata.get("labels") or {}
        for registration in self._kinds.values():
            uid = labels.get(registration.labels.uid)
            if uid is not None and any(watched.kind.name == obj["kind"] for watched in registration.owns):
                name = labels.get(registration.labels.name, "")
                return Owner(ObjectKey(registration.kind.name, metadata.get("namespace", ""), name), uid)
        return None

    def _is_shared(self, kind: str, name: str) -> bool:
        watched = (one for each in self._kinds.values() for one in (*each.owns, *each.reads))
        return any(one.kind.name == kind and one.shared(name) for one in watched)

    def _lose(self, uid: str) -> Set[ObjectKey]:
        """Forgets an object that is no more. A pod that failed is often deleted before its owner was looked at."""
        entry = self._entries.get(uid)
        if entry is not None and entry.owner is not None and self._watched[entry.kind].lingers(entry.view):
            subject = self._subjects.get(entry.owner.key)
            if subject is not None and subject.uid == entry.owner.uid:
                known = self._lingering[subject.uid]
                known[uid] = entry
                while len(known) > _MOST_LINGERING:
                    del known[next(iter(known))]
        return self._drop(uid)

    def _drop(self, uid: str) -> Set[ObjectKey]:
        entry = self._entries.pop(uid, None)
        if entry is None:
            return set()
        if entry.owner is not None:
            _remove(self._owned, entry.owner.uid, uid)
        elif self.find(entry.kind, entry.namespace, entry.name) is entry:
            _remove(self._shared, entry.namespace, (entry.kind, entry.name))
        return self._touched_by(entry)

    def _touched_by(self, entry: Entry) -> Set[ObjectKey]:
        if entry.owner is not None:
            return {entry.owner.key}
        return {key for key, subject in self._subjects.items() if self._kinds[key.kind].concerns(subject, entry)}


def _table(kinds: Iterable[Registration]) -> dict[str, Watched]:
    """How the objects of each kind are kept, whoever watches them."""
    table: dict[str, Watched] = {}
    for watched in (watched for registration in kinds for watched in (*registration.owns, *registration.reads)):
        known = table.setdefault(watched.kind.name, watched)
        assert known == watched, f"two kinds keep {watched.kind.plural} in two ways"
    return table


def _remove(among: dict[str, dict[Any, Entry]], key: str, name: object) -> None:
    below = among.get(key, {})
    below.pop(name, None)
    if not below:
        among.pop(key, None)


def _key(obj: Object) -> ObjectKey:
    metadata = obj["metadata"]
    return ObjectKey(obj["kind"], metadata.get("namespace", ""), metadata["name"])
