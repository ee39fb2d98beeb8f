"""From the URI of a model to a folder that is safe to load."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.models import fetch_model

CONFIG = {"model_type": "bert"}


def write_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": torch.ones(4)}, folder / "model.safetensors")


def write_sharded_model(folder: Path) -> None:
    write_model(folder)
    (folder / "model.safetensors").unlink()
    for number in (1, 2):
        save_file({f"weight.{number}": torch.ones(4)}, folder / f"model-0000{number}-of-00002.safetensors")
    mapping = {f"weight.{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    return tmp_path / "model"


def test_only_the_files_of_a_safe_model_are_fetched(model: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "modeling_mine.py", "adapter_config.json", "README.md", "consolidated.pth"):
        (model / name).write_text("unwanted")
    for name in ("generation_config.json", "vocab.txt", "chat_template.jinja", "spiece.model"):
        (model / name).write_text("{}")
    files = fetch_model(model.as_uri(), None, tmp_path / "cache")
    assert files.gguf is None
    assert sorted(path.name for path in files.folder.iterdir() if not path.name.startswith(".")) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "spiece.model",
        "tokenizer.json",
        "vocab.txt",
    ]
    assert [file.path.name for file in files.weights] == ["model.safetensors"]
    assert (files.folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_a_model_in_several_files_is_fetched_by_its_index(tmp_path: Path) -> None:
    write_sharded_model(tmp_path / "model")
    files = fetch_model((tmp_path / "model").as_uri(), None, tmp_path / "cache")
    assert [file.path.name for file in files.weights] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


@pytest.mark.parametrize("suffix", ["", "/small.gguf"], ids=["the folder of a GGUF file", "the GGUF file itself"])
def test_a_gguf_file_is_fetched_alone(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "small.gguf").write_bytes(b"GGUF and so on")
    (folder / "README.md").write_text("words")
    files = fetch_model(folder.as_uri() + suffix, None, tmp_path / "cache")
    assert files.gguf is not None
    assert files.gguf.read_bytes() == b"GGUF and so on"
    assert [file.uri for file in files.files] == [f"{folder.as_uri()}/small.gguf"]


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_text(content)

    return spoil


def only(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        for name in names:
            (folder / name).write_text("{}")

    return spoil


def cut(name: str, size: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return spoil


POINTER = (
    "{{uri}}/{} is a pointer of Git LFS and not the file itself; run `git lfs pull` where it was cloned, and copy it"
    " again."
)


def packed(folder: Path) -> None:
    save_file({"layer.weight": torch.ones(2, dtype=torch.int8)}, folder / "model.safetensors")


def quantised(folder: Path) -> None:
    (folder / "config.json").write_text(
        '{"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}}'
    )
    tensors = {"layer.scales": torch.ones(2), "layer.weight_packed": torch.ones(2, dtype=torch.int32)}
    save_file(tensors, folder / "model.safetensors")


def sentencepiece_alone(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        pytest.param("run", "run/executions/2/model", id="a run"),
        pytest.param("run/executions/2", "run/executions/2/model", id="an execution"),
        pytest.param("run/executions/1", None, id="one that published none"),
    ],
)
def test_a_folder_of_a_run_is_answered_with_that_of_its_model(
    model: Path, tmp_path: Path, given: str, meant: str | None
) -> None:
    run = tmp_path / "run"
    (run / "executions" / "1").mkdir(parents=True)
    (run / "executions" / "2").mkdir()
    for name in ("manifest.json", "executions/1.json", "executions/2.json", "executions/1/report.html"):
        (run / name).write_text("{}")
    model.rename(run / "executions" / "2" / "model")
    with pytest.raises(RunError) as refused:
        fetch_model((tmp_path / given).as_uri(), None, tmp_path / "cache")
    hint = f"holds no model itself; did you mean {(tmp_path / meant).as_uri()}?" if meant else "holds no weights"
    assert hint in refused.value.message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            only(),
            "{uri} holds no file; a model's URI names the folder that holds its config.json.",
            id="an empty folder",
        ),
        pytest.param(
            remove("config.json"),
            "{uri} has no config.json, which says what kind of model it is; add it.",
            id="no config",
        ),
        pytest.param(
            remove("tokenizer.json"),
            "{uri} has no tokenizer (tokenizer.json, vocab.txt or merges.txt); add the model's own.",
            id="no tokenizer",
        ),
        pytest.param(
            remove("model.safetensors"),
            "{uri} holds no weights: there is neither model.safetensors nor model.safetensors.index.json"
            " nor a .gguf file.",
            id="no weights",
        ),
        pytest.param(
            only("config.json", "tokenizer.json", "pytorch_model.bin"),
            "{uri} holds only pickled weights (pytorch_model.bin), which can run code when loaded; convert them to"
            " safetensors where that is safe: AutoModel.from_pretrained(folder).save_pretrained(new_folder).",
            id="only a pickle",
        ),
        pytest.param(
            only("adapter_config.json", "adapter_model.bin"),
            "{uri} holds an adapter without its adapter_model.safetensors; save it with peft's save_pretrained(folder,"
            " safe_serialization=True).",
            id="a pickled adapter",
        ),
        pytest.param(
            only("a.gguf", "b.gguf"),
            "{uri} holds 2 GGUF files; name one of them, such as {uri}/a.gguf.",
            id="two GGUF files",
        ),
        pytest.param(
            only("a.gguf"),
            "{uri}/a.gguf is not a GGUF file: it does not begin with the letters GGUF; copy it again.",
            id="a GGUF file in name only",
        ),
        pytest.param(
            write("config.json", '{"model_type": "bert", "auto_map": {"AutoModel": "modeling_mine.Mine"}}'),
            "{uri}/config.json requires custom code (auto_map), which is never run; choose a model that"
            " transformers itself knows, or remove auto_map if it does.",
            id="remote code",
        ),
        pytest.param(
            write("tokenizer_config.json", '{"auto_map": {}}'),
            "{uri}/tokenizer_config.json requires custom code (auto_map), which is never run; choose a model that"
            " transformers itself knows, or remove auto_map if it does.",
            id="remote code of the tokenizer",
        ),
        pytest.param(
            write("config.json", '{"model_type": "bert", "_attn_implementation": "someone/kernel"}'),
            "{uri}/config.json requires custom code (_attn_implementation), which is never run; choose a model that"
            " transformers itself knows, or remove _attn_implementation if it does.",
            id="a compiled kernel of the hub",
        ),
        pytest.param(
            write("tokenizer_config.json", '{"vocab": "/run/secrets/token"}'),
            "{uri}/tokenizer_config.json names a file of the machine it is read on (vocab), which is never opened;"
            " remove vocab.",
            id="a vocabulary from elsewhere on the machine",
        ),
        pytest.param(
            write("special_tokens_map.json", '{"vocab_file": "/run/secrets/token"}'),
            "{uri}/special_tokens_map.json names a file of the machine it is read on (vocab_file), which is never"
            " opened; remove vocab_file.",
            id="the same by the legacy file",
        ),
        pytest.param(
            write("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer", "vocab_file": "../vocab.txt"}'),
            "{uri}/tokenizer_config.json names a file of the machine it is read on (vocab_file), which is never opened;"
            " remove vocab_file.",
            id="a vocabulary beside the folder",
        ),
        pytest.param(
            write("tokenizer_config.json", '{"tokenizer_class": "GPT2Tokenizer", "merges_file": "merges.txt"}'),
            "{uri}/tokenizer_config.json names a file of the machine it is read on (merges_file), which is never"
            " opened; remove merges_file.",
            id="a vocabulary that the folder lacks",
        ),
        pytest.param(
            write("config.json", "{}"),
            "{uri}/config.json has no model_type; take the file that came with the model.",
            id="a config without a model type",
        ),
        pytest.param(
            write("config.json", "[1, 2"),
            "{uri}/config.json is not a JSON object; take the file that came with the model.",
            id="a config that is no JSON",
        ),
        pytest.param(
            cut("model.safetensors", 70),
            "{uri}/model.safetensors is not a complete safetensors file (Error while deserializing header: invalid"
            " header length); copy it again, or convert the weights again.",
            id="weights cut short",
        ),
        pytest.param(
            write("model.safetensors", "version https://git-lfs.github.com/spec/v1"),
            POINTER.format("model.safetensors"),
            id="T13: a git-lfs pointer in place of the weights",
        ),
        pytest.param(
            write("tokenizer.json", "version https://git-lfs.github.com/spec/v1"),
            POINTER.format("tokenizer.json"),
            id="T13: a git-lfs pointer in place of the tokenizer",
        ),
        pytest.param(
            quantised,
            "{uri}/model.safetensors is of a quantised model (gptq), whose weights cannot be trained; name the model"
            " that it was made from, with weights in 16 or 32 bits.",
            id="T13: a quantised model",
        ),
        pytest.param(
            packed,
            "{uri}/model.safetensors is of a quantised model (layer.weight is I8), whose weights cannot be trained;"
            " name the model that it was made from, with weights in 16 or 32 bits.",
            id="T13: quantised weights that no configuration mentions",
        ),
        pytest.param(
            sentencepiece_alone,
            "{uri} has its tokenizer in tokenizer.model alone, which is not read; where transformers, sentencepiece,"
            " protobuf and tiktoken are installed, AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes"
            " the tokenizer.json to add.",
            id="T8: a tokenizer of SentencePiece alone",
        ),
    ],
)
def test_a_model_that_cannot_be_used_is_refused(
    model: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(model)
    with pytest.raises(RunError) as caught:
        fetch_model(model.as_uri(), None, tmp_path / "cache")
    assert caught.value.reason == Reason.INVALID_MODEL
    assert str(caught.value) == message.format(uri=model.as_uri())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            remove("model-00002-of-00002.safetensors"),
            "{uri} is incomplete: the file model-00002-of-00002.safetensors is missing, though"
            " model.safetensors.index.json names it; copy the model again.",
            id="a missing file",
        ),
        pytest.param(
            write("model.safetensors.index.json", '{"weight_map": {"other": "model-00001-of-00002.safetensors"}}'),
            "{uri} is incomplete: model-00001-of-00002.safetensors lacks the tensor other, though"
            " model.safetensors.index.json names it; copy the model again.",
            id="a missing tensor",
        ),
        pytest.param(
            write("model.safetensors.index.json", '{"weight_map": {"weight.1": ["a list"]}}'),
            "{uri} is incomplete: the file ['a list'] is missing, though model.safetensors.index.json names it; copy"
            " the model again.",
            id="an index that names no file",
        ),
        pytest.param(
            write(
                "model.safetensors.index.json",
                '{"weight_map": {"weight.1": "../model/model-00001-of-00002.safetensors"}}',
            ),
            "{uri} is incomplete: the file ../model/model-00001-of-00002.safetensors is missing, though"
            " model.safetensors.index.json names it; copy the model again.",
            id="an index that leads out of the folder",
        ),
        pytest.param(
            write("model.safetensors.index.json", "{}"),
            "{uri}/model.safetensors.index.json has no weight_map; take the file that came with the model.",
            id="an empty index",
        ),
    ],
)
def test_an_incomplete_model_is_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    write_sharded_model(tmp_path / "model")
    spoil(tmp_path / "model")
    uri = (tmp_path / "model").as_uri()
    with pytest.raises(RunError) as caught:
        fetch_model(uri, None, tmp_path / "cache")
    assert str(caught.value) == message.format(uri=uri)


def test_the_attention_of_transformers_itself_and_paths_that_it_ignores_are_no_error(
    model: Path, tmp_path: Path
) -> None:
    (model / "config.json").write_text(json.dumps(CONFIG | {"_attn_implementation": "sdpa"}))
    (model / "tokenizer_config.json").write_text(
        '{"tokenizer_file": "/home/author/tokenizer.json", "vocab_file": null}'
    )
    assert len(fetch_model(model.as_uri(), None, tmp_path / "cache").files) == 4


def test_the_tokenizers_own_files_may_be_named(model: Path, tmp_path: Path) -> None:
    (model / "vocab.txt").write_text("[UNK]")
    settings = {"vocab_file": "vocab.txt", "do_lower_case": True, "tokenizer_class": "BertTokenizer"}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    assert len(fetch_model(model.as_uri(), None, tmp_path / "cache").files) == 5


def test_plain_weights_are_fetched_whatever_the_configuration_says_of_a_quantisation(
    model: Path, tmp_path: Path
) -> None:
    """T13."""
    (model / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": {"quant_method": "gptq"}}))
    assert len(fetch_model(model.as_uri(), None, tmp_path / "cache").files) == 3


def test_a_missing_gguf_file_is_told(tmp_path: Path) -> None:
    uri = f"{tmp_path.as_uri()}/none.gguf"
    with pytest.raises(RunError) as caught:
        fetch_model(uri, None, tmp_path / "cache")
    assert str(caught.value) == f"There is no file {uri}; correct the URI."


def test_a_worker_takes_the_model_that_the_driver_saw(model: Path, tmp_path: Path) -> None:
    seen = fetch_model(model.as_uri(), None, tmp_path / "driver")
    assert fetch_model(model.as_uri(), None, tmp_path / "worker", expect=seen.stored).stored == seen.stored


def test_a_worker_asks_nothing_of_the_source_for_what_the_cache_holds(model: Path, tmp_path: Path) -> None:
    seen = fetch_model(model.as_uri(), None, tmp_path / "cache")
    (model / "vocab.txt").write_text("a file that the driver did not see")
    worker = fetch_model("file:///nowhere", None, tmp_path / "cache", expect=seen.stored)
    assert (worker.folder, worker.files) == (seen.folder, seen.files)


@pytest.mark.parametrize("node", ["driver", "worker"], ids=["on the driver's node", "on another node"])
def test_a_worker_refuses_weights_that_changed(model: Path, tmp_path: Path, node: str) -> None:
    seen = fetch_model(model.as_uri(), None, tmp_path / "driver")
    save_file({"weight": torch.zeros(4)}, model / "model.safetensors")
    with pytest.raises(RunError) as caught:
        fetch_model(model.as_uri(), None, tmp_path / node, expect=seen.stored)
    assert caught.value.reason == Reason.INVALID_MODEL
    assert str(caught.value) == (
        f"{model.as_uri()} changed while the run was starting: {model.as_uri()}/model.safetensors is another file now;"
        " start again."
    )


def test_a_worker_on_another_node_refuses_a_model_with_a_file_more(model: Path, tmp_path: Path) -> None:
    seen = fetch_model(model.as_uri(), None, tmp_path / "driver")
    (model / "vocab.txt").write_text("words")
    with pytest.raises(RunError, match=r"vocab\.txt is another file now; start again"):
        fetch_model(model.as_uri(), None, tmp_path / "worker", expect=seen.stored)


def test_a_model_that_went_back_to_what_the_driver_saw_is_taken(model: Path, tmp_path: Path) -> None:
    seen = fetch_model(model.as_uri(), None, tmp_path / "cache")
    save_file({"weight": torch.zeros(4)}, model / "model.safetensors")
    with pytest.raises(RunError):
        fetch_model(model.as_uri(), None, tmp_path / "cache", expect=seen.stored)
    save_file({"weight": torch.ones(4)}, model / "model.safetensors")
    assert fetch_model(model.as_uri(), None, tmp_path / "cache", expect=seen.stored).stored == seen.stored


def test_a_worker_with_another_digest_is_refused(model: Path, tmp_path: Path) -> None:
    seen = fetch_model(model.as_uri(), None, tmp_path / "cache").stored
    forged = (replace(seen[0], sha256="0" * 64), *seen[1:])
    with pytest.raises(RunError, match=r"config\.json is another file now"):
        fetch_model(model.as_uri(), None, tmp_path / "cache", expect=forged)
