"""What a decision gives: what should be there now. The controller brings it about."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from kubetune_operator.machinery.kinds import Kind, Object
from kubetune_operator.machinery.questions import Question


class Status(Protocol):
    """The status of a kind of its own."""

    def to_dict(self) -> Object:
        """The status as the API server stores it."""


StatusT = TypeVar("StatusT", bound=Status)


@dataclass(frozen=True)
class Ref:
    """An object to delete."""

    kind: Kind
    name: str
    uid: str
    """This one, not another of the same name."""


@dataclass(frozen=True)
class Guard:
    """What must not be there, whatever the cache says: the API server is asked before anything of the plan is written.

    Where it finds such an object, nothing is written, and the plan is made again in a moment.
    """

    kind: Kind
    selector: str
    """The labels of the objects; those of other namespaces do not count."""
    because: str
    """The sentence that is logged; `{name}` is the object's."""
    forbids: Callable[[Object], bool] | None = None
    """Which of the selected objects must not be there. None: any of them, of which metadata alone is asked for."""


@dataclass(frozen=True)
class Plan(Generic[StatusT]):
    """What should be there."""

    status: StatusT
    apply: tuple[Object, ...] = ()
    """To be there like this."""
    create: Object | None = None
    """To be created, never changed."""
    delete: tuple[Ref, ...] = ()
    again_after: float | None = None
    """Seconds after which the passing of time alone may change the plan."""
    guards: tuple[Guard, ...] = ()
    """What must hold before any of it is written."""
    questions: tuple[Question, ...] = ()
    """What the plan wants to know. If it is not known, it is asked, and the plan is made again."""
