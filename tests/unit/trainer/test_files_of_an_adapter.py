"""Of an adapter and its base, whose configuration and whose tokenizer a training on reads."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kubetune_api.job import Model
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.model.source import pretrained_model
from kubetune_trainer.tasks import language_model_class

TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
BESIDE = TOKENIZER | {"config.json", "generation_config.json"}


def write(folder: Path, own: set[str]) -> Path:
    """An adapter with the files `own`, and its base, which has all files, beside it."""
    for part, names in (("base", BESIDE), ("adapter", own)):
        (folder / part).mkdir()
        for name in names:
            (folder / part / name).write_text(json.dumps({"model_type": "bert"} if name == "config.json" else {}))
    save_file({"weight": torch.ones(4)}, folder / "base" / "model.safetensors")
    save_file({"base_model.model.q.lora_A.weight": torch.ones(4)}, folder / "adapter" / "adapter_model.safetensors")
    content = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": str(folder / "base")}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(content))
    return folder / "adapter"


def origins(adapter: Path, tell: Callable[[str], None] = lambda _: None) -> dict[str, str]:
    """Where each file comes from that a training on from the adapter reads beside the matrices."""
    model = Model(uri=adapter.as_uri())
    found = pretrained_model(model, adapter.parent / "cache", language_model_class(), tell=tell).folder
    return {file.name: file.resolve().parent.name for file in found.iterdir() if file.name in BESIDE}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        pytest.param(set(), BESIDE, id="matrices alone"),
        pytest.param({"config.json"}, TOKENIZER | {"generation_config.json"}, id="a configuration"),
        pytest.param(TOKENIZER, {"config.json", "generation_config.json"}, id="a tokenizer, as TRL saves it"),
        pytest.param({"tokenizer.json"}, {"config.json", "generation_config.json"}, id="no mixture of tokenizers"),
        pytest.param(BESIDE, set(), id="all"),
    ],
)
def test_what_the_adapter_has_is_its_own_and_the_rest_the_base_models(
    tmp_path: Path, own: set[str], expected: set[str]
) -> None:
    assert origins(write(tmp_path, own)) == dict.fromkeys(own, "adapter") | dict.fromkeys(expected, "base")


def test_what_is_said_of_a_tokenizer_that_is_not_there_stays_unread_with_a_note(tmp_path: Path) -> None:
    folder, told = write(tmp_path, {"chat_template.jinja"}), list[str]()
    assert origins(folder, told.append) == dict.fromkeys(BESIDE, "base")
    assert told[1:] == [
        f"{folder.as_uri()} has chat_template.jinja, but no tokenizer (tokenizer.json, vocab.txt or merges.txt): the"
        " tokenizer of the base model is used as it is; to use the adapter's own, add its tokenizer.json"
    ]


def test_a_tokenizer_beside_matrices_is_checked_like_that_of_a_model(tmp_path: Path) -> None:
    folder = write(tmp_path, TOKENIZER)
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "mine.Tokenizer"}}')
    with pytest.raises(RunError, match=r"tokenizer_config\.json requires custom code") as caught:
        origins(folder)
    assert caught.value.reason == Reason.INVALID_MODEL
