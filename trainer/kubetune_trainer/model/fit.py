"""Whether the weights in the files and config.json are of the same model.

transformers fills what is missing with noise and leaves out what it does not know, and trains another model.
"""

import re
from collections.abc import Callable, Collection
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from kubetune_api import text
from kubetune_api.families import ALSO_BESIDE, BUFFERS, HEADS
from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.model.adapter import published_name, stored_names
from kubetune_trainer.storage.configs import CONFIG

_SHOWN = 3
_UNNAMED = re.compile("LABEL_[0-9]+")
"""How transformers calls labels without names."""


def new_tensors(model: PreTrainedModel, info: dict[str, Any], *, head_may_be_new: bool) -> set[str]:
    """The tensors that the pretrained files did not hold. A gap within the base model, or in the output layer of a
    language model, is an error and not a fresh start.

    `info` is what transformers tells of the loading.
    """
    mismatched = {entry[0] if isinstance(entry, (tuple, list)) else entry for entry in info["mismatched_keys"]}
    fixed = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    # What never trains follows from config.json: sinusoids.
    missing = set(info["missing_keys"]) - fixed | mismatched
    in_head = {name for name in missing if not _in_base(model, name) or is_pooler(name)}
    if gaps := missing - in_head if head_may_be_new else {name for name in missing if not _is_unused(model, name)}:
        raise _not_of_one_model("the files lack weights of the model or hold them in another shape", gaps)
    return missing | set(info["missing_keys"])


def refuse_misfit(model: PreTrainedModel, info: dict[str, Any], *, head_is_new: bool) -> None:
    """RunError where the files hold weights that config.json does not describe (more layers, biases, other parts), or
    that are no numbers.

    The heads of other tasks may stay behind, and what older files hold of tensors that are worked out today.
    """
    _refuse_lost_numbers(model)
    of_the_head = set() if head_is_new else {name for name, _ in model.named_children()}
    undescribed = {
        name
        for name in info["unexpected_keys"]
        if _in_base(model, name) or name.partition(".")[0] not in (HEADS | ALSO_BESIDE) - of_the_head
    }
    if gaps := {name for name in undescribed if not is_pooler(name) and not name.endswith(BUFFERS)}:
        raise _not_of_one_model("the files hold weights that config.json does not describe", gaps)


def other_head(config: Any) -> Callable[[PreTrainedModel], tuple[str, ...]]:
    """What is to be said of the head that a configuration describes, as it is now, once another takes its place."""
    classes, labels = tuple(config.architectures or ()), list((getattr(config, "id2label", None) or {}).values())
    answers = ", ".join(str(label) for label in labels if not _UNNAMED.fullmatch(str(label)))
    if getattr(config, "problem_type", None) == "regression":
        answers = text.plural(len(labels), "number")

    def notes(model: PreTrainedModel) -> tuple[str, ...]:
        if type(model).__name__ not in classes or not answers:
            return ()
        shown = text.elide(text.printable(answers))
        return (f"the model came with a head for other answers ({shown}): a new one is trained in its place",)

    return notes


def head_left_behind(model: PreTrainedModel, adapter: Path) -> tuple[str, ...]:
    """What is to be said of the head in the adapter of this folder, once another takes its place and no configuration
    of its own has named its labels (see `other_head`)."""
    stored = stored_names(adapter)
    there = [name for name, _ in model.named_parameters() if published_name(name) in stored]
    head = [name for name in there if not _in_base(model, name)]
    if not head or (adapter / CONFIG).exists():
        return ()
    return (
        f"the adapter holds a head ({head[0]}), but no config.json beside it says what that answers: a new one is"
        " trained in its place; to train it further, put the config.json of its model there, with the architectures"
        f" [{type(model).__name__}] and its labels in id2label",
    )


def _refuse_lost_numbers(model: PreTrainedModel) -> None:
    """RunError where weights are infinite or not a number: no training mends them."""
    there = {name: values.detach() for name, values in model.named_parameters() if not values.is_meta}
    # The extremes of a tensor that holds NaN are NaN; they take no memory.
    lost = [name for name, values in there.items() if not all(isfinite(float(end)) for end in torch.aminmax(values))]
    if lost:
        raise _with_names(
            "the files hold weights that are infinite or not a number",
            lost,
            "take them again from their source, or another model",
        )


def _in_base(model: PreTrainedModel, name: str) -> bool:
    """Whether the tensor is one of the model without its head, also where files of that model alone name it."""
    base = model.base_model
    return name.partition(".")[0] in {str(model.base_model_prefix), *(part for part, _ in base.named_children())}


def _is_unused(model: PreTrainedModel, name: str) -> bool:
    """Whether nothing that is trained reads it."""
    return model.base_model is model and is_pooler(name)


def is_pooler(name: str) -> bool:
    """Some tasks of a family read the first token through a layer of its own, others do not."""
    return "pooler" in name


def _not_of_one_model(what: str, names: Collection[str]) -> RunError:
    return _with_names(what, names, "check that config.json belongs to these weights")


def _with_names(what: str, names: Collection[str], remedy: str) -> RunError:
    shown = ", ".join(sorted(names)[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return invalid_model(f"spec.model.uri: {what} ({shown}); {remedy}")
