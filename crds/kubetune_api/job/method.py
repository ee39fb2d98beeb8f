"""`spec.method`: which weights are trained."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from kubetune_api.base import ApiModel, Rule
from kubetune_api.methods import METHODS
from kubetune_api.tables import OneOf, filled
from kubetune_api.unions import members_of_type

_FREEZING = [name for name, row in METHODS.items() if row.freezes]
DEFAULT_TARGETS: Literal["AllLinear"] = "AllLinear"
"""The layers that LoRA adapts where the manifest names none."""
DEFAULT_RANK = 16
"""`rank` where neither the manifest nor an adapter says."""
ALPHA_PER_RANK = 2
"""`alpha` for each rank where the manifest does not say."""


def _what_they_do() -> str:
    return " ".join(f"`{name}` {method.does}." for name, method in METHODS.items())


class Freeze(ApiModel):
    """Which parts of the pretrained model stay as they are."""

    embeddings: bool = False
    """Freezes the embeddings. In a decoder whose output layer shares them, the output layer stays as it is too."""
    bottom_layers: Annotated[int, Field(ge=0, le=1000)] = 0
    """Freezes this many transformer layers, counted from the input."""


class LoRA(ApiModel):
    """Small matrices beside the layers of the pretrained model (Hu et al. 2021, arXiv:2106.09685), by peft."""

    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """The rows of the small matrices. More can learn more, and take more memory. Unset: 16, or those of the adapter
    that `model.uri` names."""
    alpha: Annotated[int, Field(ge=1, le=65536)] | None = None
    """The share of what the matrices add, in ranks: it is multiplied by `alpha / rank`. Unset: twice the rank, or
    the adapter's."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """The share of the matrices' inputs that is dropped while training, 0 to below 1."""
    targets: Literal["Attention", "AllLinear"] | None = None
    """The linear layers that get matrices: those of the attention, or all but the output layer and the head. Unset:
    `AllLinear`, unless `targetModules` names them or the adapter has its own."""
    target_modules: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]],
            Field(min_length=1, max_length=64),
        ]
        | None
    ) = None
    """The same by the names that the model's code gives them, or the ends of these: `q_proj`, `mlp.down_proj`."""
    variant: Literal["Standard", "RsLoRA", "DoRA"] | None = None
    """`Standard`; `RsLoRA` multiplies by `alpha / √rank` instead (arXiv:2312.03732); `DoRA` also trains the length of
    each row of the adapted weights (arXiv:2402.09353). Unset: `Standard`, or the adapter's."""
    publish: Literal["Adapter", "Merged"] = "Adapter"
    """`Adapter` publishes the small matrices alone, which are loaded beside the pretrained model; `Merged` adds them to
    its weights and publishes a whole model."""

    rules: ClassVar = (
        Rule(
            cel="!(has(self.targets) && has(self.targetModules))",
            message="the adapted layers are chosen either by `targets` or by `targetModules`; remove one of the two",
            holds=lambda lora: lora.targets is None or lora.target_modules is None,
            field="targetModules",
        ),
    )

    @property
    def resolved(self) -> Self:
        """The same with every default filled in that depends on another field."""
        targets = self.targets or (None if self.target_modules else DEFAULT_TARGETS)
        rank = self.rank or DEFAULT_RANK
        filled_in = {"rank": rank, "alpha": self.alpha or ALPHA_PER_RANK * rank, "targets": targets}
        return self.model_copy(update=filled_in | {"variant": self.variant or "Standard"})


class Quantization(ApiModel):
    """Numbers of fewer bits for the pretrained linear layers while an adapter is trained, by bitsandbytes."""

    type: Literal["NF4", "Int8"]
    """`NF4` has 4 bits for each number, as QLoRA does (arXiv:2305.14314); `Int8` has 8 (arXiv:2208.07339)."""
    double_quantization: bool = False
    """Also stores the constants of `NF4`, one for 64 numbers, in 8 bits: 4.1 bits for each number instead of 4.5."""

    rules: ClassVar = (
        Rule(
            cel="!self.doubleQuantization || self.type == 'NF4'",
            message="only the constants of NF4 can be quantized again; remove it, or set `type` to NF4",
            holds=lambda quantization: not quantization.double_quantization or quantization.type == "NF4",
            field="doubleQuantization",
        ),
    )


class Method(ApiModel):
    """Which weights are trained."""

    type: Annotated[str, OneOf(METHODS), Field(json_schema_extra=filled(methods=_what_they_do))] = "Full"
    """{methods}"""
    freeze: Freeze = Freeze()
    """Which parts stay as they are, where every weight is trained otherwise."""
    lora: LoRA | None = None
    """The settings of `LoRA`. Unset: their defaults."""
    quantization: Quantization | None = None
    """How the frozen weights of `LoRA` are stored while it trains, to save memory; what is published does not have it.
    Unset: in the precision of the training."""

    rules: ClassVar = (
        members_of_type(lambda: {name: row.settings for name, row in METHODS.items()}),
        Rule(
            # The API server judges the default {} of the group before it fills it in.
            cel=f"!has(self.freeze) || self.type in {_FREEZING} ||"
            " !(self.freeze.embeddings || self.freeze.bottomLayers > 0)",
            message="this method leaves all pretrained weights as they are; remove `freeze`, or set `type` to Full",
            holds=lambda method: method.type in _FREEZING or method.freeze == Freeze(),
            field="freeze",
        ),
        Rule(
            cel="!has(self.quantization) || !has(self.lora) || !has(self.lora.variant) || self.lora.variant != 'DoRA'",
            message="DoRA needs the lengths of weights that are not rounded; choose another variant, or remove"
            " method.quantization",
            holds=lambda method: not (method.quantization and method.lora) or method.lora.variant != "DoRA",
            field="lora.variant",
        ),
    )

    @property
    def highest_stage(self) -> int:
        """The highest ZeRO stage: stage 3 cuts weights into pieces, and DoRA reads whole ones outside of their layers;
        quantized ones cannot be cut."""
        whole = self.quantization or (self.lora or LoRA()).variant == "DoRA"
        return 2 if METHODS[self.type].settings and whole else 3

    @property
    def publishes_adapter(self) -> bool:
        """Whether the published files are loaded beside the pretrained model, and are no model by themselves."""
        return bool(METHODS[self.type].settings) and (self.lora or LoRA()).publish == "Adapter"

    @property
    def resolved(self) -> Self:
        """The same with every default filled in that depends on the type."""
        adapts = "lora" in METHODS[self.type].settings
        return self.model_copy(update={"lora": (self.lora or LoRA()).resolved} if adapts else {})
