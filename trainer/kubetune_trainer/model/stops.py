"""The generation configuration of the published model: it stops where training taught it to end.

Those of base models name the end of a text alone, and not the token that their own chat template ends an answer with.
"""

from collections.abc import Sequence
from typing import Any

from kubetune_trainer.model.task import Generation


def teach_to_stop(generation: Any, task: Generation, tokenizer: Any, space: Any) -> None:
    """Writes into transformers' `GenerationConfig`, in place, where what the model writes for the task ends."""
    stops = list(task.stop_tokens(tokenizer, stops_of(generation), space))
    generation.eos_token_id = stops[0] if len(stops) == 1 else stops
    # transformers would take no more from the file than what a model's own configuration may say.
    generation._from_model_config = False
    # Training says how long an answer is: nothing may forbid its end.
    generation.min_length = generation.min_new_tokens = None
    generation.suppress_tokens = _without(generation.suppress_tokens, stops)
    generation.begin_suppress_tokens = _without(generation.begin_suppress_tokens, stops)


def stops_of(generation: Any) -> list[int]:
    """The tokens at which generation stops."""
    stops = generation.eos_token_id
    return [] if stops is None else [stops] if isinstance(stops, int) else list(stops)


def _without(tokens: Sequence[int] | None, stops: Sequence[int]) -> list[int] | None:
    return [token for token in tokens if token not in stops] or None if tokens else None
