"""How objects are kept: what a kind of our own says of it, and what the cache gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kubetune_operator.machinery.kinds import Kind, Object
from kubetune_operator.machinery.labels import OwnerLabels


class ObjectKey(NamedTuple):
    """Names an object of a kind that is reconciled."""

    kind: str
    namespace: str
    name: str


class Owner(NamedTuple):
    """Whose an object is, as its labels say it."""

    key: ObjectKey
    uid: str


class Subject(Protocol):
    """What the machinery wants to know of an object that is reconciled."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def uid(self) -> str:
        """Its UID."""

    @property
    def resource_version(self) -> str:
        """Its version."""

    @property
    def stored_status(self) -> Object:
        """Its status as the API server has it, from which a change is made."""


def all_are(_: str) -> bool:
    """Objects of any name are shared."""
    return True


def none_are(_: str) -> bool:
    """No object is shared."""
    return False


def nothing_lingers(_: Any) -> bool:
    """What is no more does not count."""
    return False


UNREAD = object()
"""In the place of the view of an object that was heard of before its owner."""


@dataclass(frozen=True)
class Watched:
    """Objects that decisions look at."""

    kind: Kind
    view: Callable[[Object], Any] | None = None
    """What is kept of an object for decisions, made when it is heard of. The same for all that watch the kind."""
    large: bool = False
    """Whether a view may be large. Then it is made of objects of known owners alone, and else `UNREAD`: anybody may
    label many as those of an owner that does not exist."""
    applied: bool = False
    """Whether plans apply such objects: then enough is kept to tell whether one is as wanted."""
    shared: Callable[[str], bool] = field(default=none_are, compare=False)
    """Whether an object of this name that belongs to none is shared by all of its namespace, or of the cluster. Any
    other one is foreign, whatever labels a tenant gave it, and ignored."""
    lingers: Callable[[Any], bool] = field(default=nothing_lingers, compare=False)
    """Whether an object that is no more, by its view, counts in the next look at its owner all the same: it may be all
    that tells why something ended."""


@dataclass(frozen=True)
class Entry:
    """An object as it was last heard of."""

    kind: str
    namespace: str
    """Empty where the kind has none."""
    name: str
    uid: str
    version: int
    owner: Owner | None
    """None: all of its namespace share it."""
    view: Any
    """What its kind's `Watched.view` made of it."""
    object: Object | None
    """The trimmed object, of kinds that plans apply."""


class Registration(Protocol):
    """A kind of our own, as far as the cache has to know it."""

    @property
    def kind(self) -> Kind:
        """The kind that is reconciled."""

    @property
    def labels(self) -> OwnerLabels:
        """The labels by which its children are told to be its own."""

    @property
    def owns(self) -> tuple[Watched, ...]:
        """The kinds of its children, which have the label of `labels.SELECTOR`."""

    @property
    def reads(self) -> tuple[Watched, ...]:
        """The other kinds that its decisions look at."""

    def view(self, obj: Object) -> Subject:
        """An object of the kind as it is kept."""

    def concerns(self, subject: Any, entry: Entry) -> bool:
        """Whether a change of an object that is nobody's own (a namespace, say) may change what is decided on a subject
        as `view` gives it."""
