"""What people type who know other trainers: their names of fields and values, their whole files."""

from pathlib import Path

import pytest
import yaml

from kubetune_api.aliases import Means, NotYet, rows, value_rows
from kubetune_api.errors import Path as FieldPath
from kubetune_api.job import FineTuneJob
from kubetune_api.manifest import read_manifest
from kubetune_api.overrides import parse_path
from kubetune_api.schema import at, structural_schema
from kubetune_api.tasks import TASKS
from support.job_cases import CAUSAL, CONVERSATIONS, Object, edited

SCHEMA = structural_schema(FineTuneJob)
MIGRATING = Path(__file__).parents[3] / "docs" / "migrating.md"


def below_spec(path: str) -> FieldPath:
    return ("spec", *parse_path(path))


def errors_of(edits: Object) -> list[str]:
    """The errors of a manifest with these edits, without file and line."""
    found = read_manifest(yaml.safe_dump(edited(edits)), "job.yaml").errors
    return [f"{error.path}: {error.message}" for error in found]


@pytest.mark.parametrize(("names", "alias"), rows())
def test_a_field_that_an_alias_names_exists_and_one_to_come_does_not(names: str, alias: object) -> None:
    if isinstance(alias, Means):
        assert at(SCHEMA, below_spec(alias.path)) is not None, f"{names}: there is no field {alias.path} any more"
    if isinstance(alias, NotYet):
        assert at(SCHEMA, below_spec(alias.path)) is None, f"{names}: {alias.path} is there now; let the alias mean it"


@pytest.mark.parametrize(("path", "names", "alias"), value_rows())
def test_a_value_that_an_alias_names_is_known_and_one_to_come_is_not(path: str, names: str, alias: object) -> None:
    schema = at(SCHEMA, below_spec(path))
    assert schema is not None, f"there is no field {path} any more"
    assert isinstance(alias, Means | NotYet)
    assert (alias.path in schema["enum"]) == isinstance(alias, Means), f"{names}: {alias.path}"


def test_no_name_stands_in_two_rows() -> None:
    names = [name for written, _ in rows() for name in written.split()]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("training.lr", "unknown field; did you mean `learningRate`?"),
        ("training.loraR", "unknown field here; did you mean `spec.method.lora.rank`?"),
        (
            "method.lora_model_dir",
            "unknown field here; did you mean `spec.model.uri`? (an adapter names its base model itself)",
        ),
        ("lora-r", "unknown field here; did you mean `spec.method.lora.rank`?"),
        ("training.warmupSteps", "unknown field here; did you mean `spec.training.schedule.warmupSteps`?"),
        (
            "training.packing",
            "not supported, because examples are joined without padding by themselves where the model can; remove the"
            " field",
        ),
        ("training.deepspeed", "unknown field here; did you mean `spec.zero.stage`?"),
        ("task.beta", "unknown field here; did you mean `spec.task.preference.beta`?"),
        ("training.loss_type", "unknown field here; did you mean `spec.task.preference.loss`?"),
        ("training.pref_loss", "unknown field here; did you mean `spec.task.preference.loss`?"),
        ("training.simpo_gamma", "unknown field here; did you mean `spec.task.preference.gamma`?"),
        ("training.dpo_label_smoothing", "unknown field here; did you mean `spec.task.preference.labelSmoothing`?"),
        (
            "adapter",
            "unknown field here; did you mean `spec.model.uri`? (an adapter to train on is the model; method.type: LoRA"
            " begins a new one)",
        ),
        (
            "training.gradient_checkpointing",
            "unknown field; did you mean `activationCheckpointing`? (Full turns it on, None off)",
        ),
        ("method.adapter", "unknown field; did you mean `type`?"),
        (
            "task.embedding.scale",
            "unknown field; did you mean `temperature`? (it is 1 / scale: 0.05 for a scale of 20)",
        ),
        ("num_train_epochs", "unknown field here; did you mean `spec.training.epochs`?"),
        (
            "training.gradient_accumulation_steps",
            "unknown field; did you mean `globalBatchSize`? (globalBatchSize = per-device batch size × accumulation"
            " steps × workers)",
        ),
        (
            "model.trust_remote_code",
            "not supported, because kubetune never runs code that comes with a model; remove the field",
        ),
    ],
)
def test_another_trainers_field_is_answered_with_ours(field: str, said: str) -> None:
    assert errors_of({f"spec.{field}": 1}) == [f"spec.{field}: {said}"]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("threshold", "unknown field; did you mean `minDelta`?"),
        ("metric", "unknown field here; did you mean `spec.evaluation.primaryMetric`?"),
    ],
)
def test_a_name_may_mean_one_thing_in_one_group(field: str, said: str) -> None:
    found = errors_of({"spec.training.earlyStopping": {"patience": 2, field: 0.1}})
    assert found == [f"spec.training.earlyStopping.{field}: {said}"]


def test_another_trainers_field_in_set_is_answered_alike() -> None:
    (error,) = read_manifest(yaml.safe_dump(edited({})), "job.yaml", overrides=["spec.training.lr=1"]).errors
    assert str(error) == "--set: spec.training.lr: unknown field; did you mean `learningRate`?"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("task.type", "SEQ_CLS", '"SEQ_CLS" is not known; did you mean `SequenceClassification`?'),
        ("task.type", "ner", '"ner" is not known; did you mean `TokenClassification`?'),
        ("task.type", "sft", '"sft" is not known; did you mean `CausalLM`?'),
        ("task.type", "regression", '"regression" is not known; did you mean `SequenceRegression`?'),
        ("task.type", "CLM", '"CLM" is not known; did you mean `CausalLM`?'),
        ("task.preference.loss", "dpo", '"dpo" is not known; did you mean `Sigmoid`?'),
        ("evaluation.primaryMetric", "loss", '"loss" does not fit; did you mean `validation/loss`?'),
        ("evaluation.primaryMetric", "f1", '"f1" does not fit; did you mean `validation/f1_macro`?'),
        ("task.type", "dpo", '"dpo" is not known; did you mean `Preference`?'),
        (
            "task.type",
            "kto",
            '"kto": training with KTO or a model of rewards is not supported yet; give one of ' + ", ".join(TASKS),
        ),
        ("task.type", "orpo", '"orpo" is not known; did you mean `Preference`? (set task.preference.loss beside it)'),
        (
            "task.type",
            "CosineSimilarityLoss",
            '"CosineSimilarityLoss" is not known; did you mean `Embedding`? (set task.embedding.loss beside it)',
        ),
        (
            "task.embedding.loss",
            "CosineSimilarityLoss",
            '"CosineSimilarityLoss" is not known; did you mean `CosineSimilarity`?',
        ),
        (
            "task.embedding.loss",
            "MultipleNegativesRankingLoss",
            '"MultipleNegativesRankingLoss" is not known; did you mean `MultipleNegatives`?',
        ),
        ("task.preference.loss", "simpo", '"simpo" is not known; did you mean `SimPO`?'),
        ("task.preference.loss", "sigmoid", '"sigmoid" is not known; did you mean `Sigmoid`?'),
        ("method.type", "lora", '"lora" is not known; did you mean `LoRA`?'),
        ("method.type", "dora", '"dora" is not known; did you mean `LoRA`? (set method.lora.variant beside it)'),
        ("method.type", "qlora", '"qlora" is not known; did you mean `LoRA`? (set method.quantization beside it)'),
        ("training.precision", "bf16", '"bf16" is not known; did you mean `BF16`?'),
        ("training.precision", "float16", '"float16" is not known; did you mean `FP16`?'),
        ("model.uri", "org/model", '"org/model" does not fit; did you mean `hf://org/model`?'),
        ("model.uri", "./model", '"./model" does not fit; did you mean `file://./model`?'),
        ("dataset.uri", "org/data", '"org/data" does not fit; did you mean `hf://datasets/org/data/*.parquet`?'),
        ("dataset.uri", "./data.csv", '"./data.csv" does not fit; did you mean `file://./data.csv`?'),
        ("dataset.uri", "data/x.csv", '"data/x.csv" does not fit; did you mean `file://./data/x.csv`?'),
    ],
)
def test_another_trainers_value_is_answered_with_ours(field: str, value: str, said: str) -> None:
    assert errors_of({f"spec.{field}": value}) == [f"spec.{field}: {said}"]


@pytest.mark.parametrize(
    ("metric", "meant"), [("eval_accuracy", "validation/accuracy"), ("test/f1", "test/f1_macro")], ids=lambda name: name
)
def test_another_trainers_metric_is_answered_with_ours(metric: str, meant: str) -> None:
    (error,) = errors_of({"spec.evaluation.require": [{"metric": metric, "min": 0.5}]})
    assert error.endswith(f"did you mean `{meant}`?")


def test_a_size_in_gigabytes_is_answered_with_a_quantity() -> None:
    profile = {
        "apiVersion": "kubetune.dev/v1alpha1",
        "kind": "FineTuneProfile",
        "metadata": {"name": "a100"},
        "spec": {"accelerator": {"memory": "80GB"}},
    }
    (error,) = read_manifest(yaml.safe_dump(profile), "profile.yaml").errors
    assert error.message == '"80GB" does not fit; did you mean `80Gi`?'


AXOLOTL = """\
base_model: NousResearch/Llama-3.2-1B
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
val_set_size: 0.1
adapter: lora
sequence_len: 2048
micro_batch_size: 2
"""
LLAMA_FACTORY = """\
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
stage: sft
do_train: true
finetuning_type: lora
template: llama3
cutoff_len: 2048
output_dir: saves/llama3-8b/lora/sft
per_device_train_batch_size: 1
"""
TRANSFORMERS = """\
output_dir: out
per_device_train_batch_size: 8
num_train_epochs: 3
learning_rate: 2.0e-5
"""


@pytest.mark.parametrize(
    ("text", "trainer"),
    [
        pytest.param(AXOLOTL, "axolotl", id="axolotl"),
        pytest.param(LLAMA_FACTORY, "LLaMA-Factory", id="LLaMA-Factory"),
        pytest.param(TRANSFORMERS, "transformers or TRL", id="transformers"),
    ],
)
def test_another_trainers_file_is_answered_with_the_page_that_translates_it(text: str, trainer: str) -> None:
    assert [str(error) for error in read_manifest(text, "config.yml").errors] == [
        f"config.yml:1: this is a configuration of {trainer}, not a FineTuneJob; docs/migrating.md translates it, name"
        " by name"
    ]
    assert trainer.split()[0] in MIGRATING.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["a: 1\n", "{stage: 1}\n", "{kind: FineTuneJob, base_model: x, adapter: y}\n"])
def test_what_is_not_another_trainers_file_is_not_taken_for_one(text: str) -> None:
    assert not any("configuration of" in str(error) for error in read_manifest(text, "job.yaml").errors)


def test_a_name_that_is_right_for_its_task_stays_right() -> None:
    assert errors_of({**CAUSAL, "spec.training.schedule": {"warmupSteps": 3}}) == []


def test_a_typo_and_a_bad_value_are_reported_together() -> None:
    assert errors_of({"spec.training": {"epoch": 2, "seed": -1}, "spec.model.uri": "ftp://x"}) == [
        'spec.model.uri: "ftp://x" does not fit; give a URI that starts with file://, s3://, gs://, az:// or hf://,'
        " then the path",
        "spec.training.epoch: unknown field; did you mean `epochs`?",
        "spec.training.seed: -1 is less than 0; give 0 to 4294967295",
    ]


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        pytest.param(
            {**CONVERSATIONS, "spec.dataset.columns": {"conversations": "turns"}},
            "spec.dataset.columns.conversations: unknown field; did you mean `messages`?",
            id="ShareGPT's column",
        ),
        pytest.param(
            {**CAUSAL, "spec.dataset.columns.messages": "turns"},
            "spec.dataset.columns: CausalLM needs the columns `prompt` and `completion`, or the column `messages`, or"
            " the column `text`; name one of these sets, and no column of another",
            id="both shapes",
        ),
        pytest.param(
            {**CONVERSATIONS, "spec.task.chatTemplate": "chatml"},
            "spec.task.chatTemplate: not supported, because the tokenizer's own chat template is used; remove the"
            " field",
            id="another template",
        ),
        pytest.param(
            {**CONVERSATIONS, "spec.training.assistant_only_loss": True},
            "spec.training.assistant_only_loss: a choice of the tokens that the loss counts is not supported yet;"
            " remove the field",
            id="a switch of what the loss counts",
        ),
    ],
)
def test_what_people_type_for_conversations_is_answered(edits: Object, said: str) -> None:
    assert said in errors_of(edits)
