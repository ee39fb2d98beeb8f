"""Whether a model of some family can learn a task."""

from kubetune_api.families import FAMILIES, Family, not_supported
from kubetune_api.tasks import TASKS
from kubetune_trainer.errors import invalid_model


def family_of(model_type: str, task_type: str) -> Family:
    """The family of a model that is to learn a task, or the reason why it cannot."""
    family = FAMILIES.get(model_type)
    if family is None:
        raise invalid_model(f"spec.model.uri: {not_supported(model_type)}")
    if TASKS[task_type].model == "Decoder" and not family.decoder:
        decoders = ", ".join(sorted(name for name, known in FAMILIES.items() if known.decoder))
        others = " or ".join(name for name, row in TASKS.items() if row.model == "Any")
        raise invalid_model(
            f"spec.task.type: {task_type} needs a decoder, and '{model_type}' is an encoder; choose a model of type"
            f" {decoders}, or train it for {others}"
        )
    taggers = [name for name, known in FAMILIES.items() if known.tagger]
    if TASKS[task_type].per_token and not family.tagger:
        raise invalid_model(
            f"spec.task.type: transformers has no model of type '{model_type}' with an output for each token; for"
            f" {task_type} choose another, such as {', '.join(taggers[:3])}"
        )
    if TASKS[task_type].model == "Encoder" and family.decoder:
        encoders = ", ".join(sorted(name for name, known in FAMILIES.items() if not known.decoder))
        raise invalid_model(
            f"spec.task.type: {task_type} needs an encoder, and '{model_type}' is a decoder; choose a model of type"
            f" {encoders}"
        )
    return family
