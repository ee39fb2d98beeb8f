"""What an informer tells of, whatever the API server says."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubetune_operator.jobs.kinds import RAY_JOB
from kubetune_operator.machinery.api_server import ApiError
from kubetune_operator.machinery.informer import Informer
from kubetune_operator.machinery.kinds import Object
from kubetune_operator.machinery.pages import Page


def thing(name: str, version: int = 1, uid: str = "") -> Object:
    metadata = {"name": name, "namespace": "team-a", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata}


def refused(status: int, retry_after: float | None = None) -> ApiError:
    return ApiError("GET rayjobs", status=status, reason="Refused", message="no", retry_after=retry_after)


UNREACHABLE = ApiError("GET rayjobs", status=0, reason="Unreachable", message="cut")


@dataclass(frozen=True)
class Lists:
    """The answer to a list."""

    version: int
    things: tuple[Object, ...] = ()


@dataclass(frozen=True)
class Watches:
    """A watch: what it tells, how long it stands, and how it ends."""

    events: tuple[tuple[str, Object], ...] = ()
    stands: float = 60.0
    ends: ApiError | None = None


@dataclass
class FakeCluster:
    """Answers by a script, and remembers what it was asked."""

    script: list[Lists | Watches | ApiError]
    now: float = 0.0
    asked: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def pages(self, kind: Any, *, selector: str = "") -> AsyncGenerator[Page, None]:
        step = await self._next(f"list {selector}".strip())
        assert isinstance(step, Lists)
        for thing in step.things:
            yield Page([thing], str(step.version))
        yield Page([], str(step.version))

    async def watch(
        self, kind: Any, *, selector: str = "", resource_version: str
    ) -> AsyncGenerator[tuple[str, Object], None]:
        step = await self._next(f"watch {resource_version}")
        assert isinstance(step, Watches)
        yield "BOOKMARK", {"metadata": {"resourceVersion": resource_version}}
        for event in step.events:
            yield event
        self.now += step.stands
        if step.ends:
            raise step.ends

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def _next(self, asked: str) -> Lists | Watches:
        if not self.script:
            self.over.set()
            await asyncio.Event().wait()
        self.asked.append(asked)
        step = self.script.pop(0)
        if isinstance(step, ApiError):
            raise step
        return step


@dataclass
class Told:
    """What came of a script."""

    informer: Informer
    cluster: FakeCluster
    changes: list[tuple[str, str, str]]
    """What, name and UID."""
    objects: list[Object]
    lists: list[tuple[str, set[str], int, int]]
    """Kind, UIDs and version of each list, and how many changes were told before it."""


def inform(
    *script: Lists | Watches | ApiError,
    selector: str = "",
    on_change: Callable[[str, Object], None] = lambda *_: None,
) -> Told:
    """Runs an informer until the script is over."""

    async def scenario() -> Told:
        cluster = FakeCluster(list(script))
        changes: list[tuple[str, str, str]] = []
        objects: list[Object] = []
        lists: list[tuple[str, set[str], int, int]] = []

        def told(what: str, thing: Object) -> None:
            changes.append((what, thing["metadata"]["name"], thing["metadata"]["uid"]))
            objects.append(thing)
            on_change(what, thing)

        informer = Informer(
            cluster,  # type: ignore[arg-type]
            RAY_JOB,
            selector=selector,
            on_change=told,
            on_list=lambda kind, uids, version: lists.append((kind, uids, version, len(changes))),
            clock=lambda: cluster.now,
            sleep=cluster.sleep,
            chance=lambda: 1.0,
        )
        running = asyncio.create_task(informer.run())
        over = asyncio.create_task(cluster.over.wait())
        await asyncio.wait([running, over], return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), running.exception()
        running.cancel()
        await asyncio.wait([running])
        return Told(informer, cluster, changes, objects, lists)

    return asyncio.run(scenario())


def test_everything_in_the_first_list_is_told_and_then_it_is_synced() -> None:
    told = inform(Lists(5, (thing("a"), thing("b"))), Watches())
    assert told.changes == [("put", "a", "uid-a"), ("put", "b", "uid-b")]
    assert told.informer.synced.is_set()
    assert not told.informer.absent


def test_each_list_is_told_as_a_whole_after_its_objects() -> None:
    told = inform(Lists(5, (thing("a"), thing("b"))), Watches(ends=refused(410)), Lists(9, (thing("b"),)), Watches())
    assert told.lists == [("RayJob", {"uid-a", "uid-b"}, 5, 2), ("RayJob", {"uid-b"}, 9, 3)]


def test_before_the_first_list_it_is_not_synced() -> None:
    told = inform(refused(403))
    assert not told.informer.synced.is_set()


def test_an_empty_list_is_synced_too() -> None:
    assert inform(Lists(5)).informer.synced.is_set()


def test_the_watch_begins_where_the_list_ended() -> None:
    told = inform(Lists(5), selector="app=x")
    assert told.cluster.asked == ["list app=x"]
    assert inform(Lists(5), Watches()).cluster.asked == ["list", "watch 5"]


def test_changes_are_told_once_for_each_version() -> None:
    events = (("ADDED", thing("a", 6)), ("MODIFIED", thing("a", 7)), ("MODIFIED", thing("a", 7)))
    told = inform(Lists(5, (thing("a", 6),)), Watches(events))
    assert told.changes == [("put", "a", "uid-a"), ("put", "a", "uid-a")]
    assert told.objects[-1] == thing("a", 7)


def test_a_deletion_is_told_with_the_last_state() -> None:
    told = inform(Lists(5, (thing("a"),)), Watches((("DELETED", thing("a", 9)),)))
    assert told.changes == [("put", "a", "uid-a"), ("gone", "a", "uid-a")]
    assert told.objects[-1] == thing("a", 9)


def test_a_deletion_that_nobody_saw_is_found_by_the_next_list() -> None:
    told = inform(Lists(5, (thing("a", 3), thing("b"))), Watches(ends=refused(410)), Lists(9, (thing("b"),)))
    assert told.changes == [("put", "a", "uid-a"), ("put", "b", "uid-b"), ("gone", "a", "uid-a")]
    assert told.objects[-1] == thing("a", 3)


@pytest.mark.parametrize(
    "later",
    [
        pytest.param((Watches(ends=refused(410)), Lists(9, (thing("a", 8, "new"),))), id="found by a list"),
        pytest.param((Watches((("ADDED", thing("a", 8, "new")),)),), id="found by the watch"),
        pytest.param(
            (Watches((("DELETED", thing("a", 7)), ("ADDED", thing("a", 8, "new")))),), id="and its deletion seen"
        ),
    ],
)
def test_a_name_that_was_used_again_is_gone_and_put(later: tuple[Lists | Watches, ...]) -> None:
    told = inform(Lists(5, (thing("a"),)), *later)
    assert told.changes == [("put", "a", "uid-a"), ("gone", "a", "uid-a"), ("put", "a", "new")]


def test_the_late_deletion_of_an_earlier_object_of_the_name_is_no_news() -> None:
    told = inform(Lists(5, (thing("a", 4, "new"),)), Watches((("DELETED", thing("a", 3, "old")),)))
    assert told.changes == [("put", "a", "new")]


def test_a_watch_that_was_cut_goes_on_from_the_last_version_heard_without_a_list() -> None:
    told = inform(Lists(5), Watches((("ADDED", thing("a", 7)),), ends=UNREACHABLE), Watches())
    assert told.cluster.asked == ["list", "watch 5", "watch 7"]


def test_a_bookmark_moves_the_place_where_a_watch_goes_on() -> None:
    told = inform(Lists(5), Watches((("BOOKMARK", {"metadata": {"resourceVersion": "80"}}),)), Watches())
    assert told.cluster.asked == ["list", "watch 5", "watch 80"]
    assert told.changes == []


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(refused(410), id="the watch is refused with 410"),
        pytest.param(Watches(ends=refused(410)), id="the watch says 410 at its end"),
        pytest.param(Watches(ends=refused(500)), id="the watch says that the server has an error"),
    ],
)
def test_a_word_of_the_server_against_the_watch_takes_a_new_list(error: Watches | ApiError) -> None:
    told = inform(Lists(5), error, Lists(9), Watches())
    assert told.cluster.asked == ["list", "watch 5", "list", "watch 9"]


def test_a_kind_that_the_server_does_not_have_is_synced_and_absent_and_asked_for_every_ten_seconds() -> None:
    told = inform(refused(404), refused(404))
    assert told.informer.synced.is_set()
    assert told.informer.absent
    assert told.informer.failing_since is None
    assert told.changes == []
    assert told.cluster.pauses == [10, 10]


def test_a_kind_that_comes_later_is_told() -> None:
    told = inform(refused(404), Lists(5, (thing("a"),)), Watches())
    assert told.changes == [("put", "a", "uid-a")]
    assert not told.informer.absent


def test_a_kind_that_vanishes_takes_its_objects_along() -> None:
    told = inform(Lists(5, (thing("a"), thing("b"))), Watches(), refused(404), refused(404))
    assert told.changes[2:] == [("gone", "a", "uid-a"), ("gone", "b", "uid-b")]
    assert told.informer.absent


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_refusal_is_waited_out_with_growing_pauses(status: int) -> None:
    told = inform(*[refused(status)] * 4, Lists(5, (thing("a"),)), Watches())
    assert told.cluster.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert told.changes == [("put", "a", "uid-a")]
    assert told.informer.failing_since is None


def test_the_pauses_end_at_half_a_minute() -> None:
    told = inform(*[UNREACHABLE] * 12)
    assert told.cluster.pauses[-1] == 30


def test_the_server_may_ask_for_a_longer_pause() -> None:
    assert inform(refused(429, retry_after=7.0)).cluster.pauses == [7]


def test_it_says_since_when_what_it_told_may_be_old() -> None:
    told = inform(Lists(5), Watches(stands=60, ends=UNREACHABLE), UNREACHABLE, UNREACHABLE)
    assert told.informer.failing_since == 60


@pytest.mark.parametrize(
    ("script", "current"),
    [
        pytest.param([refused(403)], False, id="nothing is known yet"),
        pytest.param([Lists(5), Watches()], True, id="its watch came to its usual end"),
        pytest.param([Lists(5), Watches(ends=refused(410))], False, id="its watch lost its place"),
        pytest.param([Lists(5), Watches(ends=refused(410)), Lists(9)], False, id="it has listed and watches not yet"),
        pytest.param([Lists(5), Watches(ends=refused(410)), Lists(9), Watches()], True, id="it watches again"),
        pytest.param([Lists(5), Watches(ends=UNREACHABLE)], False, id="its watch was cut"),
        pytest.param([Lists(5), Watches(ends=UNREACHABLE), Watches()], True, id="the watch goes on where it was cut"),
        pytest.param([refused(404)], True, id="there is no such kind"),
    ],
)
def test_it_is_current_while_it_hears_all_that_becomes_of_what_it_told(
    script: list[Lists | Watches | ApiError], current: bool
) -> None:
    assert inform(*script).informer.is_current() is current


def test_a_list_without_a_watch_is_still_failing() -> None:
    told = inform(Lists(5), refused(403), Lists(6), refused(403), Lists(7), refused(403))
    assert told.informer.failing_since == 0
    assert told.cluster.pauses == pytest.approx([0.1, 0.2, 0.4])


def test_watches_that_never_last_are_not_hammered() -> None:
    told = inform(Lists(5), *[Watches(stands=0.01)] * 4, *[Watches(stands=0.01, ends=UNREACHABLE)] * 2)
    assert told.cluster.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2])


def test_a_watch_that_stood_for_a_while_ends_the_back_off() -> None:
    told = inform(*[UNREACHABLE] * 5, Lists(5), Watches(stands=30, ends=UNREACHABLE))
    assert told.cluster.pauses[-1] == pytest.approx(0.1)


def test_a_watch_that_the_server_ends_in_its_time_goes_on_without_a_pause() -> None:
    told = inform(Lists(5), Watches(stands=1800), Watches(stands=1800))
    assert told.cluster.pauses == []
    assert told.informer.failing_since is None


def test_an_error_of_the_caller_does_not_end_it_and_the_change_is_told_again() -> None:
    errors = [ValueError("a bug")]

    def on_change(what: str, thing: Object) -> None:
        if errors:
            raise errors.pop()

    told = inform(Lists(5, (thing("a"),)), Lists(5, (thing("a"),)), Watches(), on_change=on_change)
    assert told.changes == [("put", "a", "uid-a")] * 2


def test_the_record_of_who_set_which_field_is_left_out() -> None:
    long = thing("a")
    long["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    told = inform(Lists(5, (long,)))
    assert told.objects == [thing("a")]


def test_objects_without_a_namespace_are_told_as_well() -> None:
    profile = thing("p")
    del profile["metadata"]["namespace"]
    told = inform(Lists(5, (profile,)), Watches(ends=refused(410)), Lists(6))
    assert told.changes == [("put", "p", "uid-p"), ("gone", "p", "uid-p")]
    assert told.objects[1] == profile
