"""What a training computes: by the parameters that a token meets, forward, backward and learning."""

from typing import Any

import pytest

from kubetune_api.accelerators import ACCELERATORS
from kubetune_api.job import FineTuneJobSpec
from kubetune_planner.catalogue import shape_of
from kubetune_planner.encoder_decoder import EncoderDecoderShape
from kubetune_planner.passes import sequence_length
from kubetune_planner.shape import ModelShape
from kubetune_planner.work import Work, tokens_of, work_of
from support.tiny_models import CONFIGS, spec_for


def shape(name: str) -> ModelShape:
    found = shape_of(f"hf://{name}")
    assert found is not None
    return found


def of_family(family: str) -> ModelShape:
    return ModelShape.from_config(CONFIGS[family].to_dict())


def test_where_everything_learns_each_parameter_that_a_token_meets_costs_six_operations() -> None:
    llama = shape("meta-llama/Llama-3.1-8B")
    met = llama.parameters - llama.embedding_parameters - llama.norm_parameters
    assert work_of(llama, spec_for("CausalLM")).operations == 6 * met


def test_an_output_layer_that_is_the_embeddings_is_met_all_the_same() -> None:
    qwen = shape("Qwen/Qwen3-0.6B")
    assert qwen.tied
    assert work_of(qwen, spec_for("CausalLM")).forward == qwen.parameters - qwen.norm_parameters


def test_a_classifier_meets_its_layers_alone() -> None:
    bert = shape("google-bert/bert-base-uncased")
    work = work_of(bert, spec_for("SequenceClassification"))
    assert work == Work(*3 * [bert.layers * bert.layer_parameters])


def translating(source: int, target: int, **more: Any) -> FineTuneJobSpec:
    task = {"type": "Seq2Seq", "maxLength": source, "seq2Seq": {"maxTargetLength": target}}
    return spec_for("Seq2Seq", task=task, **more)


def both_stacks() -> EncoderDecoderShape:
    found = shape("facebook/bart-large")
    assert isinstance(found, EncoderDecoderShape)
    return found


def test_tokens_of_a_source_meet_the_encoder_and_those_of_a_target_the_decoder() -> None:
    bart = both_stacks()
    everything = bart.layers * bart.layer_parameters + bart.decoder_layers * bart.decoder_layer_parameters
    work = work_of(bart, translating(100, 100))
    assert work.forward == pytest.approx((everything + bart.embedding_matrix) / 2, rel=1e-6)
    assert work.operations == 6 * work.forward
    # Nearly every token is one of the source: the encoder, and the decoder's keys and values of it.
    read = work_of(bart, translating(1000, 2)).forward
    looked_up = bart.decoder_layers * 2 * bart.hidden * (bart.hidden + 1)
    assert read == pytest.approx(bart.layers * bart.layer_parameters + looked_up, rel=0.01)


def test_frozen_layers_of_an_encoder_are_passed_forward_only() -> None:
    bart = both_stacks()
    frozen = translating(100, 100, method={"freeze": {"embeddings": True, "bottomLayers": 4}})
    work, whole = work_of(bart, frozen), work_of(bart, translating(100, 100))
    assert work.forward == whole.forward
    assert whole.backward - work.backward == pytest.approx(4 * bart.layer_parameters / 2, abs=1)


def test_layers_that_share_their_weights_are_met_each_time() -> None:
    albert, bert = shape("albert/albert-base-v2"), shape("google-bert/bert-base-uncased")
    spec = spec_for("SequenceClassification")
    assert work_of(albert, spec).forward == work_of(bert, spec).forward


def test_of_experts_only_those_count_that_a_token_passes_through() -> None:
    mixtral = shape("mistralai/Mixtral-8x7B-v0.1")
    assert work_of(mixtral, spec_for("CausalLM")).forward == pytest.approx(12.75e9, rel=0.01)


def test_what_is_frozen_costs_two_operations_forward_and_none_behind_what_learns() -> None:
    bert = shape("google-bert/bert-base-uncased")
    spec = spec_for("SequenceClassification", method={"freeze": {"embeddings": True, "bottomLayers": 9}})
    work = work_of(bert, spec)
    assert work.forward == 12 * bert.layer_parameters
    assert work.backward == work.learning == 3 * bert.layer_parameters


def test_adapters_cost_four_operations_for_each_parameter_beside_them_and_two_of_their_own() -> None:
    llama = shape("meta-llama/Llama-3.1-8B")
    everything = work_of(llama, spec_for("CausalLM")).forward
    work = work_of(llama, spec_for("CausalLM", method={"type": "LoRA", "lora": {"rank": 16}}))
    assert (work.forward, work.backward) == (everything, everything)
    assert 0 < work.learning < 0.01 * everything


def test_hours_are_operations_by_the_share_of_the_peak_that_is_used() -> None:
    work = Work(*3 * [10**9])
    hours = work.hours(10**9, ACCELERATORS["A100"], "BF16", used=0.5)
    assert hours == pytest.approx(6e18 / (312e12 * 0.5) / 3600)
    assert work.hours(10**9, ACCELERATORS["A100"], "FP16", used=0.5) == hours
    in_32_bits = work.hours(10**9, ACCELERATORS["A100"], "FP32", used=0.5)
    assert in_32_bits == pytest.approx(6e18 / (19.5e12 * 0.5) / 3600)


def test_the_hours_of_a_published_training_come_out_as_its_authors_tell_them() -> None:
    """LLaMA with 65 billion parameters: 1.4 trillion tokens in some 1,022,362 hours of A100 (arXiv:2302.13971)."""
    llama = ModelShape.from_config(
        {
            "model_type": "llama", "num_hidden_layers": 80, "hidden_size": 8192, "intermediate_size": 22016,
            "num_attention_heads": 64, "vocab_size": 32000, "max_position_embeddings": 2048,
        }
    )  # fmt: skip
    hours = work_of(llama, spec_for("CausalLM")).hours(1_400_000_000_000, ACCELERATORS["A100"], "BF16")
    assert hours is not None
    assert 1_022_362 < hours < 1.25 * 1_022_362


def test_an_accelerator_without_bfloat16_has_no_hours_in_it() -> None:
    work = Work(*3 * [10**9])
    assert work.hours(1, ACCELERATORS["V100"], "BF16") is None
    assert work.hours(10**9, ACCELERATORS["V100"], "FP16", used=0.5) == pytest.approx(6e18 / (125e12 * 0.5) / 3600)


@pytest.mark.parametrize(
    ("training", "given", "number", "said"),
    [
        pytest.param({}, {"tokens": 100}, 300, "100 tokens · 3 epochs", id="those of one pass"),
        pytest.param(
            {}, {"rows": 100}, 100 * 64 * 3, "at most 100 rows · 64 tokens · 3 epochs", id="rows as long as they may be"
        ),
        pytest.param(
            {"maxSteps": 2, "globalBatchSize": 10},
            {},
            2 * 10 * 64,
            "at most 2 steps · 10 rows · 64 tokens",
            id="the steps that end it",
        ),
        pytest.param(
            {"maxSteps": 2, "globalBatchSize": 10},
            {"tokens": 100},
            300,
            "100 tokens · 3 epochs",
            id="whichever is less",
        ),
    ],
)
def test_the_tokens_of_a_training(training: dict[str, Any], given: dict[str, int], number: int, said: str) -> None:
    found = tokens_of(
        spec_for("CausalLM", training=training), of_family("llama"), **{"tokens": None, "rows": None} | given
    )
    assert found is not None
    assert (found.number, found.said) == (number, said)


@pytest.mark.parametrize(("task", "family"), [("Preference", "llama"), ("Embedding", "bert")])
def test_a_row_counts_as_often_as_it_goes_through_the_model(task: str, family: str) -> None:
    spec = spec_for(task, training={"maxSteps": 2, "globalBatchSize": 10, "epochs": 3})
    counted = [
        tokens_of(spec, of_family(family), tokens=tokens, rows=rows)
        for tokens, rows in ((None, None), (None, 5), (100, None))
    ]
    length = sequence_length(of_family(family), spec)
    assert [found and found.number for found in counted] == [2 * 10 * 2 * length, 3 * 5 * 2 * length, 3 * 100]
    assert counted[0] is not None
    assert counted[0].said == f"at most 2 steps · 10 rows · 2 sequences · {length} tokens"


def test_a_row_of_a_source_and_its_target_is_as_long_as_both() -> None:
    found = tokens_of(translating(1000, 64), both_stacks(), tokens=None, rows=10)
    assert found is not None
    assert (found.number, found.said) == (
        10 * 1064 * 3,
        "at most 10 rows · (1,000 + 64) tokens · 3 epochs",
    )


def test_without_tokens_rows_and_steps_none_are_known() -> None:
    assert tokens_of(spec_for("CausalLM"), of_family("llama"), tokens=None, rows=None) is None
