"""How a model's format writes a question and its answer: by its chat template, or simply one after the other.

The template is rendered with placeholders for the two, once. Everything up to where the model would begin to answer is
the prompt; the rest, with the token that ends the answer, is what it learns to write.
"""

from dataclasses import dataclass
from typing import Any

from kubetune_trainer.data.chat_template import TemplateError, rendered
from kubetune_trainer.data.endings import own_ending, template_ending
from kubetune_trainer.errors import RunError, invalid_model

_PROMPT, _COMPLETION, _NEXT = "KUBETUNE-PROMPT", "KUBETUNE-COMPLETION", "KUBETUNE-NEXT"
_SYSTEM = "KUBETUNE-ORDERS"


@dataclass(frozen=True)
class PromptFormat:
    """The text around a question and its answer.

    `before` question `middle` is what the model is given; `opening` answer `after` is what it learns to write.
    """

    end: int
    """The token that ends an answer."""
    before: str = ""
    middle: str = ""
    opening: str = ""
    after: str = ""
    written: str = ""
    """What the template itself writes behind the last answer, in the place of `after`."""
    closing: str = ""
    """What ends an answer that another turn follows: up to its token; nothing where the template writes none."""
    templated: bool = False
    """Whether the text around them may hold special tokens."""
    first_ids: tuple[int, ...] = ()
    """Tokens put before the text, where no template names them."""
    last_ids: tuple[int, ...] = ()
    """Tokens put after the text, where no template names them."""
    note: str | None = None
    """What the author of the job should know of the format, in a sentence."""

    @classmethod
    def of(cls, tokenizer: Any) -> "PromptFormat":
        """The format that the tokenizer's model was made for."""
        return _templated(tokenizer) if tokenizer.chat_template else _plain(tokenizer)


def _plain(tokenizer: Any) -> PromptFormat:
    end = own_ending(tokenizer)
    begins = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return PromptFormat(end, first_ids=(tokenizer.bos_token_id,) if begins else (), last_ids=(end,))


def _templated(tokenizer: Any) -> PromptFormat:
    given = _rendered(tokenizer, [_PROMPT], asking=True)
    whole = _rendered(tokenizer, [_PROMPT, _COMPLETION])
    if given.count(_PROMPT) != 1 or whole.count(_PROMPT) != 1 or whole.count(_COMPLETION) != 1:
        raise _unfit("does not write a prompt and its answer once each")
    if not whole.startswith(given):
        raise _unfit(
            "does not begin a whole conversation the way it begins one that waits for the answer, so what the model"
            " would learn is not what it is asked later"
        )
    before, middle = given.split(_PROMPT)
    opening, after = whole[len(given) :].split(_COMPLETION)
    between = _next_turn(tokenizer)
    ending = template_ending(tokenizer, _user_turn(tokenizer, before, between), opening, after, between)
    return PromptFormat(
        ending.token,
        before,
        middle,
        opening,
        ending.after,
        written=after,
        closing=ending.closing,
        last_ids=(ending.token,) if ending.appended else (),
        note=ending.note,
        templated=True,
    )


def _next_turn(tokenizer: Any) -> str:
    """What the template writes between an answer and another prompt; nothing where it takes only one turn."""
    try:
        whole = _rendered(tokenizer, [_PROMPT, _COMPLETION, _NEXT])
    except RunError:
        return ""
    return whole.partition(_COMPLETION)[2].partition(_NEXT)[0]


def _user_turn(tokenizer: Any, before: str, between: str) -> str:
    """What begins a user's turn: `before`, less a default system turn, whose end may be that of an answer too.

    The roles are told apart by the names that the template writes for them alone, so a system turn shows how a user's
    begins; it is taken where a later turn of the user begins so indeed.
    """
    try:
        whole = _rendered(tokenizer, [_PROMPT, _COMPLETION], system=_SYSTEM)
    except RunError:
        return before
    opening = whole.partition(_SYSTEM)[0]
    turn = opening.removeprefix(tokenizer.bos_token or "")
    for role in (str.lower, str.upper, str.title):
        turn = turn.replace(role("system"), role("user"))
    return turn if turn and before.startswith(opening) and between.endswith(turn) else before


def _rendered(tokenizer: Any, contents: list[str], *, system: str | None = None, asking: bool = False) -> str:
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    try:
        return rendered(tokenizer, messages, asking=asking)
    except TemplateError as error:
        raise _unfit(f"fails on a conversation of one question and one answer ({error})") from error


def _unfit(error: str) -> RunError:
    return invalid_model(
        f"the model's chat template {error}; correct the template, or remove it from the model's folder to train on the"
        " prompt followed by the completion"
    )
