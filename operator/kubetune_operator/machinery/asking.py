"""Asks the API server what plans want to know, and no more often than an answer holds."""

import logging
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from kubetune_operator.machinery.api_server import ApiClient, ApiError
from kubetune_operator.machinery.entries import ObjectKey
from kubetune_operator.machinery.questions import MOST, MOST_AT_ONCE, Answer, Answers, Question

_log = logging.getLogger(__name__)


class Asking:
    """Finds the answers that are not there."""

    def __init__(self, api: ApiClient, answers: Answers[ObjectKey]) -> None:
        self._api, self._answers = api, answers

    async def ask(self, key: ObjectKey, questions: Iterable[Question]) -> bool:
        """Whether anything was learned, so that the plan is to be made again."""
        known, learned = self._answers.good(key), False
        for question in [question for question in questions if question not in known]:
            try:
                answer = await self._answer(key.namespace, question)
            except ApiError as error:
                if not question.optional:
                    raise
                _log.debug("not known, and not needed: %s", error)
            else:
                self._answers.put(key, question, answer)
                learned = True
        return learned

    async def _answer(self, namespace: str, question: Question) -> Answer:
        try:
            return tuple(await self._found(namespace, question))
        except ApiError as error:
            # An outage is no answer: it says nothing of what the server has.
            if question.optional and error.status in (403, 404):
                return None
            raise

    async def _found(self, namespace: str, question: Question) -> list[Any]:
        """The views of the objects. A page of them is let go before the next one is asked for."""
        if question.name:
            there = await self._api.get(question.kind, namespace, question.name)
            return [] if there is None else [question.view(there)]
        found: list[Any] = []
        pages = self._api.pages(
            question.kind,
            selector=question.selector,
            fields=question.fields,
            namespace=namespace,
            most=MOST_AT_ONCE,
        )
        async with aclosing(pages):
            async for page in pages:
                found += map(question.view, page.objects)
                if len(found) >= MOST:
                    break
        return found[:MOST]
