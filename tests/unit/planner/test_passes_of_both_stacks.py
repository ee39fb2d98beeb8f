"""What an encoder and its decoder keep for the backward pass, held against what autograd keeps of real models."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    MBartConfig,
    MT5Config,
    PegasusConfig,
    PretrainedConfig,
    T5Config,
)

from kubetune_api.families import FAMILIES
from kubetune_api.job.task import Task
from kubetune_api.job.task_settings import Seq2SeqSettings
from kubetune_planner.activations import Passes
from kubetune_planner.encoder_decoder import EncoderDecoderShape, shape_from_config
from kubetune_planner.passes import PairPasses, passes_of
from support.autograd import kept_by_autograd
from support.tiny_models import CONFIGS as TINY
from support.tiny_models import spec_for

ROWS, SOURCE, TARGET, VOCABULARY, LAYERS = 3, 64, 40, 128, 4
_T5 = {
    "vocab_size": VOCABULARY, "d_model": 64, "d_kv": 24, "d_ff": 160, "num_layers": LAYERS, "num_heads": 4,
    "dropout_rate": 0.0, "decoder_start_token_id": 0,
}  # fmt: skip
_BART = {
    "vocab_size": VOCABULARY, "d_model": 64, "encoder_layers": LAYERS, "decoder_layers": 3,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 160, "decoder_ffn_dim": 144,
    "max_position_embeddings": 128, "dropout": 0.0, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2,
    "decoder_start_token_id": 2,
}  # fmt: skip
CONFIGS: dict[str, PretrainedConfig] = {
    "t5": T5Config(**_T5),
    "mt5": MT5Config(**_T5),
    "bart": BartConfig(**_BART),
    "pegasus": PegasusConfig(**_BART, activation_function="relu"),
    "mbart": MBartConfig(**_BART),
}
DTYPES = {4: torch.float32, 2: torch.bfloat16}


def inputs() -> dict[str, Any]:
    """Sources of which the first is half padding, so that there is a mask."""
    mask = torch.ones((ROWS, SOURCE), dtype=torch.int64)
    mask[0, SOURCE // 2 :] = 0
    return {
        "input_ids": torch.full((ROWS, SOURCE), 5),
        "attention_mask": mask,
        "decoder_input_ids": torch.full((ROWS, TARGET), 5),
        "use_cache": False,
    }


def shape_of(config: PretrainedConfig) -> EncoderDecoderShape:
    shape = shape_from_config(config.to_dict())
    assert isinstance(shape, EncoderDecoderShape)
    return shape


def test_every_family_of_both_is_here() -> None:
    assert CONFIGS.keys() == {name for name, family in FAMILIES.items() if family.encoder_decoder}


@pytest.mark.parametrize("number", DTYPES, ids=["32 bits", "16 bits"])
@pytest.mark.parametrize("family", CONFIGS)
def test_both_stacks_keep_what_autograd_keeps(family: str, number: int) -> None:
    model = AutoModelForSeq2SeqLM.from_config(CONFIGS[family]).to(DTYPES[number])
    passes = PairPasses(shape_of(CONFIGS[family]), ROWS, SOURCE, TARGET, number)
    assert passes.kept_bytes(LAYERS) == pytest.approx(kept_by_autograd(model, inputs()), rel=0.03)


def test_the_logits_are_those_of_the_target_alone() -> None:
    shape = shape_of(CONFIGS["t5"])
    long, short = (PairPasses(shape, 1, SOURCE, target, 4) for target in (2000, 1000))
    more = long.peak_bytes(kept_layers=0, language_model=True) - long.kept_bytes(0)
    assert more == 2 * (short.peak_bytes(kept_layers=0, language_model=True) - short.kept_bytes(0))


def test_a_job_says_how_long_both_are() -> None:
    spec = spec_for("Seq2Seq")
    spec = spec.model_copy(
        update={"task": Task(type="Seq2Seq", max_length=32, seq2_seq=Seq2SeqSettings(max_target_length=16))}
    )
    passes = passes_of(shape_of(TINY["bart"]), spec, 5, 4)
    assert isinstance(passes, PairPasses)
    assert (passes.rows, passes.source, passes.target) == (5, 32, 16)
    default = passes_of(shape_of(TINY["bart"]), spec_for("Seq2Seq"), 1, 4)
    assert isinstance(default, PairPasses)
    assert (default.source, default.target) == (64, 64)
    assert isinstance(passes_of(shape_from_config(TINY["bert"].to_dict()), spec_for("CausalLM"), 1, 4), Passes)
