"""The judgement of an uploaded model: every way in which it may not be what was trained."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from kubetune_api.reasons import Reason
from kubetune_trainer.artifact.publish import upload_folder, write_beside
from kubetune_trainer.artifact.reopen import opening_errors
from kubetune_trainer.artifact.verify import Verification, check, verify
from kubetune_trainer.comparison import FilesChecked
from kubetune_trainer.errors import RunError
from kubetune_trainer.model.stored import stored_shapes, tensor_digest
from kubetune_trainer.records import Expectation, StoredFile
from kubetune_trainer.storage.store import Store
from support.tiny_models import CONFIGS, saved, tiny_model

FOLDER = "executions/1/model"
WEIGHTS = f"{FOLDER}/model.safetensors"
HEAD = ("classifier.weight", "classifier.bias")
EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
WEIGHT, BIAS = "bert.pooler.dense.weight", "bert.pooler.dense.bias"
MODEL = tiny_model("bert", labels=2)
# Halved in precision, so that a base model in 16 bits holds the same numbers.
PRETRAINED = {name: tensor.half().float() for name, tensor in MODEL.state_dict().items()}
FROZEN = frozenset(name for name in PRETRAINED if name.startswith("bert.embeddings."))
BASE = {name.removeprefix("bert."): tensor for name, tensor in PRETRAINED.items() if name not in HEAD}
TRAINED = {name: tensor if name in FROZEN else tensor + 0.5 for name, tensor in PRETRAINED.items()}
CHANGED = len(TRAINED) - len(FROZEN) - len(HEAD)


@dataclass(frozen=True)
class Uploaded:
    """A model in a store, and what is expected of it."""

    store: Store
    root: Path
    files: tuple[StoredFile, ...]
    expected: Expectation
    base: Path

    def verify(self) -> Verification:
        return verify(self.store, FOLDER, self.files, self.expected, self.base, AutoModelForSequenceClassification)


def write_model(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    saved(MODEL, folder)
    save_file(tensors, folder / "model.safetensors")


def upload(
    tmp_path: Path,
    spoil_upload: Callable[[Path], None] = lambda _: None,
    tensors: dict[str, torch.Tensor] = TRAINED,
    base: dict[str, torch.Tensor] = BASE,
) -> Uploaded:
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "trained", tensors)
    spoil_upload(tmp_path / "trained")
    store = Store.open((tmp_path / "store").as_uri())
    files = upload_folder(tmp_path / "trained", store, FOLDER)
    expected = Expectation(
        shapes={name: tuple(tensor.shape) for name, tensor in TRAINED.items()},
        base_names={f"bert.{name}": name for name in BASE},
        frozen=FROZEN,
        first_values={name: tensor_digest(PRETRAINED[name]) for name in HEAD},
    )
    return Uploaded(store, tmp_path / "store", tuple(files), expected, tmp_path / "base")


def errors(uploaded: Uploaded) -> str:
    """What the refusal says was found."""
    with pytest.raises(RunError) as caught:
        uploaded.verify()
    assert caught.value.reason == Reason.VERIFICATION_FAILED
    start = f"The model in {uploaded.store.uri(FOLDER)} is not what was trained and is not published: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def test_a_model_as_it_was_trained_passes(tmp_path: Path) -> None:
    uploaded = upload(tmp_path)
    size = sum(file.size for file in uploaded.files)
    assert uploaded.verify() == Verification(
        files=4, tensors=len(TRAINED), changed=CHANGED, frozen=len(FROZEN), size_bytes=size
    )


def test_a_frozen_tensor_may_be_stored_in_another_type(tmp_path: Path) -> None:
    half = {name: tensor.to(torch.bfloat16) for name, tensor in TRAINED.items()}
    assert upload(tmp_path, tensors=half).verify().frozen == len(FROZEN)


def test_a_base_in_lower_precision_is_compared_in_the_type_of_the_trained_model(tmp_path: Path) -> None:
    half = {name: tensor.to(torch.float16) for name, tensor in BASE.items()}
    assert upload(tmp_path, base=half).verify().changed == CHANGED


def in_two_files(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, folder / f"part-{number}.safetensors")
    (folder / "model.safetensors").unlink()


def checked(uploaded: Uploaded, *numbers: int) -> list[FilesChecked]:
    """What a worker for each of the files has found."""
    weights = [file for file in uploaded.files if file.name.endswith(".safetensors")]
    return [check(uploaded.store, [weights[number]], uploaded.expected, uploaded.base) for number in numbers]


def verified(uploaded: Uploaded, found: list[FilesChecked]) -> Verification:
    model_class = AutoModelForSequenceClassification
    return verify(uploaded.store, FOLDER, uploaded.files, uploaded.expected, uploaded.base, model_class, checked=found)


def test_what_two_workers_have_found_is_judged_as_if_one_had(tmp_path: Path) -> None:
    uploaded = upload(tmp_path, in_two_files)
    assert verified(uploaded, checked(uploaded, 0, 1)) == verified(uploaded, [])


def test_what_a_worker_has_checked_is_not_fetched_again(tmp_path: Path) -> None:
    uploaded = upload(tmp_path, in_two_files)
    found = checked(uploaded, 0, 1)
    for number in (0, 1):
        (uploaded.root / FOLDER / f"part-{number}.safetensors").write_bytes(b"")
    assert verified(uploaded, found).tensors == len(TRAINED)


def test_an_error_that_a_worker_has_found_is_told(tmp_path: Path) -> None:
    uploaded = upload(tmp_path, in_two_files)
    (uploaded.root / FOLDER / "part-1.safetensors").write_bytes(b"other")
    with pytest.raises(RunError, match=r"part-1\.safetensors has 5 bytes in the store"):
        verified(uploaded, checked(uploaded, 0, 1))


def test_a_tensor_that_two_workers_have_found_is_in_two_files(tmp_path: Path) -> None:
    uploaded = upload(tmp_path, in_two_files)
    with pytest.raises(RunError, match="is in two files"):
        verified(uploaded, checked(uploaded, 0, 0, 1))


JOINED = "bert.embeddings.LayerNorm.bias"


@pytest.mark.parametrize("first", [PRETRAINED[JOINED], PRETRAINED[JOINED] + 1], ids=["as it was", "changed"])
def test_a_frozen_tensor_without_a_name_in_the_base_is_known_by_its_first_values(
    first: torch.Tensor, tmp_path: Path
) -> None:
    uploaded = upload(tmp_path)
    expected = uploaded.expected
    names = {name: origin for name, origin in expected.base_names.items() if name != JOINED}
    digests = {**expected.first_values, JOINED: tensor_digest(first)}
    uploaded = replace(uploaded, expected=replace(expected, base_names=names, first_values=digests))
    if torch.equal(first, PRETRAINED[JOINED]):
        assert uploaded.verify().frozen == len(FROZEN)
    else:
        assert errors(uploaded) == f"the frozen tensor {JOINED} differs from the base model's."


def with_files_of_others(folder: Path) -> None:
    write_beside(folder, {"modules.json": "[]", "1_Pooling/config.json": "{}"})


def test_files_of_other_libraries_may_have_the_names_of_the_models_own(tmp_path: Path) -> None:
    uploaded = upload(tmp_path, with_files_of_others)
    expected = replace(uploaded.expected, beside=frozenset({"modules.json", "1_Pooling/config.json"}))
    assert replace(uploaded, expected=expected).verify().tensors == len(TRAINED)


def test_a_file_of_another_library_that_was_not_written_is_told(tmp_path: Path) -> None:
    uploaded = upload(tmp_path)
    expected = replace(uploaded.expected, beside=frozenset({"1_Pooling/config.json"}))
    assert errors(replace(uploaded, expected=expected)) == "1_Pooling/config.json was not written."


def test_a_trained_model_in_several_files_is_seen_whole(tmp_path: Path) -> None:
    def split(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        for number, (name, tensor) in enumerate(TRAINED.items()):
            save_file({name: tensor}, folder / f"model-{number}.safetensors")

    assert upload(tmp_path, split).verify().tensors == len(TRAINED)


def retrained(changes: dict[str, torch.Tensor | None]) -> Callable[[Path], None]:
    """Writes other tensors; None removes."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors") | changes
        kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        save_file(kept, folder / "model.safetensors")

    return spoil


def first_value(name: str, value: float) -> Callable[[Path], None]:
    """Puts `value` at the begin of a tensor."""
    tensor = TRAINED[name].clone()
    tensor.view(-1)[0] = value
    return retrained({name: tensor})


def configured(**changes: object) -> Callable[[Path], None]:
    """Changes fields of config.json."""

    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def write(name: str, content: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_text(content)

    return spoil


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(
            retrained({WEIGHT: PRETRAINED[WEIGHT]}),
            f"the trained tensor {WEIGHT} equals the base model's everywhere.",
            id="a trained tensor that did not move",
        ),
        pytest.param(
            retrained({name: tensor for name, tensor in PRETRAINED.items() if name not in HEAD}),
            f"none of the {CHANGED} trained tensors differs from the base model's.",
            id="nothing was trained",
        ),
        pytest.param(
            retrained({name: PRETRAINED[name] for name in HEAD}),
            "the tensor classifier.bias has its first values everywhere: it was never trained; the tensor"
            " classifier.weight has its first values everywhere: it was never trained.",
            id="a new head that never trained",
        ),
        pytest.param(
            first_value(EMBEDDINGS, torch.nextafter(TRAINED[EMBEDDINGS][0, 0], torch.tensor(1.0)).item()),
            f"the frozen tensor {EMBEDDINGS} differs from the base model's.",
            id="a frozen tensor off by one bit",
        ),
        pytest.param(
            first_value("bert.embeddings.LayerNorm.bias", -0.0),
            "the frozen tensor bert.embeddings.LayerNorm.bias differs from the base model's.",
            id="a frozen zero that lost its sign",
        ),
        pytest.param(
            first_value(BIAS, float("nan")), f"the tensor {BIAS} holds 1 values that are not finite.", id="NaN"
        ),
        pytest.param(
            first_value(BIAS, float("inf")), f"the tensor {BIAS} holds 1 values that are not finite.", id="infinity"
        ),
        pytest.param(
            retrained({"classifier.weight": None}),
            "the tensor classifier.weight is missing.",
            id="the new head is missing",
        ),
        pytest.param(
            retrained({"surplus": torch.ones(1)}), "the tensor surplus is not of this model.", id="a tensor too many"
        ),
        pytest.param(
            retrained({"classifier.bias": torch.ones(3)}),
            "the tensor classifier.bias has the shape (3,), not (2,).",
            id="another shape",
        ),
        pytest.param(
            write("copy.safetensors", "words"),
            f"{FOLDER}/copy.safetensors is not a complete safetensors file (Error while deserializing header: header"
            " too small).",
            id="a file that is no safetensors",
        ),
        pytest.param(remove("config.json"), "config.json was not written.", id="no config"),
        pytest.param(remove("tokenizer.json"), "no tokenizer was written.", id="no tokenizer"),
        pytest.param(
            write("tokenizer.json", "{}"),
            "the tokenizer does not load ('added_tokens').",
            id="a tokenizer that is none",
        ),
        pytest.param(
            configured(num_hidden_layers=4),
            "config.json describes a model with the tensor bert.encoder.layer.3.attention.output.LayerNorm.bias, which"
            " was not trained; ",
            id="a config of more layers",
        ),
        pytest.param(
            configured(num_hidden_layers=2),
            "config.json describes a model without the tensor bert.encoder.layer.2.attention.output.LayerNorm.bias; ",
            id="a config of fewer layers",
        ),
        pytest.param(
            configured(vocab_size=65),
            f"config.json gives the tensor {EMBEDDINGS} the shape (65, 16), not (64, 16).",
            id="a config of another vocabulary",
        ),
        pytest.param(
            configured(architectures=["BertModel"]),
            "config.json does not load (its architectures ['BertModel'] are not the trained"
            " BertForSequenceClassification).",
            id="a config without the head",
        ),
        pytest.param(
            write("config.json", "{}"),
            "config.json does not load (Unrecognized model in the folder).",
            id="a config that transformers does not know",
        ),
        pytest.param(
            write("config.json", "no JSON"),
            "config.json does not load (It looks like the config file at 'config.json' is not a valid JSON file).",
            id="a config that is no JSON",
        ),
    ],
)
def test_a_model_that_was_not_trained_so_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], expected: str
) -> None:
    said = errors(upload(tmp_path, spoil))
    assert said.startswith(expected) if expected.endswith("; ") else said == expected


def test_a_frozen_tensor_that_is_not_stored_is_told(tmp_path: Path) -> None:
    uploaded = upload(tmp_path)
    more = replace(uploaded.expected, frozen=FROZEN | {"bert.embeddings.lost"})
    assert errors(replace(uploaded, expected=more)) == "the tensor bert.embeddings.lost is missing."


@pytest.mark.parametrize(
    "tied", [pytest.param(True, id="one tensor for both ends"), pytest.param(False, id="a tensor of its own")]
)
def test_the_output_layer_of_a_language_model_is_expected_where_it_is_stored(tied: bool, tmp_path: Path) -> None:
    config = LlamaConfig.from_dict(CONFIGS["llama"].to_dict() | {"tie_word_embeddings": tied})
    model = AutoModelForCausalLM.from_config(config)
    shapes = stored_shapes(model, model.state_dict(keep_vars=True))
    assert ("lm_head.weight" in shapes) == (not tied)
    saved(model, tmp_path)
    assert {name: tuple(tensor.shape) for name, tensor in load_file(tmp_path / "model.safetensors").items()} == shapes
    assert list(opening_errors(tmp_path, shapes, AutoModelForCausalLM)) == []


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\1"),
            f"{WEIGHTS} has other bytes in the store than were sent.",
            id="a byte changed in the store",
        ),
        pytest.param(lambda path: path.unlink(), f"{WEIGHTS} is not in the store; the tensor", id="a file got lost"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:-4]),
            f"{WEIGHTS} has {{short}} bytes in the store, {{whole}} were sent; {WEIGHTS} is not a complete"
            " safetensors file",
            id="a file cut short in the store",
        ),
        pytest.param(
            lambda path: path.with_name("other.safetensors").write_bytes(b""),
            f"{FOLDER}/other.safetensors is in the store, but this run did not write it.",
            id="a file of someone else",
        ),
    ],
)
def test_a_model_damaged_in_the_store_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], expected: str
) -> None:
    uploaded = upload(tmp_path)
    path = uploaded.root / WEIGHTS
    whole = path.stat().st_size
    damage(path)
    assert errors(uploaded).startswith(expected.format(whole=whole, short=whole - 4))


def test_a_tensor_without_gradient_may_stay_where_the_caller_says_so(tmp_path: Path) -> None:
    uploaded = upload(tmp_path, retrained({BIAS: PRETRAINED[BIAS]}))
    allowed = replace(uploaded.expected, may_be_unchanged=frozenset({BIAS}))
    assert replace(uploaded, expected=allowed).verify().changed == CHANGED - 1


def test_a_new_tensor_without_gradient_may_stay_where_the_caller_says_so(tmp_path: Path) -> None:
    uploaded = upload(tmp_path, retrained({"classifier.bias": PRETRAINED["classifier.bias"]}))
    allowed = replace(uploaded.expected, may_be_unchanged=frozenset({"classifier.bias"}))
    assert replace(uploaded, expected=allowed).verify().changed == CHANGED


def test_a_tensor_that_the_base_does_not_have_is_told(tmp_path: Path) -> None:
    uploaded = upload(tmp_path)
    renamed = replace(uploaded.expected, base_names={**uploaded.expected.base_names, BIAS: "elsewhere"})
    assert errors(replace(uploaded, expected=renamed)) == f"the base model has no tensor elsewhere for {BIAS}."


def test_many_errors_are_counted(tmp_path: Path) -> None:
    surplus = {f"surplus{number:02d}": torch.ones(1) for number in range(14)}
    text = errors(upload(tmp_path, retrained({**surplus})))
    assert text.count("is not of this model") == 10
    assert text.endswith("; and 4 errors more.")
