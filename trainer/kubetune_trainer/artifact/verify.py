"""The last judgement before a model is published: it is fetched back from the store and looked at.

Nothing of the uploading process is trusted: every byte compared here came from the store.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kubetune_api.reasons import Reason
from kubetune_trainer.artifact.free_memory import free_memory
from kubetune_trainer.artifact.listing import walk
from kubetune_trainer.artifact.reopen import opening_errors
from kubetune_trainer.artifact.stopping import StopCheck
from kubetune_trainer.artifact.tensors import TensorCheck
from kubetune_trainer.artifact.wholeness import SAFETENSORS, TOKENIZERS
from kubetune_trainer.comparison import FilesChecked
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import Expectation, StoredFile
from kubetune_trainer.storage.configs import ADAPTER_CONFIG
from kubetune_trainer.storage.store import MissingObjectError, Store

_ERRORS_SHOWN = 10


@dataclass(frozen=True)
class Verification:
    """What was found to be right."""

    files: int
    tensors: int
    changed: int
    """Tensors that differ from the base model's."""
    frozen: int
    """Tensors that are the base model's, bit for bit, as they must be."""
    size_bytes: int


def verify(
    store: Store,
    folder: str,
    files: Sequence[StoredFile],
    expected: Expectation,
    base: Path,
    model_class: Any,
    stopping: StopCheck | None = None,
    checked: Sequence[FilesChecked] = (),
) -> Verification:
    """Fetches every file of the model in `folder` (relative to the store) and compares it with what was trained.

    `files` are all that was uploaded there, their names relative to the store; `base` is the folder of the base model,
    `model_class` the auto class of transformers that opens the trained one. One file is on this machine's disk and one
    tensor in its memory at a time, unless `stopping` asks the whole model something. What workers have `checked` is not
    fetched again, and nothing is asked then. RunError (VERIFICATION_FAILED) with every error.
    """
    stopping, done = stopping or StopCheck(), {file for one in checked for file in one.files}
    keep_weights = not done and stopping.needs_weights(_weights(files, base), free_memory())
    with TemporaryDirectory(prefix="kubetune-verify-") as scratch, TensorCheck(expected, base) as tensors:
        errors = [*_listing_errors(store, folder, files)]
        for one in checked:
            errors += [*one.errors, *tensors.take(one.compared)]
        for file in (file for file in files if file not in done):
            path = Path(scratch) / file.name.removeprefix(f"{folder}/")
            errors += _file_errors(store, file, path, tensors, keep_weights=keep_weights)
        errors += tensors.finish()
        errors += _format_errors(Path(scratch), _names(files, folder), expected, model_class)
        errors += stopping.configuration_errors(Path(scratch))
        if keep_weights and not errors:
            errors += stopping.ask(Path(scratch), model_class, base)
    if errors:
        raise _failed(store.uri(folder), errors)
    return Verification(
        files=len(files),
        tensors=len(tensors.found.seen),
        changed=tensors.found.changed,
        frozen=len(expected.frozen),
        size_bytes=sum(file.size for file in files),
    )


def _names(files: Sequence[StoredFile], folder: str) -> set[str]:
    return {file.name.removeprefix(f"{folder}/") for file in files}


def check(store: Store, files: Sequence[StoredFile], expected: Expectation, base: Path) -> FilesChecked:
    """The same for some of the files of weights alone: a worker's part of it."""
    with TemporaryDirectory(prefix="kubetune-verify-") as scratch, TensorCheck(expected, base) as tensors:
        errors: list[str] = []
        for file in files:
            path = Path(scratch) / file.name.rpartition("/")[2]
            errors += _file_errors(store, file, path, tensors, keep_weights=False)
        return FilesChecked(tuple(files), tensors.found, tuple(errors))


def _listing_errors(store: Store, folder: str, files: Sequence[StoredFile]) -> Iterator[str]:
    sent = {file.name for file in files}
    for path in sorted({info.path for info in walk(store, folder)} - sent):
        yield f"{path} is in the store, but this run did not write it"


def _weights(files: Sequence[StoredFile], base: Path) -> int:
    """Bytes of the weights of the whole model, which for an adapter is the pretrained one."""
    published = sum(file.size for file in files if file.name.endswith(SAFETENSORS))
    if not any(file.name.endswith(f"/{ADAPTER_CONFIG}") for file in files):
        return published
    return published + sum(path.stat().st_size for path in base.glob(f"*{SAFETENSORS}"))


def _file_errors(store: Store, file: StoredFile, path: Path, tensors: TensorCheck, *, keep_weights: bool) -> list[str]:
    """The errors of one file, fetched to `path`; small ones stay there, weights only if they are asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        got = store.download(file.name, path)
    except MissingObjectError:
        return [f"{file.name} is not in the store"]
    errors = []
    if got.size != file.size:
        errors.append(f"{file.name} has {got.size} bytes in the store, {file.size} were sent")
    elif got.sha256 != file.sha256:
        errors.append(f"{file.name} has other bytes in the store than were sent")
    if path.suffix == SAFETENSORS:
        errors += tensors.file_errors(path, file.name)
        if not keep_weights:
            path.unlink()
    return errors


def _format_errors(scratch: Path, names: Collection[str], expected: Expectation, model_class: Any) -> Iterator[str]:
    """Whether what lies beside the weights is there and lets others load them; `names` are relative to the folder."""
    config, tokenizer = "config.json" in names, any(name in names for name in TOKENIZERS)
    if not config:
        yield "config.json was not written"
    if not tokenizer:
        yield "no tokenizer was written"
    for name in sorted(expected.beside.difference(names)):
        yield f"{name} was not written"
    if config and tokenizer and (scratch / "config.json").exists():
        yield from opening_errors(scratch, expected.shapes, model_class)


def _failed(uri: str, errors: list[str]) -> RunError:
    shown = "; ".join(errors[:_ERRORS_SHOWN])
    more = f"; and {len(errors) - _ERRORS_SHOWN} errors more" if len(errors) > _ERRORS_SHOWN else ""
    return RunError(
        Reason.VERIFICATION_FAILED, f"The model in {uri} is not what was trained and is not published: {shown}{more}."
    )
