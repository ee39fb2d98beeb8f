"""Who may write and when: two replicas over one Lease, with clocks that the test moves."""

import asyncio
import copy
import heapq
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubetune_operator.machinery.api_server import ApiError
from kubetune_operator.machinery.kinds import Object
from kubetune_operator.machinery.leader import Leader, boot_clock, new_identity
from kubetune_operator.settings import Settings

UNREACHABLE = ApiError("PUT leases", status=0, reason="Unreachable", message="cut")


@dataclass
class Time:
    """The time of all replicas; moves only when the test moves it."""

    now: float = 0.0
    sleepers: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list)
    count: int = 0

    async def sleep(self, seconds: float) -> None:
        self.count += 1
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self.sleepers, (self.now + seconds, self.count, sleeper))
        await sleeper

    async def pass_by(self, seconds: float, world: "World") -> None:
        """Moves in small steps; at none of them may two replicas write."""
        end = self.now + seconds
        while True:
            await settle()
            assert len(world.writers()) <= 1, f"{world.writers()} may write at {self.now}"
            if self.now >= end - 1e-9:
                return
            self.now = min(self.now + 0.1, end)
            while self.sleepers and self.sleepers[0][0] <= self.now + 1e-9:
                sleeper = heapq.heappop(self.sleepers)[2]
                if not sleeper.done():
                    sleeper.set_result(None)


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


@dataclass
class Store:
    """The Lease as the API server keeps it."""

    lease: Object | None = None
    version: int = 0
    writes: int = 0

    def write(self, lease: Object) -> Object:
        version = lease["metadata"].get("resourceVersion")
        if version is None and self.lease is not None:
            raise ApiError("POST leases", status=409, reason="AlreadyExists", message="it exists")
        if version is not None and self.lease is None:
            raise ApiError("PUT leases", status=404, reason="NotFound", message="it does not exist")
        if version is not None and self.lease is not None and version != self.lease["metadata"]["resourceVersion"]:
            raise ApiError("PUT leases", status=409, reason="Conflict", message="it has changed")
        self.version += 1
        self.writes += 1
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)

    @property
    def spec(self) -> Object:
        assert self.lease is not None
        spec: Object = self.lease["spec"]
        return spec


@dataclass
class Way:
    """One replica's way to the API server, with its errors."""

    store: Store
    time: Time
    broken: bool = False
    silent: bool = False
    loses_replies: int = 0
    answers_after: float = 0.0

    async def get(self, kind: Any, namespace: str, name: str) -> Object | None:
        assert (namespace, name) == ("kubetune-system", "kubetune-operator")
        if self.broken:
            raise UNREACHABLE
        if self.silent:
            await asyncio.Event().wait()
        return copy.deepcopy(self.store.lease)

    async def write_lease(self, lease: Object) -> Object:
        if self.broken:
            raise UNREACHABLE
        if self.silent:
            await asyncio.Event().wait()
        written = self.store.write(lease)
        if self.loses_replies:
            self.loses_replies -= 1
            raise UNREACHABLE
        if self.answers_after:
            await self.time.sleep(self.answers_after)
        return written


@dataclass
class Replica:
    """A replica, with what it heard of its election."""

    leader: Leader
    way: Way
    heard: list[str]
    frozen_at: float | None = None
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.leader.run())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


@dataclass
class World:
    """The replicas over one Lease."""

    time: Time = field(default_factory=Time)
    store: Store = field(default_factory=Store)
    replicas: dict[str, Replica] = field(default_factory=dict)

    def add(self, name: str, *, clock_offset: float = 0.0, year: int = 2026, **settings: Any) -> Replica:
        way, heard = Way(self.store, self.time), []
        leader = Leader(
            way,  # type: ignore[arg-type]
            Settings(**settings),
            name,
            on_elected=lambda: heard.append("elected"),
            on_lost=lambda: heard.append("lost"),
            clock=lambda: self.time.now + clock_offset,
            sleep=self.time.sleep,
            now=lambda: datetime(year, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time.now),
        )
        replica = Replica(leader, way, heard)
        replica.start()
        self.replicas[name] = replica
        return replica

    def writers(self) -> list[str]:
        return [name for name, replica in self.replicas.items() if replica.leader.may_write()]

    async def pass_by(self, seconds: float) -> None:
        await self.time.pass_by(seconds, self)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_the_first_replica_makes_the_lease_and_leads() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        assert not a.leader.may_write()
        await world.pass_by(0.1)
        assert a.leader.may_write()
        assert a.heard == ["elected"]
        assert world.store.spec == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 8,
            "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": "2026-01-01T00:00:00.000000Z",
            "leaseTransitions": 0,
        }

    run(scenario())


def test_a_leader_renews_every_two_seconds_and_the_other_waits() -> None:
    async def scenario() -> None:
        world = World()
        world.add("a")
        await world.pass_by(0.1)
        b = world.add("b")
        await world.pass_by(99.95)
        assert world.writers() == ["a"]
        assert world.store.writes == 51
        assert b.heard == []

    run(scenario())


def test_of_two_that_ask_at_the_same_moment_one_leads() -> None:
    async def scenario() -> None:
        world = World()
        replicas = [world.add(name) for name in "abc"]
        await world.pass_by(30)
        assert len(world.writers()) == 1
        assert sum(len(replica.heard) for replica in replicas) == 1

    run(scenario())


def test_a_leader_without_a_way_to_the_server_stops_writing_after_5_seconds_and_another_leads_after_8() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        await world.pass_by(0.1)
        b = world.add("b")
        await world.pass_by(9.95)  # the last renewal was begun at 10
        a.way.broken = True
        await world.pass_by(4.8)
        assert world.writers() == ["a"]
        await world.pass_by(0.3)
        assert world.writers() == []
        await world.pass_by(2.8)
        assert world.writers() == []
        await world.pass_by(2.3)  # b looks every two seconds
        assert world.writers() == ["b"]
        assert a.heard == ["elected", "lost"]
        assert b.heard == ["elected"]
        assert world.store.spec["leaseTransitions"] == 1

    run(scenario())


def test_a_leader_whose_way_comes_back_in_time_has_lost_nothing() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        world.add("b")
        await world.pass_by(10.05)
        a.way.broken = True
        await world.pass_by(3)
        a.way.broken = False
        await world.pass_by(60)
        assert world.writers() == ["a"]
        assert a.heard == ["elected"]

    run(scenario())


def test_a_leader_that_lost_its_word_leads_again_when_nobody_took_the_lease() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        await world.pass_by(10)
        a.way.broken = True
        await world.pass_by(20)
        assert world.writers() == []
        a.way.broken = False
        await world.pass_by(2.1)
        assert a.heard == ["elected", "lost", "elected"]
        assert world.store.spec["leaseTransitions"] == 0

    run(scenario())


def test_a_process_that_was_stopped_writes_nothing_when_it_wakes() -> None:
    async def scenario() -> None:
        time, store = Time(), Store()
        world = World(time, store)
        a = world.add("a")
        await world.pass_by(0.1)
        # Nothing of it runs: neither its loop nor its renewals.
        time.now += 5
        assert not a.leader.may_write()
        assert a.heard == ["elected"]
        await world.pass_by(2.1)
        assert a.heard == ["elected", "lost", "elected"]

    run(scenario())


def test_the_word_of_a_leader_counts_from_before_its_renewal_was_sent() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        await world.pass_by(0.1)
        a.way.answers_after = 4.0
        await world.pass_by(4.8)  # a renewal was begun at 2, and is answered at 6
        assert a.leader.may_write()
        await world.pass_by(0.2)
        assert not a.leader.may_write()
        await world.pass_by(1.0)
        assert a.leader.may_write()
        await world.pass_by(1.0)
        assert not a.leader.may_write(), "the renewal that was begun at 2 ended at 7"

    run(scenario())


@pytest.mark.parametrize(
    "of_b",
    [
        pytest.param({"year": 1971}, id="a wall clock that is decades behind"),
        pytest.param({"year": 2090}, id="a wall clock that is decades ahead"),
        pytest.param({"clock_offset": 1e6}, id="a machine that runs for longer"),
        pytest.param({"clock_offset": -1e6}, id="a machine that has just started"),
    ],
)
def test_the_clocks_of_two_machines_are_never_compared(of_b: dict[str, Any]) -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        await world.pass_by(0.1)
        b = world.add("b", **of_b)
        await world.pass_by(30)
        assert world.writers() == ["a"]
        a.way.broken = True
        await world.pass_by(12.1)
        assert world.writers() == ["b"]
        a.way.broken = False
        await world.pass_by(30)
        assert world.writers() == ["b"]
        b.way.broken = True
        await world.pass_by(12.1)
        assert world.writers() == ["a"]

    run(scenario())


def test_a_newcomer_waits_the_whole_duration_of_the_lease_that_it_finds() -> None:
    async def scenario() -> None:
        spec = {"holderIdentity": "dead", "leaseDurationSeconds": 20, "renewTime": "2001-01-01T00:00:00.000000Z"}
        metadata = {"name": "kubetune-operator", "namespace": "kubetune-system", "resourceVersion": "0"}
        world = World(store=Store({"metadata": metadata, "spec": spec}))
        world.add("a")
        await world.pass_by(19.9)
        assert world.writers() == []
        await world.pass_by(2)
        assert world.writers() == ["a"]
        assert world.store.spec["leaseTransitions"] == 0

    run(scenario())


def test_a_leader_that_ends_gives_the_lease_back() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        await world.pass_by(0.1)
        b = world.add("b")
        await world.pass_by(5)
        await a.stop()
        assert not a.leader.may_write()
        assert "holderIdentity" not in world.store.spec
        await world.pass_by(2.1)
        assert world.writers() == ["b"]
        assert b.heard == ["elected"]

    run(scenario())


def test_one_that_does_not_lead_leaves_the_lease_alone_when_it_ends() -> None:
    async def scenario() -> None:
        world = World()
        world.add("a")
        await world.pass_by(0.1)
        b = world.add("b")
        await world.pass_by(5)
        await b.stop()
        assert world.store.spec["holderIdentity"] == "a"

    run(scenario())


def test_a_renewal_that_came_through_without_an_answer_ends_nothing() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        await world.pass_by(0.1)
        a.way.loses_replies = 1
        await world.pass_by(60)
        assert world.writers() == ["a"]
        assert a.heard == ["elected"]

    run(scenario())


def test_a_lease_that_somebody_gave_to_another_ends_the_leader_at_its_next_renewal() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        await world.pass_by(0.1)
        assert world.store.lease is not None
        edited = copy.deepcopy(world.store.lease)
        edited["spec"]["holderIdentity"] = "somebody"
        world.store.write(edited)
        await world.pass_by(2)
        assert world.writers() == []
        assert a.heard == ["elected", "lost"]
        await world.pass_by(10.1)
        assert world.writers() == ["a"]

    run(scenario())


def test_a_lease_that_somebody_deleted_is_made_anew_by_its_holder_and_taken_by_nobody_else() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a")
        await world.pass_by(0.1)
        b = world.add("b")
        await world.pass_by(5)
        for _ in range(40):
            world.store.lease = None
            await world.pass_by(0.7)
        assert world.writers() == ["a"]
        assert a.heard == ["elected"]
        assert b.heard == []

    run(scenario())


def test_without_election_the_one_replica_may_always_write_and_asks_for_nothing() -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a", leader_election=False)
        assert a.leader.may_write()
        await world.pass_by(60)
        assert a.leader.may_write()
        assert a.heard == ["elected"]
        assert world.store.lease is None
        await a.stop()

    run(scenario())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param({"silent": True}, "no answer in time", id="a server that does not answer"),
        pytest.param({"broken": True}, "PUT leases: Unreachable: cut", id="a server that is not there"),
    ],
)
def test_the_log_says_why_the_lease_could_not_be_looked_after_or_given_back(
    error: dict[str, bool], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        world = World()
        a = world.add("a", renew_seconds=0.5)
        await world.pass_by(0.1)
        vars(a.way).update(error)
        await world.pass_by(0.1)  # a renewal begins
        await asyncio.sleep(0.25)  # an answer may take 0.2 s, by the machine's own time
        assert a.leader.may_write()
        await a.stop()

    run(scenario())
    assert f"The Lease kubetune-operator could not be renewed: {said}" in caplog.text
    assert f"The Lease kubetune-operator could not be released: {said}" in caplog.text


def test_a_process_that_starts_again_in_the_same_pod_is_another_holder() -> None:
    settings = Settings(identity="kubetune-0")
    first, second = new_identity(settings), new_identity(settings)
    assert first != second
    assert first.startswith("kubetune-0_")


def test_the_clock_only_goes_forward() -> None:
    assert boot_clock() <= boot_clock()
