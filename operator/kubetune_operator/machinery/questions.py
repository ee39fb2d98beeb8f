"""What no watch tells, and decisions look at now and then: the API server is asked when a plan wants to know.

An answer holds for some seconds, and is there when the plan is made again. So decisions stay pure, and the server is
not asked by each look.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from kubetune_operator.machinery.kinds import Kind, Object

Answer = tuple[Any, ...] | None
"""The objects, as the question views them; None where the server has no such kind, or does not let it be read."""


class _NoAnswer(tuple[Any, ...]):
    __slots__ = ()


NO_ANSWER: Answer = _NoAnswer()
"""The server failed at it, so that nothing is known. To be told by `is`: `()` says that there are no such objects."""
Key = TypeVar("Key")
MOST, MOST_AT_ONCE = 20, 5
"""Of more objects none is asked for, and of no more at once: a tenant may make many, and large ones."""

_FAILURE_SECONDS = 30.0
"""How long it counts at most that the server failed, has no such kind, or does not let it be read: a server that starts
says so of every kind, and all of it is mended from one moment to the next."""


@dataclass(frozen=True)
class Question:
    """Objects of a namespace, one by its name or the first `MOST` that the selectors select."""

    kind: Kind
    view: Callable[[Object], Any]
    """What is kept of each."""
    name: str = ""
    selector: str = ""
    """By labels."""
    fields: str = ""
    """By fields, as the API server knows them for the kind."""
    holds_seconds: float = field(default=10.0, compare=False)
    """How long the answer is good."""
    optional: bool = False
    """Whether a plan can do without: whatever refuses the answer, the work goes on."""


class Answers(Generic[Key]):
    """The answers that are still good, by whom they were asked for."""

    def __init__(self, asks: Callable[[Key], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._asks, self._clock = asks, clock
        self._kept: dict[Key, dict[Question, tuple[float, Answer]]] = defaultdict(dict)

    def put(self, key: Key, question: Question, answer: Answer) -> None:
        """Keeps an answer for its time, unless who asked is gone by now."""
        if self._asks(key):
            most = _FAILURE_SECONDS if answer is None or answer is NO_ANSWER else math.inf
            self._kept[key][question] = self._clock() + min(question.holds_seconds, most), answer

    def good(self, key: Key) -> Mapping[Question, Answer]:
        """All that hold now."""
        kept, now = self._kept.get(key, {}), self._clock()
        for question in [question for question, (until, _) in kept.items() if until <= now]:
            del kept[question]
        return {question: answer for question, (_, answer) in kept.items()}

    def forget(self, key: Key) -> None:
        """Nobody asks any more."""
        self._kept.pop(key, None)
