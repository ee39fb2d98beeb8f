"""Asks the API server what plans want to know, and no more often than an answer holds."""

import logging
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from kubetune_operator.machinery.api_server import ApiClient, ApiError
from kubetune_operator.machinery.entries import ObjectKey
from kubetune_operator.machinery.questions import MOST, MOST_AT_ONCE, NO_ANSWER, Answer, Answers, Question

_log = logging.getLogger(__name__)


class Asking:
    """Finds the answers that are not there."""

    def __init__(self, api: ApiClient, answers: Answers[ObjectKey]) -> None:
        self._api, self._answers = api, answers

    async def ask(self, key: ObjectKey, questions: Iterable[Question]) -> bool:
        """Whether anything was learned, so that the plan is to be made again."""
        known = self._answers.good(key)
        unknown = [question for question in questions if question not in known]
        for question in unknown:
            self._answers.put(key, question, await self._answer(key, question))
        return bool(unknown)

    async def _answer(self, key: ObjectKey, question: Question) -> Answer:
        try:
            return tuple(await self._found(key.namespace, question))
        except ApiError as error:
            if not question.optional:
                raise
            if error.status in (403, 404):
                return None
            _log.warning("%s %s/%s goes on without an answer: %s", key.kind, key.namespace, key.name, error)
            return NO_ANSWER

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
