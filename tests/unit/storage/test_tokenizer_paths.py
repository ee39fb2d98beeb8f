"""S8: no configuration of a tokenizer has a file of this machine opened, whatever class it names."""

import ctypes
import inspect
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import transformers
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.storage.configs import check_config
from support.tiny_models import saved, tiny_model

IN_OPEN = 0x20
PATH_LIKE = re.compile("file|vocab|merges|spm|path|model|tokenizer")
OTHERS = {"gguf_file", "fast_tokenizer_files", "tokenizer_config_file", "added_tokens_file", "special_tokens_map_file"}
NAMES = {
    name
    for names in TOKENIZER_MAPPING_NAMES.values()
    for name in ((names,) if isinstance(names, str) else names or ())
    if name
}
KINDS = {
    name: kind
    for name in sorted(NAMES)
    # What needs a library that is not there has a class in name only.
    if inspect.isclass(kind := getattr(transformers, name, None)) and issubclass(kind, PreTrainedTokenizerBase)
}


def keys() -> set[str]:
    """What any class takes that may be a path."""
    found = set(OTHERS)
    for kind in KINDS.values():
        found |= set(kind.vocab_files_names)
        with suppress(ValueError):
            found |= {key for key in inspect.signature(kind).parameters if PATH_LIKE.search(key)}
    return found - {"self"}


@contextmanager
def watched(path: Path) -> Iterator[list[bool]]:
    """Whether the file was opened in the block, also by code that is not Python's."""
    libc, opened = ctypes.CDLL(None, use_errno=True), [False]
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, os.fsencode(path), IN_OPEN) > 0
    try:
        yield opened
        with suppress(BlockingIOError):
            opened[0] = bool(os.read(watch, 4096))
    finally:
        os.close(watch)


def refused(folder: Path, name: str, content: dict[str, object]) -> bool:
    (folder / name).write_text(json.dumps(content))
    try:
        check_config("file:///model", folder)
    except RunError as error:
        return error.reason == Reason.INVALID_MODEL
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tiny_model("llama", labels=None), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("elsewhere") / "canary.json"
    path.write_text('{"canary": 0}')
    return path


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("key", ["gguf_file", "vocab_file", "merges_file", "spm_file", "vocab", "merges", "source_spm"])
def test_a_file_elsewhere_is_refused(name: str, key: str, folder: Path, canary: Path) -> None:
    before = (folder / name).read_bytes() if (folder / name).exists() else b"{}"
    assert refused(folder, name, {key: str(canary)})
    (folder / name).write_bytes(before)


def test_the_watch_sees_what_is_opened(canary: Path) -> None:
    with watched(canary) as opened:
        canary.read_text()
    assert opened == [True]


@pytest.mark.parametrize("has_tokenizer", [True, False], ids=["with tokenizer.json", "without"])
@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_what_is_not_refused_opens_nothing_elsewhere(
    name: str, has_tokenizer: bool, folder: Path, canary: Path, tmp_path: Path
) -> None:
    for file in folder.iterdir():
        if file.name not in ("tokenizer_config.json", "special_tokens_map.json"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    if not has_tokenizer:
        (tmp_path / "tokenizer.json").unlink()
        (tmp_path / "vocab.txt").write_text("[UNK]\na\n")
    allowed = {key for key in keys() if not refused(tmp_path, name, {key: str(canary)})}
    assert len(KINDS) > 20
    assert "vocab_file" not in allowed
    opening = []
    for kind in KINDS:
        settings = {"tokenizer_class": kind, "unk_token": "[UNK]"}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        (tmp_path / name).write_text(json.dumps(settings | dict.fromkeys(allowed, str(canary))))
        with watched(canary) as opened, suppress(Exception):
            AutoTokenizer.from_pretrained(tmp_path, local_files_only=True, trust_remote_code=False)
        if opened[0]:
            opening.append(kind)
    assert opening == []


@pytest.mark.parametrize("has_tokenizer", [True, False], ids=["with tokenizer.json", "without"])
def test_the_name_of_a_tokenizers_own_file_opens_none_of_that_name_elsewhere(
    has_tokenizer: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    own = {"vocab_file": "vocab.txt", "merges_file": "merges.txt"}
    for name in ("config.json", *(["tokenizer.json"] if has_tokenizer else [])):
        (here / name).write_bytes((folder / name).read_bytes())
    for name in own.values():
        (here / name).write_text("[UNK]\na\n")
        (elsewhere / name).write_text("[UNK]\na\n")
    settings = [{"tokenizer_class": kind, "unk_token": "[UNK]", **own} for kind in KINDS]
    accepted = [one for one in settings if not refused(here, "tokenizer_config.json", dict(one))]
    assert {str(one["tokenizer_class"]) for one in accepted} >= {"BertTokenizer", "GPT2Tokenizer"}
    monkeypatch.chdir(elsewhere)
    opening = []
    for one in accepted:
        (here / "tokenizer_config.json").write_text(json.dumps(one))
        opened = (watched(elsewhere / name) for name in own.values())
        with next(opened) as vocabulary, next(opened) as merges, suppress(Exception):
            AutoTokenizer.from_pretrained(here, local_files_only=True, trust_remote_code=False)
        if vocabulary[0] or merges[0]:
            opening.append(one["tokenizer_class"])
    assert opening == []
    assert refused(here, "special_tokens_map.json", accepted[0])
