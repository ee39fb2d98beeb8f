"""The shape of a model whose decoder reads an encoder: two stacks of layers over the same embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kubetune_api.families import FAMILIES, EncoderDecoder
from kubetune_planner.shape import TIED, ModelShape, Sizes, family_named

UNLIMITED = 1 << 20
"""The longest sequence, in tokens, of a model that knows distances in the place of positions."""
_BUCKETS = 32
"""Distances that T5 tells apart, where config.json does not say."""
_GATED = "gated-"


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderShape(ModelShape):
    """The sizes of both stacks; those without a name of their own are the encoder's."""

    decoder_layers: int
    decoder_intermediate: int
    gated: bool
    """Whether a feed-forward part has a gate, and so three matrices."""
    buckets: int
    """Distances that attention tells apart; 0 where it does not."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See `ModelShape`."""
        family = family_named(config)
        decoder = _decoder_of(str(config["model_type"]))
        size, names = Sizes(config, family), family.names
        hidden, heads, intermediate = size("hidden"), size("heads"), size("intermediate")
        function = str(config.get(names["activation"], decoder.activation))
        return cls(
            family=str(config["model_type"]),
            layers=size("layers"),
            hidden=hidden,
            intermediate=intermediate,
            heads=heads,
            kv_heads=heads,
            head_size=size("head") if "head" in names else hidden // heads,
            vocabulary=size("vocabulary"),
            embedding=hidden,
            positions=size("positions") if "positions" in names else UNLIMITED,
            token_types=0,
            tied=bool(config.get(TIED, family.tied)),
            query_bias=not decoder.relative,
            output_bias=not decoder.relative,
            feed_forward_bias=not decoder.relative,
            # As transformers reads it.
            activation="gelu_new" if function == "gated-gelu" else function.removeprefix(_GATED),
            dropout=float(config.get(names["dropout"], 0.1)),
            decoder_layers=size("decoder_layers", size("layers")),
            decoder_intermediate=size("decoder_intermediate") if "decoder_intermediate" in names else intermediate,
            gated=function.startswith(_GATED),
            buckets=size.plain("relative_attention_num_buckets", _BUCKETS) if decoder.relative else 0,
        )

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embeddings and of what belongs to them in both stacks."""
        positions = 2 * (self.positions + 2) * self.hidden if self._decoder.learned_positions else 0
        norms = 2 * self._norm if self._decoder.embedding_norm else 0
        return self.embedding_matrix + positions + norms

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer of the encoder."""
        return self._attention + self._feed_forward(self.intermediate) + 2 * self._norm

    @property
    def decoder_layer_parameters(self) -> int:
        """Parameters of one layer of the decoder, which looks at the answer so far and at the source."""
        return 2 * self._attention + self._feed_forward(self.decoder_intermediate) + 3 * self._norm

    @property
    def looked_up_parameters(self) -> int:
        """Those of a layer of the decoder that tokens of the source meet: what makes keys and values of them."""
        width = self.heads * self.head_size
        return 2 * width * (self.hidden + self.query_bias)

    @property
    def writing_parameters(self) -> int:
        """Those of it that tokens of the target meet."""
        return self.decoder_layer_parameters - self.looked_up_parameters

    @property
    def norm_parameters(self) -> int:
        """Parameters of the norms behind the last layers."""
        return 2 * self._norm if self._decoder.last_norm else 0

    @property
    def output_parameters(self) -> int:
        """Parameters of the output layer, where they are not the embeddings'."""
        return 0 if self.tied else self.vocabulary * self.hidden

    @property
    def fixed_parameters(self) -> int:
        """Sinusoids."""
        return len(self._decoder.sinusoids) * self.positions * self.hidden

    def bottom_parameters(self, layers: int) -> int:
        """Parameters of the lowest layers of each stack; the first ones know the distances."""
        encoder, decoder = min(layers, self.layers), min(layers, self.decoder_layers)
        distances = 2 * self.buckets * self.heads if layers else 0
        return encoder * self.layer_parameters + decoder * self.decoder_layer_parameters + distances

    @property
    def parameters(self) -> int:
        """Parameters of the pretrained model, as they are published. Tied weights count once."""
        return self._without_head + self.output_parameters

    @property
    def layer_matrix(self) -> int:
        """Parameters of the largest matrix inside a layer."""
        return self.hidden * max(self.intermediate, self.decoder_intermediate, self.heads * self.head_size)

    def adapted_matrices(self, *, everywhere: bool) -> tuple[tuple[int, int], ...]:
        """Those of both stacks; each layer of the decoder has two attentions."""
        attention = (self.layers + 2 * self.decoder_layers) * self.attention_matrices
        if not everywhere:
            return attention
        encoder, decoder = self._matrices(self.intermediate), self._matrices(self.decoder_intermediate)
        return (*attention, *self.layers * encoder, *self.decoder_layers * decoder)

    def _matrices(self, intermediate: int) -> tuple[tuple[int, int], ...]:
        up, down = (self.hidden, intermediate), (intermediate, self.hidden)
        return (*((up,) if self.gated else ()), up, down)

    @property
    def _without_head(self) -> int:
        layers = self.bottom_parameters(max(self.layers, self.decoder_layers))
        return self.embedding_parameters + layers + self.norm_parameters + self.fixed_parameters

    @property
    def _decoder(self) -> EncoderDecoder:
        return _decoder_of(self.family)

    @property
    def _attention(self) -> int:
        width = self.heads * self.head_size
        return 4 * self.hidden * width + self.query_bias * (3 * width + self.hidden)

    @property
    def _norm(self) -> int:
        return self.hidden if self._decoder.relative else 2 * self.hidden

    def _feed_forward(self, intermediate: int) -> int:
        matrices = sum(inputs * outputs for inputs, outputs in self._matrices(intermediate))
        return matrices + self.feed_forward_bias * (intermediate + self.hidden)


def shape_from_config(config: Mapping[str, Any]) -> ModelShape:
    """The shape that a config.json describes; ValueError with a sentence where kubetune trains no such model."""
    both = family_named(config).encoder_decoder is not None
    return (EncoderDecoderShape if both else ModelShape).from_config(config)


def _decoder_of(model_type: str) -> EncoderDecoder:
    decoder = FAMILIES[model_type].encoder_decoder
    assert decoder is not None, f"{model_type} has no encoder beside its decoder"
    return decoder
