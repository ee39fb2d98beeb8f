"""Whether the published model stops behind an answer: it is asked, with its own defaults, what it was trained on.

A model that goes on after the token that ends an answer is wrong. One that did not learn to write it may need more
training, which is worth a note, no more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from kubetune_trainer.artifact.reopen import opened, why_not
from kubetune_trainer.cores import threads
from kubetune_trainer.errors import is_out_of_memory
from kubetune_trainer.model.stops import stops_of
from kubetune_trainer.records import Answer

LARGEST_WEIGHTS = 2 * 2**30
"""Bytes; a larger model takes minutes for a sentence on the cores of the driver."""
_ROOM = 3
"""Times its weights: in 32-bit numbers, and what generating takes."""
_SPARE_TOKENS = 16
"""How many tokens more than the answer a model may write."""
_SECONDS = 20.0


@dataclass
class StopCheck:
    """The check, and what came of it."""

    answers: Sequence[Answer] = ()
    """What is asked; nothing of a model that does not generate."""
    asked: int = 0
    ended: int = 0
    """How many answers the model ended by itself."""
    unable: str | None = None
    """Why it could not be asked."""

    @property
    def note(self) -> str | None:
        """What the author of the job should know, in a sentence."""
        if self.unable:
            return (
                f"the published model does not generate with its own defaults ({self.unable}), so whether it stops was"
                " not tried; correct its generation_config.json"
            )
        if not self.asked or self.ended:
            return None
        return (
            f"the published model ended none of the {self.asked} answers of the training data that it was asked for: it"
            " has not learned to stop yet; more steps (spec.training.epochs or maxSteps) or a higher learning rate"
            " (spec.training.learningRate) may help"
        )

    def needs_weights(self, size: int, free: int) -> bool:
        """Whether weights of so many bytes are kept until the model is asked."""
        return bool(self.answers) and size <= LARGEST_WEIGHTS and _ROOM * size <= free

    def configuration_errors(self, folder: Path) -> Iterator[str]:
        """Whether the generation configuration in `folder` names what ends an answer."""
        if not self.answers:
            return
        try:
            stops = stops_of(GenerationConfig.from_pretrained(folder, local_files_only=True))
        except Exception as error:  # whatever the parser of a damaged file may stumble over
            yield f"generation_config.json does not load ({why_not(error, folder)})"
            return
        for end in sorted({answer.tokens[-1] for answer in self.answers}):
            if end not in stops:
                yield f"generation_config.json does not stop at the token {end}, with which the model ends its answers"

    def ask(self, folder: Path, model_class: Any, base: Path | None = None) -> Iterator[str]:
        """Asks the model in `folder`, where that is an adapter beside the one in `base`; nothing is known where the
        memory does not suffice after all."""
        try:
            yield from self._ask_all(opened(folder, model_class, base or folder))
        except Exception as error:  # whatever a configuration may lead to
            if not is_out_of_memory(error):
                self.unable = why_not(error, folder)

    def _ask_all(self, model: Any) -> Iterator[str]:
        model.eval()
        torch.set_num_threads(threads())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for answer in self.answers:
                yield from self._ask(model, answer)

    def _ask(self, model: Any, answer: Answer) -> Iterator[str]:
        prompt, end = torch.tensor([list(answer.prompt)]), answer.tokens[-1]
        whole = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=len(answer.tokens) + _SPARE_TOKENS,
            max_time=_SECONDS,
            num_return_sequences=1,
            return_dict_in_generate=False,
        )
        before = 1 if model.config.is_encoder_decoder else prompt.shape[1]
        said, stops = whole[0, before:].tolist(), stops_of(model.generation_config)
        ended = said[-1] in stops
        # An answer that time cut short tells nothing.
        if ended or len(said) == len(answer.tokens) + _SPARE_TOKENS:
            self.asked += 1
            self.ended += ended
        if end in said[:-1]:
            yield f"the model goes on after the token {end}, with which it ends its answers"
