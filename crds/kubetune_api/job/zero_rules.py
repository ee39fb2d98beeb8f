"""What ZeRO's stage, and what it offloads, go together with."""

from collections.abc import Iterator
from typing import Any

from kubetune_api.base import Rule
from kubetune_api.optimizers import OPTIMIZERS
from kubetune_api.tables import listed

CUTS_WEIGHTS = 3
"""The ZeRO stage that does."""
_IS_DORA = "(has(self.method.lora) && has(self.method.lora.variant) && self.method.lora.variant == 'DoRA')"


def _offloads(what: str) -> str:
    return f"(has(self.zero.offload) && has(self.zero.offload.{what}) && self.zero.offload.{what} == 'CPU')"


def _is_dora(spec: Any) -> bool:
    return spec.method.lora is not None and spec.method.lora.variant == "DoRA"


def _whole_matrices() -> list[str]:
    return [name for name, row in OPTIMIZERS.items() if row.whole_matrices]


def stage_rules() -> Iterator[Rule]:
    """What works on whole weights or matrices is not beside a stage that cuts them."""
    names = _whole_matrices()
    yield Rule(
        cel=f"!(self.training.optimizer.type in {names}) || !has(self.zero.stage) || self.zero.stage == 0",
        message=f"{listed(names)} work on whole matrices, which ZeRO cuts into pieces from stage 1 on; set stage to 0,"
        " leave it out, or choose another optimizer",
        holds=lambda spec: not spec.training.optimizer.row.whole_matrices or spec.zero.stage in (None, 0),
        field="zero.stage",
    )
    yield Rule(
        cel=f"!{_IS_DORA} || !has(self.zero.stage) || self.zero.stage < 3",
        message="DoRA reads whole weights, which ZeRO cuts into pieces at stage 3; set stage to 2 or less, leave it"
        " out, or choose another method.lora.variant",
        holds=lambda spec: spec.zero.stage != CUTS_WEIGHTS or not _is_dora(spec),
        field="zero.stage",
    )
    yield Rule(
        cel="!has(self.method.quantization) || !has(self.zero.stage) || self.zero.stage < 3",
        message="stage 3 cuts weights into pieces, and quantized ones stay whole on each worker; set stage to 2 or"
        " less, leave it out, or remove method.quantization",
        holds=lambda spec: spec.zero.stage != CUTS_WEIGHTS or spec.method.quantization is None,
        field="zero.stage",
    )


def offload_rules() -> Iterator[Rule]:
    """The same of what is only offloaded from a stage on."""
    names = _whole_matrices()
    yield Rule(
        cel=f"!(self.training.optimizer.type in {names}) || !({_offloads('optimizer')} || {_offloads('weights')})",
        message=f"{listed(names)} work on whole matrices, at stage 0 alone, and DeepSpeed offloads from stage 1 on;"
        " remove offload, or choose another optimizer",
        holds=lambda spec: not spec.training.optimizer.row.whole_matrices or not spec.zero.offload.lowest_stage,
        field="zero.offload",
    )
    yield Rule(
        cel=f"!{_IS_DORA} || !{_offloads('weights')}",
        message="DoRA reads whole weights, and offloaded ones are cut into pieces; remove offload.weights, or choose"
        " another method.lora.variant",
        holds=lambda spec: spec.zero.offload.weights == "None" or not _is_dora(spec),
        field="zero.offload.weights",
    )
    yield Rule(
        cel=f"!has(self.method.quantization) || !{_offloads('weights')}",
        message="offloaded weights are cut into pieces, and quantized ones stay whole on each worker; remove"
        " offload.weights, or remove method.quantization",
        holds=lambda spec: spec.zero.offload.weights == "None" or spec.method.quantization is None,
        field="zero.offload.weights",
    )
