"""The judgement of an uploaded model: every way in which it may not be what was trained."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kubetune_api.status import Reason
from kubetune_trainer.artifact.publish import upload_folder
from kubetune_trainer.artifact.verify import Expectation, Verification, verify
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import StoredFile
from kubetune_trainer.storage.store import Store

FOLDER = "executions/1/model"
WEIGHTS = f"{FOLDER}/model.safetensors"
BASE = {"embeddings": torch.arange(6.0), "encoder": torch.ones(2, 3), "bias": torch.zeros(3)}
TRAINED = {
    "bert.embeddings": torch.arange(6.0),
    "bert.encoder": torch.ones(2, 3) + 0.5,
    "bert.bias": torch.full((3,), 1e-7),
    "classifier": torch.ones(2),
}


@dataclass(frozen=True)
class Uploaded:
    """A model in a store, and what is expected of it."""

    store: Store
    root: Path
    files: tuple[StoredFile, ...]
    expected: Expectation

    def verify(self) -> Verification:
        return verify(self.store, FOLDER, self.files, self.expected)


def write_model(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (folder / "tokenizer.json").write_text("{}")


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
        base=tmp_path / "base",
        base_names={f"bert.{name}": name for name in BASE},
        frozen=frozenset({"bert.embeddings"}),
    )
    return Uploaded(store, tmp_path / "store", tuple(files), expected)


def faults(uploaded: Uploaded) -> str:
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
    assert uploaded.verify() == Verification(files=3, tensors=4, changed=2, frozen=1, size_bytes=size)


def test_a_frozen_tensor_may_be_stored_in_another_type(tmp_path: Path) -> None:
    half = {name: tensor.to(torch.bfloat16) for name, tensor in TRAINED.items()}
    assert upload(tmp_path, tensors=half).verify().frozen == 1


def test_a_base_in_lower_precision_is_compared_in_the_type_of_the_trained_model(tmp_path: Path) -> None:
    half = {name: tensor.to(torch.float16) for name, tensor in BASE.items()}
    assert upload(tmp_path, base=half).verify().changed == 2


def test_a_trained_model_in_several_files_is_seen_whole(tmp_path: Path) -> None:
    def split(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        for number, (name, tensor) in enumerate(TRAINED.items()):
            save_file({name: tensor}, folder / f"model-{number}.safetensors")

    assert upload(tmp_path, split).verify().tensors == 4


def retrained(**changes: torch.Tensor | None) -> Callable[[Path], None]:
    """Writes other tensors: `bert_encoder` stands for `bert.encoder`, None removes."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        for name, tensor in changes.items():
            key = name.replace("bert_", "bert.")
            if tensor is None:
                del tensors[key]
            else:
                tensors[key] = tensor
        save_file(tensors, folder / "model.safetensors")

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
            retrained(bert_encoder=BASE["encoder"].clone()),
            "the trained tensor bert.encoder equals the base model's everywhere.",
            id="a trained tensor that did not move",
        ),
        pytest.param(
            retrained(bert_encoder=BASE["encoder"].clone(), bert_bias=BASE["bias"].clone()),
            "none of the 2 trained tensors differs from the base model's.",
            id="nothing was trained",
        ),
        pytest.param(
            retrained(bert_embeddings=torch.tensor([0.0, 1, 2, 3, 4, 5.0000005])),
            "the frozen tensor bert.embeddings differs from the base model's.",
            id="a frozen tensor off by one bit",
        ),
        pytest.param(
            retrained(bert_embeddings=torch.tensor([-0.0, 1, 2, 3, 4, 5])),
            "the frozen tensor bert.embeddings differs from the base model's.",
            id="a frozen zero that lost its sign",
        ),
        pytest.param(
            retrained(bert_bias=torch.tensor([0.1, float("nan"), float("inf")])),
            "the tensor bert.bias holds 2 values that are not finite.",
            id="NaN and infinity",
        ),
        pytest.param(retrained(classifier=None), "the tensor classifier is missing.", id="the new head is missing"),
        pytest.param(
            retrained(surplus=torch.ones(1)), "the tensor surplus is not of this model.", id="a tensor too many"
        ),
        pytest.param(
            retrained(classifier=torch.ones(3)),
            "the tensor classifier has the shape (3,), not (2,).",
            id="another shape",
        ),
        pytest.param(
            write("copy.safetensors", "words"),
            f"{FOLDER}/copy.safetensors is no whole safetensors file (Error while deserializing header: header too"
            " small).",
            id="a file that is no safetensors",
        ),
        pytest.param(remove("config.json"), "config.json was not written.", id="no config"),
        pytest.param(remove("tokenizer.json"), "no tokenizer was written.", id="no tokenizer"),
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
    assert faults(upload(tmp_path, spoil)) == expected


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
            f"{WEIGHTS} has {{short}} bytes in the store, {{whole}} were sent; {WEIGHTS} is no whole safetensors file",
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
    assert faults(uploaded).startswith(expected.format(whole=whole, short=whole - 4))


def test_a_tensor_without_gradient_may_stay_where_the_caller_says_so(tmp_path: Path) -> None:
    uploaded = upload(tmp_path, retrained(bert_bias=BASE["bias"].clone()))
    allowed = replace(uploaded.expected, may_stay=frozenset({"bert.bias"}))
    assert replace(uploaded, expected=allowed).verify().changed == 1


def test_a_tensor_that_the_base_does_not_have_is_told(tmp_path: Path) -> None:
    uploaded = upload(tmp_path)
    renamed = replace(uploaded.expected, base_names={**uploaded.expected.base_names, "bert.bias": "elsewhere"})
    assert faults(replace(uploaded, expected=renamed)) == "the base model has no tensor elsewhere for bert.bias."


def test_many_faults_are_counted(tmp_path: Path) -> None:
    surplus = {f"surplus{number:02d}": torch.ones(1) for number in range(14)}
    text = faults(upload(tmp_path, retrained(**surplus)))
    assert text.count("is not of this model") == 10
    assert text.endswith("; and 4 faults more.")
