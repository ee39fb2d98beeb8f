"""Asks the API server what plans want to know, and no more often than an answer holds."""

import logging
from collections.abc import Iterable

from kubetune_operator.machinery.api_server import ApiClient, ApiError
from kubetune_operator.machinery.entries import ObjectKey
from kubetune_operator.machinery.kinds import Object
from kubetune_operator.machinery.questions import MOST, Answer, Answers, Question

_log = logging.getLogger(__name__)


class Asking:
    """Finds the answers that are not there."""

    def __init__(self, api: ApiClient, answers: Answers[ObjectKey]) -> None:
        self._api, self._answers = api, answers

    async def ask(self, key: ObjectKey, questions: Iterable[Question]) -> bool:
        """Whether anything had to be asked, so that the plan is to be made again."""
        known = self._answers.good(key)
        unknown = [question for question in questions if question not in known]
        for question in unknown:
            self._answers.put(key, question, await self._answer(key.namespace, question))
        return bool(unknown)

    async def _answer(self, namespace: str, question: Question) -> Answer:
        try:
            found = await self._find(namespace, question)
        except ApiError as error:
            if not question.optional:
                raise
            _log.debug("not known, and not needed: %s", error)
            return None
        return tuple(question.view(obj) for obj in found)

    async def _find(self, namespace: str, question: Question) -> list[Object]:
        kind = question.kind
        if not question.name:
            return await self._api.find(kind, namespace, selector=question.selector, fields=question.fields, most=MOST)
        there = await self._api.get(kind, namespace, question.name)
        return [] if there is None else [there]
