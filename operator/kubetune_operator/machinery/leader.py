"""One writer among the replicas: whoever holds the Lease, by its own clock.

A leader may write for `renew_seconds` after it *began* its last renewal, judged by the monotonic clock at each
write, so a process that was stopped for longer writes nothing when it wakes. The others take the Lease over only after
they themselves saw it unchanged for its whole duration: no clock of one machine is ever compared with another's.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from kubetune_operator.machinery.api_server import ApiClient, ApiError
from kubetune_operator.machinery.kinds import LEASE, Object
from kubetune_operator.settings import Settings

logger = logging.getLogger(__name__)

NAME = "kubetune-operator"
"""The name of the Lease."""
POLL_SHARE = 0.4
"""How often a leader renews and the others look, and how long that may take, as a share of `renew_seconds`: when one
renewal hangs for all its time, a second one still fits before the leader's word ends."""


def boot_clock() -> float:
    """Seconds since the machine started, those asleep included where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def new_identity(settings: Settings) -> str:
    """A name for this process alone: one that was restarted in the same pod is another holder."""
    return f"{settings.identity}_{secrets.token_hex(4)}"


@dataclass(frozen=True)
class _Sight:
    """A state of the Lease, and when it was first seen."""

    holder: str
    renewed: str
    duration: float
    since: float

    def is_over(self, now: float) -> bool:
        """Whether the holder had all its time since then without renewing it."""
        return now - self.since >= self.duration


class Leader:
    """This replica's part in the election."""

    def __init__(
        self,
        api: ApiClient,
        settings: Settings,
        identity: str,
        *,
        on_elected: Callable[[], None],
        on_lost: Callable[[], None],
        clock: Callable[[], float] = boot_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._settings = settings
        self._identity = identity
        self._on_elected = on_elected
        self._on_lost = on_lost
        self._clock = clock
        self._sleep = sleep
        self._now = now
        self._last_renewed: float | None = None
        """When the renewal that last succeeded was begun; None where we do not hold the Lease."""
        self._seen: _Sight | None = None
        self._lease: Object | None = None
        """The Lease as we wrote it last."""

    def may_write(self) -> bool:
        """Whether a write may be sent at this moment."""
        if not self._settings.leader_election:
            return True
        return self._last_renewed is not None and self._clock() - self._last_renewed < self._settings.renew_seconds

    async def run(self) -> None:
        """Takes part until it is cancelled; gives the Lease back then, so whatever writes must have ended before."""
        if not self._settings.leader_election:
            self._on_elected()
            await asyncio.Event().wait()
        try:
            while True:
                begun = self._clock()
                await self._attempt()
                await self._sleep(max(0.0, begun + self._poll_seconds - self._clock()))
        finally:
            await self._release()

    @property
    def _poll_seconds(self) -> float:
        return POLL_SHARE * self._settings.renew_seconds

    async def _attempt(self) -> None:
        self._notice_the_end()
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._step()
        except (ApiError, TimeoutError) as error:
            logger.warning("The Lease %s could not be renewed: %s", NAME, _why(error))
        self._notice_the_end()

    async def _step(self) -> None:
        if self._lease is not None and self.may_write():
            try:
                await self._take(self._lease)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
                # Somebody changed or deleted it, or our last renewal came through without an answer: look.
                self._lease = None
            else:
                return
        lease = await self._api.get(LEASE, self._settings.namespace, NAME)
        if self._may_take(lease):
            await self._take(lease)

    async def _take(self, lease: Object | None) -> None:
        begun = self._clock()
        self._hold(await self._api.write_lease(self._ours(lease)), begun)

    def _may_take(self, lease: Object | None) -> bool:
        """Whether nobody else can hold the Lease, as far as we saw ourselves."""
        if lease is None:
            # Somebody deleted it: the holder whom we saw in it may still write.
            return self._seen is None or self._seen.is_over(self._clock())
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        if self._last_renewed is not None:
            self._end(f"{holder} holds it")
        renewed = spec.get("renewTime") or ""
        if self._seen is None or (self._seen.holder, self._seen.renewed) != (holder, renewed):
            duration = spec.get("leaseDurationSeconds") or self._settings.lease_seconds
            self._seen = _Sight(holder, renewed, duration, self._clock())
        return self._seen.is_over(self._clock())

    def _ours(self, lease: Object | None) -> Object:
        """The Lease with us as its holder."""
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = (lease or {}).get("spec") or {}
        if spec.get("holderIdentity") != self._identity:
            spec = {**spec, "acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", -1) + 1}
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": lease["metadata"] if lease else {"name": NAME, "namespace": self._settings.namespace},
            "spec": {
                **spec,
                "holderIdentity": self._identity,
                "leaseDurationSeconds": math.ceil(self._settings.lease_seconds),
                "renewTime": now,
            },
        }

    def _hold(self, lease: Object, begun: float) -> None:
        led = self.may_write()
        self._lease, self._last_renewed, self._seen = lease, begun, None
        if not led:
            logger.info("%s is the leader now.", self._identity)
            self._on_elected()

    def _notice_the_end(self) -> None:
        if self._last_renewed is not None and not self.may_write():
            self._end(f"it was not renewed for {self._settings.renew_seconds:g} s")

    def _end(self, why: str) -> None:
        self._last_renewed, self._lease = None, None
        logger.warning("%s is no longer the leader: %s.", self._identity, why)
        self._on_lost()

    async def _release(self) -> None:
        """Empties the Lease that we hold, so that another need not wait for its end."""
        lease, self._lease, held = self._lease, None, self.may_write()
        if lease is None or not held:
            return
        self._last_renewed = None  # no write of ours may follow
        spec = {key: value for key, value in lease["spec"].items() if key != "holderIdentity"}
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._api.write_lease({**lease, "spec": spec})
        except (ApiError, TimeoutError) as error:
            logger.warning("The Lease %s could not be released: %s", NAME, _why(error))


def _why(error: ApiError | TimeoutError) -> str:
    return str(error) or "no answer in time"
