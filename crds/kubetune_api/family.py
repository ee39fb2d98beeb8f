"""What is known of a family of models: the columns of the table."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class EncoderDecoder:
    """The decoder of a family that has an encoder as well, which the rest of the row is."""

    layers: str
    """The list of the decoder's layers, bottom first."""
    relative: bool = False
    """T5's design: learned distances in the place of positions, norms and matrices without biases."""
    learned_positions: bool = False
    """Whether positions are learned, two more than config.json says."""
    sinusoids: tuple[str, ...] = ()
    """The modules of the base model that are stored, need not be, and never train: they follow from config.json."""
    embedding_norm: bool = False
    """Whether a norm follows the embeddings."""
    last_norm: bool = True
    """Whether a norm follows the last layer."""
    activation: str = "gelu"
    """The function inside the feed-forward part, as config.json writes it, where it does not say."""


@dataclass(frozen=True)
class Family:
    """One architecture, by transformers' model type."""

    names: dict[str, str]
    """What config.json calls a size of ours; `embedding` where the embeddings may be narrower than the layers."""
    embeddings: tuple[str, ...]
    """The modules of the base model that turn tokens into vectors; not every size of the family has all of them."""
    layers: str
    """The list of the base model's transformer layers, bottom first."""
    gguf: str | None = None
    """What a GGUF file calls it, if not by its own name."""
    decoder: bool = False
    """Whether it predicts the next token."""
    gated: bool = False
    """Llama's design: norms without bias, rotary positions, three matrices in the feed-forward part."""
    rotary: bool = False
    """Whether positions are rotations of queries and keys, beside Llama's design, which has them anyway."""
    activation: str = "gelu"
    """The function inside the feed-forward part, where config.json does not say."""
    norms: int = 2
    """Norms of one layer."""
    wide_norms: bool = False
    """Whether a norm without bias applies its weight in 32 bits."""
    query_norms: Literal["None", "Head", "Width"] = "None"
    """Whether queries and keys have norms: one for a head's width, or one for the width of all heads."""
    plain_norms: bool = False
    """Whether norms without bias are not Llama's, which compute in 32 bits."""
    norms_first: bool = False
    """Whether a norm behind the embeddings stands for the first layer's first, and one more behind the last layer."""
    fused_queries: bool = False
    """Whether queries, keys and values are one matrix, whose output stays as long as the values do."""
    joint_queries: bool = False
    """Whether they are one matrix, whose output is copied apart at once."""
    fused_gate: bool = False
    """Whether the gate and what it is multiplied with are one matrix."""
    partial_rotary: bool = False
    """Whether the rotation joins what it turns with what it leaves, which puts the attention's output into another
    order and keeps it twice."""
    relative: Literal["None", "Buckets", "Disentangled"] = "None"
    """How distances count in the attention: not, by a number for each head, or by vectors as wide as the model."""
    shared: str | None = None
    """What config.json calls the number of layers that have weights of their own, where layers share theirs."""
    experts: tuple[str, str] | None = None
    """What config.json calls the number of experts of a layer, and how many of them a token passes through."""
    parallel: bool = False
    """Whether attention and feed-forward part read the same numbers, where config.json does not say."""
    eager: bool = False
    """Whether no fused attention computes what it does, so that its matrix of scores is kept."""
    bounds: tuple[str, str] | None = None
    """What config.json calls the bounds of the attention's scores and of the output's; either may be unset there."""
    published_names: dict[str, str] = field(default_factory=dict)
    """Parts of a tensor's name, and what its authors' files call them where transformers has another name."""
    joined: tuple[str, ...] = ()
    """How the names of tensors end that transformers joins from several of the files."""
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
    head: Literal["linear", "dense", "norm"] = "dense"
    """The head of a classifier: one matrix without a bias, or one with a bias behind a dense layer, or behind a dense
    layer and a norm without biases."""
    pretrained_head: str = ""
    """The module beside the base model that pretraining trains too, and that a new head keeps."""
    dropouts: int = 2
    """Dropouts of one layer that keep a mask."""
    tagger: bool = True
    """Whether transformers has a class of it with an output for each token."""
    widening: int | None = None
    """How many times wider the feed-forward part is than the layers, where config.json does not say."""
    encoder_decoder: EncoderDecoder | None = None
    """Its decoder, where it has both an encoder and a decoder."""
    languages: bool = False
    """Whether a token in every text says in which language it is written."""

    @property
    def generates(self) -> bool:
        """Whether it writes: by itself, or in answer to what it read."""
        return self.decoder or self.encoder_decoder is not None

    @property
    def joins_rows(self) -> bool:
        """Whether rows of a batch can lie one behind another in it, without padding: where positions are numbers that
        come with the tokens, and a fused attention computes what it does."""
        return self.encoder_decoder is None and self.relative == "None" and not self.eager

    @property
    def kind(self) -> str:
        """What it is, as `TaskRow.model` says what a task needs."""
        if self.encoder_decoder is not None:
            return _BOTH
        return "Decoder" if self.decoder else "Encoder"

    def suits(self, needed: str) -> bool:
        """Whether it is the kind of model that a task needs."""
        return self.kind != _BOTH if needed == "Any" else self.kind == needed


_BOTH = "EncoderDecoder"
IN_WORDS = {
    "Any": "an encoder or a decoder",
    "Encoder": "an encoder",
    "Decoder": "a decoder",
    _BOTH: "an encoder with a decoder",
}
"""The kinds of models."""
