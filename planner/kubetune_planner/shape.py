"""The shape of a model: what its config.json says, and how many parameters follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kubetune_api.families import FAMILIES, Family, not_supported
from kubetune_planner.relative_positions import NONE, RelativePositions, relative_positions

TIED = "tie_word_embeddings"


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a transformer."""

    family: str
    """transformers' model type: `bert`, `llama`."""
    layers: int
    hidden: int
    """The width between the layers."""
    intermediate: int
    """The width inside the feed-forward part."""
    heads: int
    """Attention heads of the queries."""
    kv_heads: int
    """Attention heads of keys and values; fewer than `heads` with grouped-query attention."""
    head_size: int
    """The width of one attention head."""
    vocabulary: int
    """Tokens that the model knows."""
    embedding: int
    """The width of the token embeddings; only ELECTRA's differs from `hidden`."""
    positions: int
    """The longest sequence, in tokens; for a model with rotary positions, the one that its authors named."""
    token_types: int
    tied: bool
    """Whether the output layer of a decoder is its embeddings."""
    query_bias: bool
    """Whether queries, keys and values have biases."""
    output_bias: bool
    """Whether the attention's output has one."""
    feed_forward_bias: bool
    activation: str
    """The function inside the feed-forward part."""
    dropout: float
    experts: int = 1
    """Feed-forward parts of a layer, side by side."""
    active_experts: int = 1
    """Those of them that a token passes through."""
    bounded_scores: bool = False
    """Whether the attention's scores are bounded."""
    bounded_logits: bool = False
    """Whether the output's are."""
    parallel: bool = False
    """Whether attention and feed-forward part read the same numbers."""
    own_layers: int | None = None
    """Layers with weights of their own; None for all."""
    learned_positions: int = 0
    """Positions that have a vector of their own."""
    relative: RelativePositions = NONE

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The shape that a config.json describes; ValueError with a sentence where kubetune trains no such model."""
        family = family_named(config)
        size = Sizes(config, family)
        hidden, heads = size("hidden"), size("heads")
        gated, biased = family.gated, config.get("position_biased_input", True)
        return cls(
            family=str(config["model_type"]),
            layers=size("layers"),
            hidden=hidden,
            intermediate=size("intermediate", family.widening and family.widening * hidden),
            heads=heads,
            kv_heads=size.plain("num_key_value_heads", heads) if gated else heads,
            head_size=size.plain("head_dim", hidden // heads) if gated else hidden // heads,
            vocabulary=size("vocabulary"),
            embedding=size("embedding", hidden) if "embedding" in family.names else hidden,
            positions=size("positions") - family.position_offset,
            token_types=size.plain("type_vocab_size", family.token_types) if family.token_types else 0,
            tied=bool(config.get(TIED, family.tied)),
            query_bias=bool(config.get("attention_bias", family.query_bias)) if gated else True,
            output_bias=bool(config.get("attention_bias", False)) if gated else True,
            feed_forward_bias=bool(config.get("mlp_bias", False)) if gated else True,
            activation=str(config.get(family.names["activation"], family.activation)),
            dropout=float(config.get(family.names["dropout"], 0.1)) if family.dropouts else 0.0,
            experts=size.plain(family.experts[0]) if family.experts else 1,
            active_experts=size.plain(family.experts[1]) if family.experts else 1,
            bounded_scores=bool(family.bounds and config.get(family.bounds[0])),
            bounded_logits=bool(family.bounds and config.get(family.bounds[1])),
            parallel=bool(family.parallel and config.get("use_parallel_residual", True)),
            own_layers=size.plain(family.shared) if family.shared else None,
            learned_positions=0 if gated or family.rotary or not biased else size("positions"),
            relative=relative_positions(config, family, hidden, heads),
        )

    @property
    def decoder(self) -> bool:
        """Whether the model predicts the next token."""
        return FAMILIES[self.family].decoder

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embeddings, with their norm: what `method.freeze.embeddings` freezes."""
        family = FAMILIES[self.family]
        vectors = self.vocabulary + self.learned_positions + self.token_types
        widened = (self.embedding + 1) * self.hidden if self.embedding != self.hidden else 0
        norm = 0 if family.decoder else 2 * self.embedding
        if family.norms_first:
            norm = self.hidden
        return vectors * self.embedding + norm + widened + self.relative.embedding_parameters

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer: attention, feed-forward part, norms."""
        family = FAMILIES[self.family]
        queries, keys = self.query_width, self.key_width
        attention = 2 * self.hidden * (queries + keys)
        biases = self.query_bias * (queries + 2 * keys) + self.output_bias * self.hidden
        norms = family.norms * (1 if family.gated else 2) * self.hidden
        match family.query_norms:
            case "Head":
                norms += 2 * self.head_size
            case "Width":
                norms += queries + keys
        return attention + biases + norms + self._feed_forward_parameters + self.relative.layer_parameters

    @property
    def active_layer_parameters(self) -> int:
        """Those of them that one token meets: of experts, only the ones that it passes through."""
        idle = self.experts - self.active_experts
        gated = FAMILIES[self.family].gated
        return self.layer_parameters - idle * (3 if gated else 2) * self.hidden * self.intermediate

    def bottom_parameters(self, layers: int) -> int:
        """Parameters of the lowest layers: what `method.freeze.bottomLayers` freezes."""
        lacking = self.hidden if layers and FAMILIES[self.family].norms_first else 0
        return layers * self.layer_parameters - lacking

    @property
    def query_width(self) -> int:
        """The width of all queries together."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """The width of all keys together, and that of the values."""
        return self.kv_heads * self.head_size

    @property
    def _feed_forward_parameters(self) -> int:
        gated = FAMILIES[self.family].gated
        weights = (3 if gated else 2) * self.hidden * self.intermediate
        biases = self.feed_forward_bias * ((2 if gated else 1) * self.intermediate + self.hidden)
        router = self.experts * self.hidden if self.experts > 1 else 0
        return self.experts * (weights + biases) + router

    @property
    def norm_parameters(self) -> int:
        """Parameters of the norm behind the last layer, which encoders mostly have not."""
        family = FAMILIES[self.family]
        if not (family.decoder or family.norms_first):
            return 0
        return self.hidden if family.gated else 2 * self.hidden

    @property
    def output_parameters(self) -> int:
        """Parameters of a decoder's output layer, where they are not the embeddings'."""
        return 0 if self.tied or not self.decoder else self.vocabulary * self.hidden

    def classifier_parameters(self, labels: int) -> int:
        """Parameters of a classifier's head for that many labels."""
        if FAMILIES[self.family].head == "linear":
            return self.hidden * labels
        # A dense layer and its bias, or the weight of a norm: as many.
        return (self.hidden + 1) * self.hidden + (self.hidden + 1) * labels

    def head_matrix(self, labels: int | None) -> int:
        """Parameters of the largest matrix of a classifier's head; a language model (None) has no head."""
        if labels is None:
            return 0
        return self.hidden * (labels if FAMILIES[self.family].head == "linear" else max(labels, self.hidden))

    @property
    def fixed_parameters(self) -> int:
        """Parameters that are stored and never trained."""
        return 0

    @property
    def parameters(self) -> int:
        """Parameters of the pretrained model, as they are published: a decoder with its output layer, an encoder
        with its pooler but without the head of its pretraining. Tied weights count once."""
        pooler = (self.hidden + 1) * self.hidden if FAMILIES[self.family].pooler else 0
        return self._without_head + self.output_parameters + pooler

    def parameters_for(self, labels: int | None) -> int:
        """Parameters of the model that is trained: a classifier of so many labels, or a language model for None."""
        head = self.output_parameters if labels is None else self.classifier_parameters(labels)
        return self._without_head + head

    @property
    def embedding_matrix(self) -> int:
        """Parameters of the token embeddings, and of an output layer: mostly the largest matrix."""
        return self.vocabulary * self.embedding

    @property
    def layer_matrix(self) -> int:
        """Parameters of the largest matrix inside a layer."""
        family = FAMILIES[self.family]
        # Some families keep a gate and what it is multiplied with in one matrix, and so all experts.
        together = 2 * self.experts if family.experts or family.fused_gate else 1
        attention = self.query_width + (2 * self.key_width if family.fused_queries else 0)
        return self.hidden * max(together * self.intermediate, attention)

    @property
    def attention_matrices(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each linear layer of one layer's attention: queries, keys, values, output; and those
        of relative positions."""
        queries, keys = self.query_width, self.key_width
        family, square = FAMILIES[self.family], (self.hidden, self.hidden)
        if family.joint_queries or family.fused_queries:
            return (self.hidden, queries + 2 * keys), (queries, self.hidden)
        positions = self.relative.layer_parameters // ((self.hidden + 1) * self.hidden)
        plain = (self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden)
        return (*plain, *positions * [square])

    @property
    def linear_matrices(self) -> tuple[tuple[int, int], ...]:
        """The same of a whole layer: the feed-forward part behind the attention."""
        family = FAMILIES[self.family]
        if family.experts:
            # The matrices of all experts are one tensor each, and no linear layers.
            return self.attention_matrices
        up, down = (self.hidden, self.intermediate), (self.intermediate, self.hidden)
        if family.fused_gate:
            return (*self.attention_matrices, (self.hidden, 2 * self.intermediate), down)
        return (*self.attention_matrices, *((up,) if family.gated else ()), up, down)

    def adapted_matrices(self, *, everywhere: bool) -> tuple[tuple[int, int], ...]:
        """The same of all layers together; of their attention alone if not `everywhere`."""
        return self.layers_with_weights * (self.linear_matrices if everywhere else self.attention_matrices)

    @property
    def _without_head(self) -> int:
        return self.embedding_parameters + self.bottom_parameters(self.layers_with_weights) + self.norm_parameters

    @property
    def layers_with_weights(self) -> int:
        """Layers with weights of their own."""
        return self.own_layers or self.layers


@dataclass(frozen=True)
class Sizes:
    """The whole numbers of a config.json."""

    config: Mapping[str, Any]
    family: Family

    def __call__(self, size: str, default: int | None = None) -> int:
        """The number that the family writes under a name of its own."""
        return self.plain(self.family.names[size], default)

    def plain(self, name: str, default: int | None = None) -> int:
        """The number under its own name."""
        value = self.config.get(name)
        if value is None:
            value = default
        if value is None:
            raise ValueError(f"config.json lacks {name}; take the file that belongs to the model's weights")
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"config.json gives {name} as {value!r}; it is a whole number of 1 or more")
        return value


def family_named(config: Mapping[str, Any]) -> Family:
    """The family that a config.json names; ValueError with a sentence where kubetune trains no such model."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        raise ValueError(not_supported(str(config.get("model_type"))))
    return family
