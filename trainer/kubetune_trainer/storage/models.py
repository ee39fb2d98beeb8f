"""Where pretrained models come from: only safetensors or GGUF weights, never a pickle, never remote code."""

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path

from kubetune_api.run import EXECUTIONS, MODEL
from kubetune_trainer.errors import RunError, invalid_model
from kubetune_trainer.records import LocalFile, StoredFile
from kubetune_trainer.storage.cache import fetch_once
from kubetune_trainer.storage.configs import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    GENERATION_CONFIG,
    INDEX,
    WEIGHTS,
    check_config,
    quantisation,
    read_json,
)
from kubetune_trainer.storage.credentials import ENVIRONMENT, StoreCredentials
from kubetune_trainer.storage.signatures import FETCH_THE_FILE, POINTER, kind_of
from kubetune_trainer.storage.store import ObjectInfo
from kubetune_trainer.storage.trees import Source, fetch, open_source
from kubetune_trainer.storage.weights import check_gguf, check_safetensors

_SHARD = re.compile(r"model.*\.safetensors")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "merges.txt")
_SETTINGS = (CONFIG, GENERATION_CONFIG)
_OF_TOKENIZERS = (
    *_TOKENIZERS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "chat_template.jinja",
)
_ADAPTER = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
ADAPTER_FOLDER = "adapter"
_SENTENCEPIECE = ".model"
_GGUF = ".gguf"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class ModelFiles:
    """A pretrained model on this machine, as transformers reads it."""

    folder: Path
    """What `from_pretrained` is given."""
    files: tuple[LocalFile, ...]
    gguf: Path | None = None
    """The GGUF file, if the weights come in one."""

    @property
    def is_adapter(self) -> bool:
        """Whether it holds an adapter, which is trained beside a model from elsewhere."""
        return any(file.path.name == ADAPTER_CONFIG for file in self.files)

    @property
    def weights(self) -> tuple[LocalFile, ...]:
        """The files that hold tensors."""
        return tuple(file for file in self.files if file.path.name.endswith((".safetensors", _GGUF)))

    @property
    def settings(self) -> tuple[LocalFile, ...]:
        """The configurations of the model and of what it writes."""
        return tuple(file for file in self.files if file.path.name in _SETTINGS)

    @property
    def tokenizer(self) -> tuple[LocalFile, ...]:
        """All files of the tokenizer, where one can be read from them."""
        found = self._of_tokenizer
        return found if any(file.path.name in _TOKENIZERS for file in found) else ()

    @property
    def unread(self) -> tuple[str, ...]:
        """The names of files that say something of a tokenizer which is not there."""
        return () if self.tokenizer else tuple(file.path.name for file in self._of_tokenizer)

    @property
    def _of_tokenizer(self) -> tuple[LocalFile, ...]:
        return tuple(file for file in self.files if _is_of_tokenizer(file.path.name))

    @property
    def stored(self) -> tuple[StoredFile, ...]:
        """The files for the manifest."""
        return tuple(file.stored for file in self.files)


def fetch_model(
    uri: str,
    revision: str | None,
    into: Path,
    expect: tuple[StoredFile, ...] | None = None,
    credentials: StoreCredentials = ENVIRONMENT,
) -> ModelFiles:
    """The model's files on this machine, checked: whole, safe, complete.

    `into` is a cache folder. `expect` are the files that another process of this run saw and checked: where the cache
    holds them, nothing is asked of the source; elsewhere they are fetched, and a model that changed since is refused.
    """
    if expect is None:
        files = _checked(uri, revision, into, credentials)
        seen, fill = tuple(file.stored for file in files), partial(linked, files)
    else:
        seen, fill = expect, partial(_fetched_again, uri, revision, expect, credentials)
    return _model(fetch_once(into, ["seen", *sorted(map(astuple, seen))], fill))


def put_together(adapter: ModelFiles, base: ModelFiles, into: Path) -> Path:
    """A folder with the weights of `base`, and with the configurations and the tokenizer of `adapter`, or those of
    `base` where it has none. Its matrices are in the folder `ADAPTER_FOLDER` there, or transformers would load them by
    itself; beside them is the configuration that it came with."""
    weights = [file for file in base.files if file in base.weights or file.path.name == INDEX]
    settings = {file.path.name: file for model in (base, adapter) for file in model.settings}
    whole = [*weights, *settings.values(), *(adapter.tokenizer or base.tokenizer)]
    own = [file for file in adapter.files if file.path.name in (*_ADAPTER, CONFIG)]

    def fill(folder: Path) -> list[LocalFile]:
        (folder / ADAPTER_FOLDER).mkdir(exist_ok=True)
        return [*linked(whole, folder), *linked(own, folder / ADAPTER_FOLDER)]

    both = [astuple(file) for model in (adapter, base) for file in model.stored]
    return fetch_once(into, ["beside", *both], fill)[0].path.parent


def _checked(uri: str, revision: str | None, into: Path, credentials: StoreCredentials) -> list[LocalFile]:
    """What lies at the source now."""
    source, path = open_source(uri, revision, credentials)
    files = fetch(source, _chosen(uri, source, path), into)
    for file in files:
        if kind_of(file.path) == POINTER:
            raise invalid_model(f"{file.uri} is {FETCH_THE_FILE}.")
    model = _model(files)
    if model.gguf is not None:
        check_gguf(model.gguf, files[0].uri)
        return files
    check_config(uri, model.folder)
    if model.is_adapter:
        check_safetensors(model.folder / ADAPTER_WEIGHTS, f"{uri}/{ADAPTER_WEIGHTS}")
    else:
        _check_weights(uri, model.folder, {file.path.name for file in model.weights})
    return files


def linked(files: Sequence[LocalFile], folder: Path) -> list[LocalFile]:
    """The same files under the name that a process without a listing looks for."""
    for file in files:
        link = folder / file.path.name
        link.unlink(missing_ok=True)
        link.symlink_to(file.path.absolute())
    return [replace(file, path=folder / file.path.name) for file in files]


def _fetched_again(
    uri: str, revision: str | None, expect: tuple[StoredFile, ...], credentials: StoreCredentials, folder: Path
) -> list[LocalFile]:
    source, path = open_source(uri, revision, credentials)
    files = source.fetch(_chosen(uri, source, path), folder)
    _check_unchanged(uri, files, expect)
    return files


def _model(files: Sequence[LocalFile]) -> ModelFiles:
    first = files[0].path
    return ModelFiles(first.parent, tuple(files), first if first.name.endswith(_GGUF) else None)


def _chosen(uri: str, source: Source, path: str) -> list[ObjectInfo]:
    """Which of the objects are fetched: one GGUF file, or the files of a safetensors model."""
    folder, _, name = path.rpartition("/")
    names_file = name.endswith(_GGUF)
    folders, found = source.children(folder if names_file else path)
    objects = {info.path.rpartition("/")[2]: info for info in found}
    if names_file:
        if name not in objects:
            raise invalid_model(f"There is no file {uri}; correct the URI.")
        return [objects[name]]
    holds_model = any(name == CONFIG or name.endswith((".safetensors", _GGUF)) for name in objects)
    if not holds_model and (below := _model_below(source, path, folders)):
        raise invalid_model(f"{uri} holds no model itself; did you mean {source.uri(below)}?")
    if not objects:
        raise invalid_model(f"{uri} holds no file; a model's URI names the folder that holds its config.json.")
    weights = _weights(uri, objects)
    if weights[0].endswith(_GGUF):
        return [objects[weights[0]]]
    # An adapter has a configuration and a tokenizer, or goes by those of its base.
    if weights[0] != ADAPTER_CONFIG:
        if CONFIG not in objects:
            raise invalid_model(f"{uri} has no config.json, which says what kind of model it is; add it.")
        if not any(name in _TOKENIZERS for name in objects):
            raise _no_tokenizer(uri, [name for name in objects if name.endswith(_SENTENCEPIECE)])
    beside = [name for name in objects if name in _SETTINGS or _is_of_tokenizer(name)]
    return [objects[name] for name in sorted({*weights, *beside})]


def _model_below(source: Source, path: str, folders: Sequence[str]) -> str | None:
    """Where the model is in a folder that a run has written: the run's own, or that of one of its executions."""
    if MODEL in folders:
        return f"{path}/{MODEL}".lstrip("/")
    if EXECUTIONS not in folders:
        return None
    # The last that has one: earlier executions were replaced.
    executions = f"{path}/{EXECUTIONS}".lstrip("/")
    places = [f"{executions}/{number}" for number in source.children(executions)[0]]
    found = [_model_below(source, place, source.children(place)[0]) for place in places]
    return next(filter(None, reversed(found)), None)


def _is_of_tokenizer(name: str) -> bool:
    return name in _OF_TOKENIZERS or name.endswith(_SENTENCEPIECE)


def _no_tokenizer(uri: str, others: list[str]) -> RunError:
    if not others:
        return invalid_model(f"{uri} has no tokenizer (tokenizer.json, vocab.txt or merges.txt); add the model's own.")
    return invalid_model(
        f"{uri} has its tokenizer in {min(others)} alone, which is not read; where transformers, sentencepiece,"
        " protobuf and tiktoken are installed, AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes the"
        " tokenizer.json to add."
    )


def _weights(uri: str, objects: dict[str, ObjectInfo]) -> list[str]:
    """The names of the safetensors files (and their index), or of the one GGUF file."""
    if WEIGHTS in objects:
        return [WEIGHTS]
    if INDEX in objects:
        return [INDEX, *(name for name in objects if _SHARD.fullmatch(name))]
    ggufs = [name for name in objects if name.endswith(_GGUF)]
    if len(ggufs) == 1:
        return ggufs
    if ggufs:
        raise invalid_model(f"{uri} holds {len(ggufs)} GGUF files; name one of them, such as {uri}/{min(ggufs)}.")
    if ADAPTER_CONFIG in objects:
        if ADAPTER_WEIGHTS in objects:
            return [ADAPTER_CONFIG, ADAPTER_WEIGHTS]
        raise invalid_model(
            f"{uri} holds an adapter without its {ADAPTER_WEIGHTS}; save it with peft's"
            " save_pretrained(folder, safe_serialization=True)."
        )
    pickles = sorted(name for name in objects if name.endswith(_PICKLES))
    if pickles:
        raise invalid_model(
            f"{uri} holds only pickled weights ({pickles[0]}), which can run code when loaded; convert them to"
            " safetensors where that is safe: AutoModel.from_pretrained(folder).save_pretrained(new_folder)."
        )
    raise invalid_model(f"{uri} holds no weights: there is neither {WEIGHTS} nor {INDEX} nor a .gguf file.")


def _check_unchanged(uri: str, files: Sequence[LocalFile], expect: tuple[StoredFile, ...]) -> None:
    before, now = ({file.name: file for file in seen} for seen in (expect, [file.stored for file in files]))
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        raise invalid_model(f"{uri} changed while the run was starting: {changed[0]} is another file now; start again.")


def _check_weights(uri: str, folder: Path, present: set[str]) -> None:
    packed = quantisation(read_json(uri, folder / CONFIG))
    tensors = {name: check_safetensors(folder / name, f"{uri}/{name}", packed) for name in sorted(present)}
    if not (folder / INDEX).exists():
        return
    mapping = read_json(uri, folder / INDEX).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise invalid_model(f"{uri}/{INDEX} has no weight_map; take the file that came with the model.")
    for tensor, shard in sorted(mapping.items()):
        if not isinstance(shard, str) or shard not in tensors:
            raise _incomplete(uri, f"the file {shard} is missing")
        if tensor not in tensors[shard]:
            raise _incomplete(uri, f"{shard} lacks the tensor {tensor}")


def _incomplete(uri: str, what: str) -> RunError:
    return invalid_model(f"{uri} is incomplete: {what}, though {INDEX} names it; copy the model again.")
