"""The Hugging Face hub as a source, against a stand-in for its HTTP interface."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import save

from kubetune_api.reasons import Reason
from kubetune_api.run import MountedSecret
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.credentials import StoreCredentials
from kubetune_trainer.storage.models import fetch_model
from kubetune_trainer.storage.sources import fetch_dataset
from servers.hub import COMMIT, TOKEN, Hub, Repository
from servers.processes import free_port
from support.small_disk import files_of_at_most

MODEL = {
    "config.json": json.dumps({"model_type": "bert"}).encode(),
    "tokenizer.json": b"{}",
    "model.safetensors": save({"weight": torch.ones(4)}),
    "pytorch_model.bin": b"a pickle",
    "onnx/model.onnx": b"unwanted",
    "README.md": b"unwanted",
}
DATA = {"data/b.csv": b"b", "data/a.csv": b"a", "data/more/c.csv": b"c", "README.md": b"unwanted"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(
        {
            "someone/model": Repository(MODEL),
            "someone/private": Repository(MODEL, private=True),
            "someone/gated": Repository(MODEL, gated=True),
            "someone/pickle": Repository({"config.json": b"{}", "pytorch_model.bin": b"a pickle"}),
            "someone/quantized": Repository({"q/a.gguf": b"GGUF a", "q/b.gguf": b"GGUF b"}),
            "datasets/someone/reviews": Repository(DATA),
        }
    )
    hub.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    yield hub
    hub.stop()


def test_a_model_of_the_hub_comes_without_pickles(hub: Hub, tmp_path: Path) -> None:
    model = fetch_model("hf://someone/model", COMMIT, tmp_path)
    assert {file.uri: file.sha256 for file in model.files} == {
        f"hf://someone/model/{name}": hashlib.sha256(MODEL[name]).hexdigest()
        for name in ("config.json", "model.safetensors", "tokenizer.json")
    }
    assert sorted(hub.downloads) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (model.folder / "model.safetensors").read_bytes() == MODEL["model.safetensors"]


def test_several_workers_of_a_machine_download_once(hub: Hub, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: fetch_model("hf://someone/model", COMMIT, tmp_path), range(4)))
    assert len({model.folder for model in models}) == 1
    assert sorted(hub.downloads) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_worker_asks_nothing_of_the_hub_for_what_the_driver_fetched(hub: Hub, tmp_path: Path) -> None:
    seen = fetch_model("hf://someone/model", COMMIT, tmp_path)
    hub.broken = 500
    worker = fetch_model("hf://someone/model", COMMIT, tmp_path, expect=seen.stored)
    assert (worker.folder, worker.files) == (seen.folder, seen.files)


def test_the_workers_of_another_machine_download_once(hub: Hub, tmp_path: Path) -> None:
    seen = fetch_model("hf://someone/model", COMMIT, tmp_path / "driver")
    hub.downloads.clear()
    with ThreadPoolExecutor(4) as pool:
        there = [tmp_path / "worker"] * 4
        models = list(pool.map(lambda cache: fetch_model("hf://someone/model", COMMIT, cache, seen.stored), there))
    assert [model.stored for model in models] == [seen.stored] * 4
    assert sorted(hub.downloads) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_one_file_of_a_folder_can_be_named(hub: Hub, tmp_path: Path) -> None:
    model = fetch_model("hf://someone/quantized/q/b.gguf", COMMIT, tmp_path)
    assert model.gguf is not None
    assert model.gguf.read_bytes() == b"GGUF b"


def test_a_dataset_of_the_hub_is_found_by_its_pattern(hub: Hub, tmp_path: Path) -> None:
    files = fetch_dataset("hf://datasets/someone/reviews/data/*.csv", COMMIT, tmp_path)
    assert [(file.uri, file.path.read_bytes()) for file in files] == [
        ("hf://datasets/someone/reviews/data/a.csv", b"a"),
        ("hf://datasets/someone/reviews/data/b.csv", b"b"),
    ]


def test_a_private_model_needs_the_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch_model("hf://someone/private", COMMIT, tmp_path).files
    assert hub.tokens_given_away == 0


def test_a_token_in_the_home_folder_is_not_read(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_home = tmp_path / "token"
    in_the_home.write_text(TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(in_the_home))
    assert huggingface_hub.get_token() == TOKEN
    with pytest.raises(RunError) as caught:
        fetch_model("hf://someone/private", COMMIT, tmp_path / "cache")
    assert caught.value.reason == Reason.CREDENTIALS_REFUSED
    assert hub.tokens_seen == set()


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        pytest.param(
            "http://mirror.example:8080",
            "hf://someone/model would be reached without encryption at mirror.example;"
            " set HF_ENDPOINT to an https:// endpoint.",
            id="an unencrypted endpoint elsewhere",
        ),
        pytest.param(
            "mirror.example",
            "HF_ENDPOINT is not a URL; set it to https://host or https://host:port.",
            id="an endpoint without a scheme",
        ),
    ],
)
def test_a_wrong_endpoint_is_told_before_any_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, message: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(RunError) as caught:
        fetch_model("hf://someone/model", COMMIT, tmp_path)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("uri", "revision", "reason", "message"),
    [
        pytest.param(
            "hf://someone/private",
            COMMIT,
            Reason.CREDENTIALS_REFUSED,
            "hf://someone/private could not be read: there is no such repository, or it is private;"
            " correct the URI, or set HF_TOKEN.",
            id="a private model without the token",
        ),
        pytest.param(
            "hf://someone/none",
            COMMIT,
            Reason.CREDENTIALS_REFUSED,
            "hf://someone/none could not be read: there is no such repository, or it is private;"
            " correct the URI, or set HF_TOKEN.",
            id="a repository that is not there",
        ),
        pytest.param(
            "hf://someone/gated",
            COMMIT,
            Reason.CREDENTIALS_REFUSED,
            "hf://someone/gated could not be read: its owner gives access on request;"
            " ask at {hub}/someone/gated, then set HF_TOKEN.",
            id="a gated model",
        ),
        pytest.param(
            "hf://someone/model",
            "f" * 40,
            Reason.STORAGE_FAILED,
            f"hf://someone/model could not be read: it has no commit {'f' * 40}; correct the revision.",
            id="a commit that is not there",
        ),
        pytest.param(
            "hf://someone",
            COMMIT,
            Reason.INVALID_MANIFEST,
            "The URI hf://someone cannot be used: write hf://owner/name.",
            id="half of a name",
        ),
        pytest.param(
            "hf://someone/-model-",
            COMMIT,
            Reason.STORAGE_FAILED,
            "hf://someone/-model- could not be read: this is not the name of a repository; write owner/name.",
            id="an impossible name",
        ),
        pytest.param(
            "hf://someone/model",
            None,
            Reason.INVALID_MANIFEST,
            "hf://someone/model needs a revision: the commit, 40 hexadecimal digits.",
            id="no revision",
        ),
        pytest.param(
            "hf://someone/pickle",
            COMMIT,
            Reason.INVALID_MODEL,
            "hf://someone/pickle holds only pickled weights (pytorch_model.bin), which can run code when loaded;"
            " convert them to safetensors where that is safe:"
            " AutoModel.from_pretrained(folder).save_pretrained(new_folder).",
            id="only a pickle",
        ),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_told(
    hub: Hub, tmp_path: Path, uri: str, revision: str | None, reason: str, message: str
) -> None:
    with pytest.raises(RunError) as caught:
        fetch_model(uri, revision, tmp_path)
    assert caught.value.reason == reason
    assert str(caught.value) == message.format(hub=hub.endpoint)
    assert hub.downloads == []


def test_a_hub_opened_by_a_secret_that_refuses_names_the_key_of_the_secret(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "HF_TOKEN").write_text("hf_of_somebody_else")
    secrets = StoreCredentials((MountedSecret(prefix="hf://someone", folder=str(tmp_path)),))
    with pytest.raises(RunError, match="is private; correct the URI, or set HF_TOKEN in the Secret for hf://someone"):
        fetch_model("hf://someone/private", COMMIT, tmp_path / "cache", credentials=secrets)


@pytest.mark.parametrize(
    ("status", "reason", "why"),
    [
        pytest.param(
            403,
            Reason.CREDENTIALS_REFUSED,
            "{hub} refused the token (HTTP status 403); check HF_TOKEN",
            id="a refused token",
        ),
        pytest.param(
            500,
            Reason.STORAGE_FAILED,
            "{hub} answered with HTTP status 500; try again later",
            id="a broken hub",
        ),
    ],
)
def test_a_hub_that_refuses_is_told(hub: Hub, tmp_path: Path, status: int, reason: str, why: str) -> None:
    hub.broken = status
    with pytest.raises(RunError) as caught:
        fetch_model("hf://someone/model", COMMIT, tmp_path)
    assert caught.value.reason == reason
    assert str(caught.value) == f"hf://someone/model could not be read: {why.format(hub=hub.endpoint)}."


def test_a_server_that_is_no_hub_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.broken = 200
    with pytest.raises(RunError) as caught:
        fetch_model("hf://someone/model", COMMIT, tmp_path)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        f"hf://someone/model could not be read: {hub.endpoint} does not answer like a hub; check HF_ENDPOINT."
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("../../x.csv", "its name leads out of the repository; ask its owner to rename it", id="upwards"),
        pytest.param("/x.csv", "its name leads out of the repository; ask its owner to rename it", id="to the root"),
        pytest.param(
            "a:x.csv",
            "the library of the hub refuses it: Invalid filename 'a:x.csv': cannot be an absolute, drive-relative or"
            " UNC path. Please ask the repository owner to rename this file",
            id="to a drive",
        ),
    ],
)
def test_a_file_whose_name_leads_elsewhere_is_refused(hub: Hub, tmp_path: Path, name: str, why: str) -> None:
    hub.repositories["datasets/someone/evil"] = Repository({name: b"x"})
    pattern = "/".join("*" for _ in name.split("/"))
    with pytest.raises(RunError) as caught:
        fetch_dataset(f"hf://datasets/someone/evil/{pattern}", COMMIT, tmp_path / "deep" / "cache")
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == f"hf://datasets/someone/evil/{name} could not be read: {why}."
    assert list(tmp_path.rglob("*.csv")) == []


def test_a_hub_out_of_reach_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(RunError) as caught:
        fetch_model("hf://someone/model", COMMIT, tmp_path)
    assert str(caught.value) == (
        f"hf://someone/model could not be read: {endpoint} cannot be reached, or broke the connection;"
        " check HF_ENDPOINT and the network."
    )


def test_a_disk_too_small_for_a_download_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["someone/large"] = Repository({**MODEL, "model.safetensors": bytes(2 * 2**20)})
    with files_of_at_most(2**20), pytest.raises(RunError) as caught:
        fetch_model("hf://someone/large", COMMIT, tmp_path)
    assert caught.value.reason == Reason.STORAGE_FAILED
    assert str(caught.value) == (
        "hf://someone/large/model.safetensors could not be written:"
        " the file is larger than this system's limit for a file (see ulimit -f)."
    )
