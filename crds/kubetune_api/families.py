"""The families of models that kubetune trains: one row for each, by transformers' model type.

The planner reads how a family writes its sizes into config.json and what its parts are made of; the trainer, where it
keeps its embeddings and layers.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """One architecture, by transformers' model type."""

    names: dict[str, str]
    """What config.json calls a size of ours; `embedding` where the embeddings may be narrower than the layers."""
    embeddings: tuple[str, ...]
    """The modules of the base model that turn tokens into vectors; not every size of the family has all of them."""
    layers: str
    """The list of the base model's transformer layers, bottom first."""
    decoder: bool = False
    """Whether it predicts the next token."""
    gated: bool = False
    """Llama's design: norms without bias, rotary positions, three matrices in the feed-forward part."""
    position_offset: int = 0
    """Positions that the model keeps for itself."""
    token_types: int = 0
    """How many kinds of tokens it tells apart, where config.json does not say."""
    tied: bool = True
    """Whether the output layer shares the embeddings' weights, where config.json does not say."""
    query_bias: bool = True
    """Whether queries, keys and values have biases, where config.json does not say."""
    pooler: bool = False
    """Whether the pretrained model ends in a dense layer over the first token."""
    head: Literal["linear", "dense"] = "dense"
    """The head of a classifier: one matrix without a bias, or a dense layer and then one with a bias."""
    dropouts: int = 2
    """Dropouts of one layer that keep a mask."""
    widening: int | None = None
    """How many times wider the feed-forward part is than the layers, where config.json does not say."""


_BERT_NAMES = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
}
_DISTILBERT_NAMES = _BERT_NAMES | {
    "layers": "n_layers",
    "hidden": "dim",
    "intermediate": "hidden_dim",
    "heads": "n_heads",
    "activation": "activation",
    "dropout": "dropout",
}
_GPT2_NAMES = _BERT_NAMES | {
    "layers": "n_layer",
    "hidden": "n_embd",
    "intermediate": "n_inner",
    "heads": "n_head",
    "positions": "n_positions",
    "activation": "activation_function",
    "dropout": "resid_pdrop",
}
_ELECTRA_NAMES = _BERT_NAMES | {"embedding": "embedding_size"}
# RoBERTa counts positions from the padding token's index plus one.
_ROBERTA = Family(_BERT_NAMES, ("embeddings",), "encoder.layer", position_offset=2, token_types=2, pooler=True)
_LLAMA = Family(
    _BERT_NAMES,
    ("embed_tokens",),
    "layers",
    decoder=True,
    gated=True,
    tied=False,
    query_bias=False,
    head="linear",
    dropouts=0,
)

FAMILIES = {
    "bert": Family(_BERT_NAMES, ("embeddings",), "encoder.layer", token_types=2, pooler=True),
    # The smaller sizes widen their embeddings to the width of the layers.
    "electra": Family(_ELECTRA_NAMES, ("embeddings", "embeddings_project"), "encoder.layer", token_types=2),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": Family(_DISTILBERT_NAMES, ("embeddings",), "transformer.layer", dropouts=1),
    "gpt2": Family(_GPT2_NAMES, ("wte", "wpe"), "h", decoder=True, head="linear", widening=4),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family(
        _BERT_NAMES, ("embed_tokens",), "layers", decoder=True, gated=True, tied=False, head="linear", dropouts=0
    ),
}

HEADS = frozenset(
    {
        "classifier",
        "cls",
        "crf",
        "discriminator_predictions",
        "generator_lm_head",
        "generator_predictions",
        # The projection of ColBERT.
        "linear",
        "lm_head",
        "medusa_head",
        "multiple_choice_head",
        "pre_classifier",
        "qa_outputs",
        "score",
        "sequence_summary",
        # Of reinforcement learning, and of reward models.
        "regression_head",
        "reward_head",
        "v_head",
        "value_head",
        "vocab_layer_norm",
        "vocab_projector",
        "vocab_transform",
    }
)
"""The modules beside the base model: the heads of all tasks that these families are pretrained or trained for."""
BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "cos_cached", "sin_cached", "attn.bias", "attn.masked_bias")
"""How the names of tensors end that older files hold, and that follow from config.json today."""
