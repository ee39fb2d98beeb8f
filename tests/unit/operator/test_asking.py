import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, cast

import pytest

from kubetune_operator.jobs.kinds import RAY_JOB
from kubetune_operator.jobs.reports import report_question
from kubetune_operator.machinery.api_server import ApiError
from kubetune_operator.machinery.asking import Asking
from kubetune_operator.machinery.kinds import EVENT, Object
from kubetune_operator.machinery.pages import Page
from kubetune_operator.machinery.questions import NO_ANSWER, Answers, Question
from support.in_memory_api import InMemoryApi
from support.observed_jobs import JOB, UID, cache_of, event, job, job_key, name_of, ray_job, report


def name_in(obj: Object) -> str:
    return str(obj["metadata"]["name"])


WHO = Question(RAY_JOB, name_in, name=name_of(1))
WHY = Question(EVENT, name_in, fields="type=Warning", holds_seconds=30, optional=True)


def asks(api: Any, *questions: Question, seconds: list[float]) -> tuple[list[bool], Any]:
    """Asks at each of these times; whether that was needed, and what is known in the end."""
    now = [0.0]
    answers = Answers[Any](lambda _: True, lambda: now[0])
    asking, needed = Asking(cast("Any", api), answers), []
    for now[0] in seconds:
        needed.append(asyncio.run(asking.ask(job_key(), questions)))
    return needed, answers.good(job_key())


def test_an_answer_is_asked_for_once_as_long_as_it_holds() -> None:
    api = InMemoryApi(ray_job(), event("refused"))
    needed, known = asks(api, WHO, WHY, seconds=[0, 9.9, 10, 29.9, 30])
    assert needed == [True, False, True, True, True]
    assert known[WHO] == (name_of(1),)
    assert len(known[WHY]) == 1


def test_what_is_not_there_is_an_answer() -> None:
    assert asks(InMemoryApi(), WHO, WHY, seconds=[0])[1] == {WHO: (), WHY: ()}


def test_what_may_not_be_read_is_done_without_where_that_is_possible() -> None:
    """O3: an operator whose rights are those of an older chart goes on."""
    api = InMemoryApi()
    api.unreadable = {"Event", "RayJob"}
    assert asks(api, WHY, seconds=[0])[1] == {WHY: None}
    with pytest.raises(ApiError):
        asks(api, Question(RAY_JOB, name_in, selector="a=b"), seconds=[0])


def test_a_refusal_counts_for_a_moment_however_long_an_answer_holds() -> None:
    """O11: that a cluster has no Kueue is what a server says that starts, too."""
    api, patient = InMemoryApi(), Question(EVENT, name_in, holds_seconds=600, optional=True)
    assert asks(api, patient, seconds=[0, 30, 599])[0] == [True, False, False]
    api.unreadable = {"Event"}
    assert asks(api, patient, seconds=[0, 29, 30])[0] == [True, False, True]


def test_an_outage_is_no_answer_and_the_work_goes_on_without_one(caplog: pytest.LogCaptureFixture) -> None:
    """What goes on is planned anew; the server is left alone for a moment, however long an answer holds."""

    class Away(InMemoryApi):
        async def pages(self, *_: Any, **__: Any) -> AsyncGenerator[Page, None]:
            raise ApiError("LIST events", status=503, reason="ServiceUnavailable", message="away")
            yield

    patient = replace(WHY, holds_seconds=600)
    needed, known = asks(Away(), patient, seconds=[0, 29, 30])
    assert (needed, known[WHY] is NO_ANSWER) == ([True, False, True], True)
    assert "goes on without an answer: LIST events: 503 ServiceUnavailable: away" in caplog.text
    with pytest.raises(ApiError):
        asks(Away(), replace(WHY, optional=False), seconds=[0])


def test_a_report_that_is_not_heard_of_anew_is_asked_for_once() -> None:
    """After each start, and each change of the leader, every look at an attempt asked for it."""
    assert asks(InMemoryApi(report()), report_question(JOB, UID), seconds=[0, 10, 599])[0] == [True, False, False]


def test_nothing_is_kept_of_who_is_gone() -> None:
    cache = cache_of(job())
    cache.answers.put(job_key(), WHO, ())
    cache.gone(job())
    assert cache.answers.good(job_key()) == {}


def test_an_answer_that_comes_after_its_asker_has_gone_is_not_kept() -> None:
    """Of each job that is deleted while it asks, one would stay for ever."""
    cache = cache_of(job())
    cache.gone(job())
    cache.answers.put(job_key(), WHO, ())
    assert cache.answers.good(job_key()) == {}


def test_of_many_objects_the_first_are_looked_at_and_few_at_once() -> None:
    """S1: a tenant may make any number of events of a megabyte about its RayJob."""
    held: list[int] = []

    class Watched(InMemoryApi):
        async def pages(self, *args: Any, **how: Any) -> AsyncGenerator[Page, None]:
            async for page in super().pages(*args, **how):
                held.append(len(page.objects))
                yield page

    _, known = asks(Watched(*(event(f"number {number}") for number in range(90))), WHY, seconds=[0])
    assert (held, len(known[WHY])) == ([5] * 4, 20)
