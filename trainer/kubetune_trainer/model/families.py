"""Whether a model of some family can learn a task."""

from kubetune_api.families import FAMILIES, Family, not_supported
from kubetune_api.family import IN_WORDS
from kubetune_api.tasks import TASKS
from kubetune_trainer.errors import RunError, invalid_model


def family_of(model_type: str, task_type: str) -> Family:
    """The family of a model that is to learn a task, or the reason why it cannot."""
    family = FAMILIES.get(model_type)
    if family is None:
        raise invalid_model(f"spec.model.uri: {not_supported(model_type)}")
    needed = TASKS[task_type].model
    if not family.suits(needed):
        raise _unsuited(model_type, task_type)
    taggers = [name for name, known in FAMILIES.items() if known.tagger]
    if TASKS[task_type].per_token and not family.tagger:
        raise invalid_model(
            f"spec.task.type: transformers has no model of type '{model_type}' with an output for each token; for"
            f" {task_type} choose another, such as {', '.join(taggers[:3])}"
        )
    return family


def _unsuited(model_type: str, task_type: str) -> RunError:
    family, needed = FAMILIES[model_type], TASKS[task_type].model
    types = ", ".join(sorted(name for name, known in FAMILIES.items() if known.suits(needed)))
    others = [name for name, row in TASKS.items() if family.suits(row.model)]
    return invalid_model(
        f"spec.task.type: {task_type} needs {IN_WORDS[needed]}, and '{model_type}' is {IN_WORDS[family.kind]}; choose a"
        f" model of type {types}, or train it for {' or '.join(others)}"
    )
