"""The families of models that kubetune trains, and where each keeps its embeddings and layers."""

from dataclasses import dataclass

from kubetune_trainer.errors import invalid_model


@dataclass(frozen=True)
class Family:
    """One architecture, by transformers' model type."""

    embeddings: tuple[str, ...]
    """The modules of the base model that turn tokens into vectors; not every size of the family has all of them."""
    layers: str
    """The list of the base model's transformer layers, bottom first."""
    decoder: bool
    """Whether it predicts the next token."""
    position_offset: int = 0
    """Positions that the model keeps for itself."""


_BERT = Family(embeddings=("embeddings",), layers="encoder.layer", decoder=False)
_LLAMA = Family(embeddings=("embed_tokens",), layers="layers", decoder=True)

FAMILIES = {
    "bert": _BERT,
    # ELECTRA's smaller sizes widen their embeddings to the width of the layers.
    "electra": Family(embeddings=("embeddings", "embeddings_project"), layers="encoder.layer", decoder=False),
    # RoBERTa counts positions from the padding token's index plus one.
    "roberta": Family(embeddings=("embeddings",), layers="encoder.layer", decoder=False, position_offset=2),
    "xlm-roberta": Family(embeddings=("embeddings",), layers="encoder.layer", decoder=False, position_offset=2),
    "distilbert": Family(embeddings=("embeddings",), layers="transformer.layer", decoder=False),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "gpt2": Family(embeddings=("wte", "wpe"), layers="h", decoder=True),
}


def family_of(model_type: str, task_type: str) -> Family:
    """The family of a model that is to learn a task, or the reason why it cannot."""
    family = FAMILIES.get(model_type)
    if family is None:
        raise invalid_model(
            f"spec.model.uri: a model of type '{model_type}' is not supported; supported types are"
            f" {', '.join(sorted(FAMILIES))}"
        )
    if task_type == "CausalLM" and not family.decoder:
        decoders = ", ".join(sorted(name for name, known in FAMILIES.items() if known.decoder))
        raise invalid_model(
            f"spec.task.type: CausalLM needs a decoder, and '{model_type}' is an encoder; choose a model of type"
            f" {decoders}, or train it for SequenceClassification"
        )
    return family
