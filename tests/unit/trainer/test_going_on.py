"""Training on from a published adapter: its settings, its numbers, its base, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from kubetune_api.job import FineTuneJob, LoRA, Method
from kubetune_api.reasons import Reason
from kubetune_api.run import ReportTo, Run
from kubetune_trainer.artifact.publish import upload_folder
from kubetune_trainer.artifact.rehearsal import rehearse
from kubetune_trainer.artifact.verify import verify
from kubetune_trainer.errors import RunError
from kubetune_trainer.methods import going_on, method_of
from kubetune_trainer.methods.lora import LoRA as AdapterMethod
from kubetune_trainer.model.load import LoadedModel, load_model, load_tokenizer
from kubetune_trainer.model.source import PretrainedModel, pretrained_model
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.store import Store
from kubetune_trainer.tasks import language_model_class, task_of
from kubetune_trainer.tasks.causal import Vocabulary
from kubetune_trainer.tasks.classification import Labels
from support.observed_jobs import job as manifest
from support.observed_jobs import plan, profile
from support.tiny_models import job_for, saved, spec_for, tiny_model

# peft asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
LABELS = ("a", "b", "c")
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 10]])
FOLDER = "executions/1/model"


def adapter(folder: Path, family: str = "bert", labels: tuple[str, ...] = LABELS, **lora: Any) -> Path:
    """The folder of an adapter as a run publishes it, of which every tensor has moved; its base is beside it."""
    saved(tiny_model(family, labels=2 if labels else None), folder / "base")
    spec = spec_for("SequenceClassification" if labels else "CausalLM", folder / "base")
    tokenizer, space = load_tokenizer(folder / "base"), Labels(labels) if labels else Vocabulary()
    torch.manual_seed(0)
    loaded = load_model(folder / "base", spec, task_of(spec), space, tokenizer)
    method = method_of(Method.model_validate({"type": "LoRA", "lora": {"rank": 4, **lora}}))
    trainable = method.attach(loaded, precision="FP32", reach=lambda: 1.0)
    (folder / "adapter").mkdir()
    method.write(trainable, moved(loaded.model).items(), folder / "adapter")
    tokenizer.save_pretrained(folder / "adapter")
    loaded.model.eval()
    torch.save(loaded.model(TOKENS).logits, folder / "logits.pt")
    return folder / "adapter"


@torch.no_grad()
def moved(model: Any) -> dict[str, torch.Tensor]:
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    for each in parameters.values():
        each += 0.1 * torch.randn(each.shape)
    return {name: each.detach().clone() for name, each in parameters.items()}


def job_from(folder: Path, method: Any = None, *, task: str = "SequenceClassification", **spec: Any) -> FineTuneJob:
    return job_for(task, folder, method=method or {"type": "LoRA"}, **spec)


def fetched(folder: Path, cache: Path, **more: Any) -> PretrainedModel:
    return pretrained_model(job_from(folder).spec.model, cache, language_model_class(), **more)


def begun(folder: Path, cache: Path, labels: tuple[str, ...] = LABELS, **lora: Any) -> tuple[Any, LoadedModel]:
    """The method and the model with which a training on from the adapter begins."""
    base = fetched(folder, cache)
    task = "SequenceClassification" if labels else "CausalLM"
    job = going_on(job_from(folder, {"type": "LoRA", "lora": lora}, task=task), base.folder).resolved
    space: Any = Labels(labels) if labels else Vocabulary()
    loaded = load_model(base.folder, job.spec, task_of(job.spec), space, load_tokenizer(base.folder))
    return method_of(job.spec.method), loaded


@pytest.mark.parametrize(
    ("family", "labels", "lora"),
    [
        pytest.param("bert", LABELS, {"targets": "Attention"}, id="a classifier with its head"),
        pytest.param("llama", (), {"alpha": 6, "variant": "RsLoRA"}, id="a language model"),
        pytest.param("gpt2", (), {"variant": "DoRA"}, id="the lengths of DoRA"),
        pytest.param("mpnet", LABELS, {"targetModules": ["q", "k"]}, id="named layers"),
    ],
)
def test_a_training_begins_where_the_adapter_ended(
    tmp_path: Path, family: str, labels: tuple[str, ...], lora: dict[str, Any]
) -> None:
    folder = adapter(tmp_path, family, labels, **lora)
    method, loaded = begun(folder, tmp_path / "cache", labels)
    trainable = method.attach(loaded, precision="FP32", reach=lambda: 1.0)
    assert torch.allclose(loaded.model.eval()(TOKENS).logits, torch.load(tmp_path / "logits.pt"), atol=1e-6)
    assert not any(".lora_A." in name for name in trainable.may_be_unchanged)
    before = json.loads((folder / "adapter_config.json").read_text())
    (tmp_path / "again").mkdir()
    again = {name: each for name, each in loaded.model.named_parameters() if each.requires_grad}
    method.write(trainable, again.items(), tmp_path / "again")
    assert json.loads((tmp_path / "again" / "adapter_config.json").read_text()) == before
    file = "adapter_model.safetensors"
    published, first = load_file(tmp_path / "again" / file), load_file(folder / file)
    assert published.keys() == first.keys()
    assert all(torch.equal(each, first[name]) for name, each in published.items())


def published_again(method: Any, loaded: LoadedModel, still: str, folder: Path) -> None:
    """Publishes and verifies what a training on makes of an adapter, in which tensors with `still` in the name stay."""
    folder.mkdir()
    trainable = method.attach(loaded, precision="FP32", reach=lambda: 1.0)
    state = {name: each.detach().clone() for name, each in loaded.model.state_dict().items()}
    state |= {name: each for name, each in moved(loaded.model).items() if still not in name}
    trained = {name for name, each in loaded.model.named_parameters() if each.requires_grad}
    if isinstance(method, AdapterMethod):
        state = {name: each for name, each in state.items() if name in trained}
    shapes = method.write(trainable, state.items(), folder)
    load_tokenizer(loaded.folder).save_pretrained(folder)
    store = Store.open((folder.parent / "store").as_uri())
    files = upload_folder(folder, store, FOLDER)
    expected = method.expectation(trainable, shapes)
    verify(store, FOLDER, files, expected, loaded.folder, AutoModelForSequenceClassification)


@pytest.mark.parametrize(
    ("publish", "still", "expected"),
    [
        ("Adapter", "", r"none of the \d+ trained tensors has changed since the first step"),
        ("Adapter", "1.attention.self.query.lora_A", r"1\.attention\.self\.query\.lora_A\.weight has its first values"),
        ("Merged", "", r"No matrix of the adapter differs from its first values"),
    ],
    ids=["nothing", "all but one matrix", "nothing, merged"],
)
def test_an_adapter_that_was_not_trained_on_is_refused(tmp_path: Path, publish: str, still: str, expected: str) -> None:
    method, loaded = begun(adapter(tmp_path), tmp_path / "cache", publish=publish)
    with pytest.raises(RunError, match=expected) as caught:
        published_again(method, loaded, still, tmp_path / "again")
    assert caught.value.reason == Reason.VERIFICATION_FAILED


@pytest.mark.parametrize("publish", ["Adapter", "Merged"])
def test_an_adapter_that_was_trained_on_is_verified(tmp_path: Path, publish: str) -> None:
    method, loaded = begun(adapter(tmp_path), tmp_path / "cache", publish=publish)
    published_again(method, loaded, "no such tensor", tmp_path / "again")


def test_a_head_for_other_labels_begins_anew_with_a_note(tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    method, loaded = begun(folder, tmp_path / "cache", labels=("a", "x"))
    method.attach(loaded, precision="FP32", reach=lambda: 1.0)
    assert loaded.notes == (
        "the model came with a head for other answers (a, b, c): a new one is trained in its place",
    )
    stored = load_file(folder / "adapter_model.safetensors")
    assert loaded.model.classifier.weight.shape == (2, 16)
    query = "bert.encoder.layer.0.attention.self.query.lora_B"
    assert torch.equal(
        loaded.model.get_parameter(f"{query}.default.weight"), stored[f"base_model.model.{query}.weight"]
    )


def test_a_head_of_labels_that_nothing_names_stays_behind_with_a_note(tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    (folder / "config.json").unlink()
    _, loaded = begun(folder, tmp_path / "cache")
    assert loaded.notes == (
        "the adapter holds a head (classifier.weight), but no config.json beside it says what that answers: a new one"
        " is trained in its place; to train it further, put the config.json of its model there, with the architectures"
        " [BertForSequenceClassification] and its labels in id2label",
    )
    weights = load_file(folder / "adapter_model.safetensors")
    matrices = {name: each for name, each in weights.items() if ".classifier." not in name}
    save_file(matrices, folder / "adapter_model.safetensors")
    assert begun(folder, tmp_path / "cache")[1].notes == ()


@pytest.mark.parametrize(
    ("content", "layers"),
    [
        pytest.param(
            {"target_modules": ["query", "key", "value"], "exclude_modules": ["key"]},
            ["attention.self.query", "attention.self.value"],
            id="one of three is left out",
        ),
        pytest.param(
            {"target_modules": r".*\.(query|value)"},
            ["attention.self.query", "attention.self.value"],
            id="a pattern",
        ),
    ],
)
def test_layers_that_no_list_names_are_those_with_matrices(
    tmp_path: Path, content: dict[str, Any], layers: list[str]
) -> None:
    folder = rewritten(adapter(tmp_path, targetModules=["query", "value"]), **content)
    method, loaded = begun(folder, tmp_path / "cache")
    assert method.settings.target_modules == layers
    method.refuse_misfit(loaded)
    method.attach(loaded, precision="FP32", reach=lambda: 1.0)
    assert torch.allclose(loaded.model.eval()(TOKENS).logits, torch.load(tmp_path / "logits.pt"), atol=1e-6)


def test_an_adapter_without_matrices_is_refused(tmp_path: Path) -> None:
    folder = rewritten(adapter(tmp_path), exclude_modules=["key"])
    save_file({"base_model.model.classifier.bias": torch.zeros(3)}, folder / "adapter_model.safetensors")
    with pytest.raises(RunError, match=r"adapter_model\.safetensors holds no matrices of LoRA"):
        begun(folder, tmp_path / "cache")


def test_the_settings_of_the_adapter_are_taken_where_the_job_says_nothing(tmp_path: Path) -> None:
    folder = adapter(tmp_path, "llama", (), alpha=7, variant="RsLoRA", targetModules=["q_proj", "v_proj"])
    base = fetched(folder, tmp_path / "cache")
    job = going_on(job_from(folder, task="CausalLM"), base.folder).resolved
    assert job.spec.method.lora == LoRA(rank=4, alpha=7, variant="RsLoRA", target_modules=["q_proj", "v_proj"])
    assert (base.source.uri, base.source.revision) == ((tmp_path / "base").as_uri(), None)
    assert {file.name.rpartition("/")[2] for file in base.adapter_files} == {
        "adapter_config.json", "adapter_model.safetensors", "config.json", "generation_config.json",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_in_a_cluster_too_the_settings_of_the_adapter_are_taken(tmp_path: Path) -> None:
    base = fetched(adapter(tmp_path, rank=8, alpha=7, variant="RsLoRA", targetModules=["query"]), tmp_path / "cache")
    wanted = manifest(model__uri="s3://models/team-a/adapter", method={"type": "LoRA"})
    config = next(thing for thing in plan(wanted, profile()).apply if "run.json" in thing.get("data", {}))
    run = Run.model_validate_json(config["data"]["run.json"])
    assert going_on(run.job, base.folder).resolved.spec.method.lora == LoRA(
        rank=8, alpha=7, variant="RsLoRA", target_modules=["query"]
    )


def test_a_job_that_names_a_model_is_left_as_it_is(tmp_path: Path) -> None:
    saved(tiny_model("bert", labels=2), tmp_path / "base")
    job = job_from(tmp_path / "base")
    assert going_on(job, fetched(tmp_path / "base", tmp_path / "cache").folder) is job


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        pytest.param({"type": "Full"}, "spec.method.type: Full trains whole models, and model.uri names", id="Full"),
        pytest.param(
            {"type": "LoRA", "lora": {"rank": 8}},
            "spec.method.lora.rank: the adapter that is trained on was made with 4, not 8; set it so, or leave it out",
            id="another rank",
        ),
        pytest.param({"type": "LoRA", "lora": {"alpha": 3}}, "spec.method.lora.alpha: the adapter", id="another alpha"),
        pytest.param({"type": "LoRA", "lora": {"variant": "DoRA"}}, "spec.method.lora.variant: ", id="another variant"),
    ],
)  # fmt: skip
def test_what_differs_from_the_adapter_is_refused_by_its_field(
    tmp_path: Path, method: dict[str, Any], expected: str
) -> None:
    folder = adapter(tmp_path)
    base = fetched(folder, tmp_path / "cache")
    with pytest.raises(RunError) as caught:
        going_on(job_from(folder, method), base.folder)
    assert caught.value.reason == Reason.INVALID_MANIFEST
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("lora", "expected"),
    [
        ({"targets": "AllLinear"}, "spec.method.lora.targets: .* this one has none at bert.encoder.layer.0"),
        ({"targetModules": ["query"]}, "spec.method.lora.targetModules: .* this one has some at .*key"),
    ],
    ids=["more layers", "fewer layers"],
)
def test_other_layers_are_refused_before_the_workers_start(tmp_path: Path, lora: dict[str, Any], expected: str) -> None:
    folder = adapter(tmp_path, targets="Attention")
    base = fetched(folder, tmp_path / "cache")
    tokenizer = load_tokenizer(base.folder)
    same = going_on(job_from(folder, {"type": "LoRA", "lora": {"targets": "Attention"}}), base.folder).resolved
    assert rehearse(base.folder, same.spec, task_of(same.spec), Labels(LABELS), tokenizer) == ()
    job = going_on(job_from(folder, {"type": "LoRA", "lora": lora}), base.folder).resolved
    with pytest.raises(RunError, match=expected):
        rehearse(base.folder, job.spec, task_of(job.spec), Labels(LABELS), tokenizer)


def test_dora_at_stage_3_is_refused_where_the_adapter_makes_it_that(tmp_path: Path) -> None:
    folder = adapter(tmp_path, variant="DoRA")
    base = fetched(folder, tmp_path / "cache")
    with pytest.raises(RunError, match=r"spec\.zero\.stage: .* set stage to 2 or less"):
        going_on(job_from(folder, zero={"stage": 3}), base.folder)


def test_quantized_weights_are_refused_where_the_adapter_is_a_dora(tmp_path: Path) -> None:
    folder = adapter(tmp_path, "llama", (), variant="DoRA")
    base = fetched(folder, tmp_path / "cache")
    method = {"type": "LoRA", "quantization": {"type": "NF4"}}
    with pytest.raises(RunError, match=r"spec\.method\.quantization: the adapter is a DoRA"):
        going_on(job_from(folder, method, task="CausalLM"), base.folder)


def rewritten(folder: Path, **content: Any) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | content))
    return folder


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param({"peft_type": "IA3"}, "is not of a LoRA adapter (peft_type)", id="another kind"),
        pytest.param({"rank_pattern": {"key": 8}}, "sets rank_pattern, which is not trained on", id="ranks by layer"),
        *(
            pytest.param({"init_lora_weights": first}, "a base model that its init_lora_weights changes", id=str(first))
            for first in ("pissa", "pissa_niter_4", "olora", "loftq", "corda", ["loftq"])
        ),
        pytest.param({"bias": "all"}, "sets bias, which is not trained on", id="biases"),
        pytest.param({"r": 0}, "has no whole numbers r and lora_alpha", id="no rank"),
        pytest.param({"base_model_name_or_path": "gpt2"}, "does not say where its base model is", id="a name alone"),
        pytest.param({"base_model_name_or_path": None}, "does not say where its base model is", id="no base"),
        pytest.param({"base_model_name_or_path": "org/name"}, "a model of the hub needs its commit", id="no commit"),
        pytest.param({"base_model_name_or_path": "s3://k:s@b/m"}, "must not contain credentials", id="credentials"),
    ],
)
def test_an_adapter_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, content: dict[str, Any], expected: str
) -> None:
    folder = rewritten(adapter(tmp_path), **content)
    with pytest.raises(RunError) as caught:
        fetched(folder, tmp_path / "cache")
    assert caught.value.reason == Reason.INVALID_MODEL
    assert expected in str(caught.value)


def test_the_base_that_an_adapter_names_is_told_before_it_is_fetched(tmp_path: Path) -> None:
    folder, told = rewritten(adapter(tmp_path), base_model_name_or_path=str(tmp_path / "gone")), list[str]()
    with pytest.raises(RunError) as refused:
        fetched(folder, tmp_path / "cache", tell=told.append)
    assert refused.value.message.endswith(
        f" adapter_config.json of {folder.as_uri()} names that base model; if it is elsewhere now, correct"
        " base_model_name_or_path there."
    )
    assert told == [
        f"{folder.as_uri()} is an adapter, which is trained on; its base model is fetched too: file://{tmp_path}/gone"
    ]


def test_a_base_that_the_profile_forbids_is_not_fetched(tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    allowed = [folder.as_uri(), "s3://shared/"]
    elsewhere = StoreCredentials.of(Run(job=job_from(folder), run_id="a", allowed_uri_prefixes=allowed))
    with pytest.raises(RunError) as caught:
        fetched(folder, tmp_path / "cache", credentials=elsewhere)
    assert caught.value.reason == Reason.INVALID_MANIFEST
    assert str(caught.value).startswith(
        f"spec.model.uri: the base model of the adapter is {(tmp_path / 'base').as_uri()}, and the profile"
        f" (allowedUriPrefixes) allows only URIs under {folder.as_uri()}, s3://shared/;"
    )
    assert fetched(
        folder, tmp_path / "cache", credentials=StoreCredentials(prefixes=(tmp_path.as_uri(),))
    ).folder.is_dir()


@pytest.mark.parametrize("allowed", [[], ["file:///"]], ids=["anything is allowed", "so are files"])
def test_in_a_cluster_a_base_on_the_pods_own_disk_is_not_fetched(tmp_path: Path, allowed: list[str]) -> None:
    folder = adapter(tmp_path)
    run = Run(job=job_from(folder), run_id="a", allowed_uri_prefixes=allowed)
    fetched(folder, tmp_path / "here", credentials=StoreCredentials.of(run))
    run = run.model_copy(update={"report_to": ReportTo(namespace="team-a", name="reports")})
    with pytest.raises(RunError) as caught:
        fetched(folder, tmp_path / "cache", credentials=StoreCredentials.of(run))
    assert caught.value.reason == Reason.INVALID_MANIFEST
    assert str(caught.value) == (
        f"spec.model.uri: the base model of the adapter is {(tmp_path / 'base').as_uri()}, and in a cluster that is the"
        " pod's own disk; copy it to s3://, gs://, az:// or hf:// and name it in adapter_config.json, or choose another"
        " adapter."
    )


def test_an_adapter_of_an_adapter_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    rewritten(folder, base_model_name_or_path=str(folder))
    with pytest.raises(RunError, match="is an adapter itself; merge the adapter"):
        fetched(folder, tmp_path / "cache")


def test_what_is_no_part_of_the_training_is_not_lost_in_silence(tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.bert.embeddings.word_embeddings.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "adapter_model.safetensors")
    method, loaded = begun(folder, tmp_path / "cache")
    with pytest.raises(RunError, match=r"weights that are not trained here \(.*word_embeddings\.weight\)"):
        method.attach(loaded, precision="FP32", reach=lambda: 1.0)


def test_matrices_alone_are_trained_on_with_the_configuration_of_their_base(tmp_path: Path) -> None:
    folder = adapter(tmp_path, "llama", ())
    for file in folder.iterdir():
        if not file.name.startswith("adapter_"):
            file.unlink()
    method, loaded = begun(folder, tmp_path / "cache", ())
    method.attach(loaded, precision="FP32", reach=lambda: 1.0)
    assert torch.allclose(loaded.model.eval()(TOKENS).logits, torch.load(tmp_path / "logits.pt"), atol=1e-6)


def test_a_worker_finds_the_adapter_and_the_base_that_the_driver_saw(tmp_path: Path) -> None:
    folder = adapter(tmp_path)
    seen = fetched(folder, tmp_path / "cache")
    files = (seen.files, seen.adapter_files)
    assert fetched(folder, tmp_path / "cache", expect=files).folder == seen.folder
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: each + 1 for name, each in weights.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(RunError, match="changed while the run was starting"):
        fetched(folder, tmp_path / "another node", expect=files)
