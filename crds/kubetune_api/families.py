"""The families of models that kubetune trains: one row for each, by transformers' model type.

The planner reads how a family writes its sizes into config.json and what its parts are made of; the trainer, where it
keeps its embeddings and layers.
"""

from dataclasses import replace

from kubetune_api.family import EncoderDecoder, Family

__all__ = ["BUFFERS", "FAMILIES", "HEADS", "EncoderDecoder", "Family", "not_supported"]

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
_GPT_NEOX_NAMES = _BERT_NAMES | {"dropout": "hidden_dropout"}
_GEMMA_NAMES = _BERT_NAMES | {"activation": "hidden_activation"}
_PHI3_NAMES = _BERT_NAMES | {"dropout": "resid_pdrop"}
_ELECTRA_NAMES = _BERT_NAMES | {"embedding": "embedding_size"}
# RoBERTa counts positions from the padding token's index plus one.
_ROBERTA = Family(_BERT_NAMES, ("embeddings",), "encoder.layer", position_offset=2, token_types=2, pooler=True)
_MODERNBERT = Family(
    _BERT_NAMES | {"activation": "hidden_activation", "dropout": "mlp_dropout"},
    ("embeddings",),
    "layers",
    gated=True,
    plain_norms=True,
    norms_first=True,
    query_bias=False,
    fused_queries=True,
    fused_gate=True,
    head="norm",
    pretrained_head="head",
    dropouts=0,
)
_LLAMA = Family(
    _BERT_NAMES,
    ("embed_tokens",),
    "layers",
    decoder=True,
    gated=True,
    activation="silu",
    tied=False,
    query_bias=False,
    head="linear",
    dropouts=0,
)
_BOUNDS = ("attn_logit_softcapping", "final_logit_softcapping")
_GEMMA2 = replace(
    _LLAMA,
    names=_GEMMA_NAMES,
    activation="gelu_pytorch_tanh",
    tied=True,
    norms=4,
    wide_norms=True,
    eager=True,
    bounds=_BOUNDS,
)
_T5_NAMES = {
    "layers": "num_layers",
    "decoder_layers": "num_decoder_layers",
    "hidden": "d_model",
    "intermediate": "d_ff",
    "heads": "num_heads",
    "head": "d_kv",
    "vocabulary": "vocab_size",
    "activation": "feed_forward_proj",
    "dropout": "dropout_rate",
}
_BART_NAMES = {
    "layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "hidden": "d_model",
    "intermediate": "encoder_ffn_dim",
    "decoder_intermediate": "decoder_ffn_dim",
    "heads": "encoder_attention_heads",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "activation": "activation_function",
    "dropout": "dropout",
}


def _t5(activation: str) -> Family:
    decoder = EncoderDecoder("decoder.block", relative=True, activation=activation)
    return Family(_T5_NAMES, ("shared",), "encoder.block", encoder_decoder=decoder)


_BART_EMBEDDINGS = (
    "shared",
    "encoder.embed_positions",
    "encoder.layernorm_embedding",
    "decoder.embed_positions",
    "decoder.layernorm_embedding",
)
_BART = EncoderDecoder("decoder.layers", learned_positions=True, embedding_norm=True, last_norm=False)
_MBART = replace(_BART, last_norm=True)
_PEGASUS = EncoderDecoder(
    "decoder.layers", sinusoids=("encoder.embed_positions", "decoder.embed_positions"), activation="relu"
)

FAMILIES = {
    "bert": Family(_BERT_NAMES, ("embeddings",), "encoder.layer", token_types=2, pooler=True),
    # The smaller sizes widen their embeddings to the width of the layers.
    "electra": Family(_ELECTRA_NAMES, ("embeddings", "embeddings_project"), "encoder.layer", token_types=2),
    "albert": Family(
        _ELECTRA_NAMES,
        ("embeddings", "encoder.embedding_hidden_mapping_in"),
        "encoder.albert_layer_groups",
        token_types=2,
        pooler=True,
        activation="gelu_new",
        dropouts=1,
        shared="num_hidden_groups",
    ),
    # The second version has a convolution above the first layer in its larger sizes; the third shares projections.
    "deberta-v2": Family(
        _BERT_NAMES,
        ("embeddings", "encoder.rel_embeddings", "encoder.LayerNorm", "encoder.conv"),
        "encoder.layer",
        relative="Disentangled",
        eager=True,
    ),
    "modernbert": _MODERNBERT,
    # Its distances lie beside the layers, all of which use them.
    "mpnet": Family(
        _BERT_NAMES,
        ("embeddings", "encoder.relative_attention_bias"),
        "encoder.layer",
        position_offset=2,
        pooler=True,
        relative="Buckets",
        eager=True,
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": Family(_DISTILBERT_NAMES, ("embeddings",), "transformer.layer", dropouts=1),
    "gpt2": Family(
        _GPT2_NAMES,
        ("wte", "wpe"),
        "h",
        decoder=True,
        head="linear",
        joint_queries=True,
        widening=4,
        activation="gelu_new",
    ),
    "gpt_neox": Family(
        _GPT_NEOX_NAMES,
        ("embed_in",),
        "layers",
        decoder=True,
        rotary=True,
        partial_rotary=True,
        tied=False,
        head="linear",
        fused_queries=True,
        parallel=True,
        published_names={"lm_head.": "embed_out."},
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": replace(
        _LLAMA,
        gguf="llama",
        experts=("num_local_experts", "num_experts_per_tok"),
        published_names={".mlp.": ".block_sparse_moe."},
        joined=(".experts.gate_up_proj", ".experts.down_proj"),
    ),
    "qwen2": replace(_LLAMA, query_bias=True),
    "qwen3": replace(_LLAMA, query_norms="Head"),
    "gemma2": _GEMMA2,
    # The text model alone; `gemma3` sees pictures too.
    "gemma3_text": replace(_GEMMA2, gguf="gemma3", query_norms="Head", eager=False, tagger=False),
    "phi3": replace(_LLAMA, names=_PHI3_NAMES, fused_queries=True, partial_rotary=True, fused_gate=True, dropouts=2),
    "smollm3": replace(_LLAMA, tied=True),
    "olmo2": replace(_LLAMA, wide_norms=True, query_norms="Width", tagger=False),
    # Flan-T5 is of the type t5, too.
    "t5": _t5("relu"),
    "mt5": _t5("gated-gelu"),
    "bart": Family(_BART_NAMES, _BART_EMBEDDINGS, "encoder.layers", encoder_decoder=_BART, tagger=False),
    "pegasus": Family(_BART_NAMES, ("shared",), "encoder.layers", encoder_decoder=_PEGASUS, tagger=False),
    # mBART-50 too, which puts the tokens of languages elsewhere; its tokenizer knows where.
    "mbart": Family(
        _BART_NAMES, _BART_EMBEDDINGS, "encoder.layers", encoder_decoder=_MBART, tagger=False, languages=True
    ),
}

_NO_TEXT_MODELS = {
    "gemma3": "reads images too, of which kubetune trains nothing; its text models, such as google/gemma-3-1b-it, are"
    " of type 'gemma3_text'",
}
"""Types that people mistake for one of a family's, and what to take instead."""


def not_supported(model_type: str) -> str:
    """Why a model of this type, which is none of the families', cannot be trained; a sentence without a full stop."""
    if known := _NO_TEXT_MODELS.get(model_type):
        return f"a model of type '{model_type}' {known}"
    return f"a model of type '{model_type}' is not supported; supported types are {', '.join(sorted(FAMILIES))}"


HEADS = frozenset(
    {
        "classification_head",
        "classifier",
        "cls",
        "crf",
        "discriminator_predictions",
        # What GPT-NeoX's files call the output layer.
        "embed_out",
        "generator_lm_head",
        "generator_predictions",
        # The projection of ColBERT.
        "head",
        "linear",
        "lm_head",
        "lm_predictions",
        "mask_predictions",
        "medusa_head",
        "multiple_choice_head",
        "pre_classifier",
        "predictions",
        "qa_outputs",
        "score",
        "sequence_summary",
        "sop_classifier",
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
ALSO_BESIDE = frozenset({"decoder", "pooler"})
"""Two more, ModernBERT's and DeBERTa's, that are parts of the base model in other families."""
BUFFERS = (
    "position_ids",
    "token_type_ids",
    "inv_freq",
    "cos_cached",
    "sin_cached",
    "attn.bias",
    "attn.masked_bias",
    # GPT-NeoX's.
    "attention.bias",
    "attention.masked_bias",
)
"""How the names of tensors end that older files hold, and that follow from config.json today."""
