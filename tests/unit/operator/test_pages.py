"""How many objects are asked for at once."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from kubetune_operator.jobs.kinds import RAY_JOB
from kubetune_operator.machinery.api_server import ApiClient, ApiError
from kubetune_operator.machinery.informer import Informer
from kubetune_operator.machinery.kinds import Object
from kubetune_operator.machinery.pages import FIRST_LIMIT, MOST_ON_A_PAGE, PAGE_BYTES, Page, next_limit


@pytest.mark.parametrize(
    ("limit", "size", "expected"),
    [
        pytest.param(10, 10 * 2000, MOST_ON_A_PAGE, id="small objects"),
        pytest.param(10, 10 * 1_500_000, 5, id="the largest that there are"),
        pytest.param(1, 20_000_000, 1, id="never none"),
        pytest.param(5, 5 * 2000, MOST_ON_A_PAGE, id="small ones after large ones"),
        pytest.param(10, 0, MOST_ON_A_PAGE, id="an empty page"),
    ],
)
def test_a_page_holds_as_many_as_fit_after_the_last_one(limit: int, size: int, expected: int) -> None:
    """S1"""
    assert next_limit(limit, size) == expected
    assert MOST_ON_A_PAGE <= 50
    assert FIRST_LIMIT * 1_500_000 < 2 * PAGE_BYTES


def thing(name: str) -> Object:
    metadata = {"name": name, "namespace": "team-a", "uid": name, "resourceVersion": "1"}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata}


def test_a_page_is_told_before_the_next_one_is_asked_for() -> None:
    """S1: nobody holds the list."""
    said: list[str] = []

    class Pages:
        async def pages(self, *_: Any, **__: Any) -> AsyncGenerator[Page, None]:
            for number in (1, 2):
                said.append(f"page {number}")
                yield Page([thing(f"{number}a"), thing(f"{number}b")], "9")

        async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[tuple[str, Object], None]:
            said.append("watch")
            await asyncio.Event().wait()
            yield "never", {}

    async def scenario() -> None:
        informer = Informer(
            cast("ApiClient", Pages()), RAY_JOB, on_change=lambda what, obj: said.append(obj["metadata"]["name"])
        )
        running = asyncio.create_task(informer.run())
        while "watch" not in said:
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(scenario())
    assert said == ["page 1", "1a", "1b", "page 2", "2a", "2b", "watch"]


def test_a_list_that_breaks_off_between_two_pages_takes_nothing_for_deleted() -> None:
    """S1: what the first page did not have may be on the second."""
    told: list[tuple[str, str]] = []
    attempts = iter([("a", "b", None), ("a", ApiError("GET", status=410, reason="Expired", message="")), ("a", None)])

    class Pages:
        async def pages(self, *_: Any, **__: Any) -> AsyncGenerator[Page, None]:
            for step in next(attempts):
                if isinstance(step, ApiError):
                    raise step
                yield Page([thing(step)] if step else [], "9")

        async def watch(self, *_: Any, **__: Any) -> AsyncGenerator[tuple[str, Object], None]:
            yield "BOOKMARK", {"metadata": {"resourceVersion": "9"}}
            raise ApiError("GET", status=410, reason="Expired", message="")

    async def no_time(_: float) -> None:
        told.append(("pause", ""))
        await asyncio.sleep(0)

    async def scenario() -> None:
        informer = Informer(
            cast("ApiClient", Pages()),
            RAY_JOB,
            on_change=lambda what, obj: told.append((what, obj["metadata"]["name"])),
            sleep=no_time,
        )
        running = asyncio.create_task(informer.run())
        while ("gone", "b") not in told:
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(scenario())
    assert told[:2] == [("put", "a"), ("put", "b")]
    assert told.index(("gone", "b")) > 3, "only the list that was whole tells of it"
