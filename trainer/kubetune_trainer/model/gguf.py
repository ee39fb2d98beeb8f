"""GGUF checkpoints, converted once per node to a folder in Hugging Face format.

Each conversion is a process of its own, `python -m kubetune_trainer.model.gguf FILE FOLDER CLASS`. In a worker,
transformers would leave the writing to the first rank, which may be on another node; and a process that ends gives its
memory back, which is several times the model's.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import transformers
from filelock import FileLock
from transformers import PretrainedConfig

from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError, invalid_model, is_out_of_memory, storage_is_full

_REFUSED, _NO_SPACE, _NO_MEMORY = 3, 4, 5
"""Exit codes of a conversion; with the first, standard output says what is wrong with the file."""
_ENDED_FOR_WANT_OF_MEMORY = (_NO_MEMORY, -signal.SIGKILL, -signal.SIGABRT)


_CONVERTED = "gguf-"


def is_converted(folder: Path) -> bool:
    """Whether the model in `folder` was a GGUF file."""
    return folder.name.startswith(_CONVERTED)


def converted(gguf_file: Path, cache: Path, digest: str, auto_class: str) -> Path:
    """The folder with the dequantised weights of `gguf_file`, whose sha256 is `digest`. Made once, then found.

    `auto_class` is the name, in transformers, of the auto class that opens what such a file holds.

    Several workers of a node may ask at the same time; a half-made folder is never seen under the final name.
    """
    # Another version of transformers may convert otherwise.
    folder = cache / f"{_CONVERTED}{digest[:32]}-{transformers.__version__}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", __name__, str(gguf_file), str(folder), auto_class]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise _error(done, gguf_file, folder)
    return folder


def _error(done: subprocess.CompletedProcess[str], gguf_file: Path, folder: Path) -> Exception:
    if done.returncode == _REFUSED:
        said = " ".join(done.stdout.split())
        return invalid_model(f"spec.model.uri: {gguf_file.name} does not load as a GGUF checkpoint: {said}")
    if done.returncode == _NO_SPACE:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    if done.returncode in _ENDED_FOR_WANT_OF_MEMORY:
        return RunError(
            Reason.OUT_OF_MEMORY,
            f"there was not enough memory to convert {gguf_file.name}, which takes twice the size of the model in 32"
            " bits and half a gigabyte; provide more on every node, or convert the file to safetensors beforehand",
        )
    return RuntimeError(f"the conversion of {gguf_file.name} ended with exit code {done.returncode}; see the log")


def main(gguf_file: Path, folder: Path, auto_class: str) -> int:
    """Makes the folder, unless another process has just made it; returns the exit code."""
    try:
        # Held here and not by who waits: if that one is killed, nobody else writes to the same place.
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                _make(gguf_file, folder, auto_class)
    except _RefusedError as error:
        print(error)
        return _REFUSED
    except Exception as error:
        if storage_is_full(error):
            return _NO_SPACE
        if is_out_of_memory(error):
            return _NO_MEMORY
        raise
    return 0


def _make(gguf_file: Path, folder: Path, auto_class: str) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    # A process that was killed meanwhile may have left one.
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _convert(gguf_file, unfinished, getattr(transformers, auto_class))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _RefusedError(Exception):
    """The file is no GGUF checkpoint that transformers can follow."""


def _convert(gguf_file: Path, folder: Path, auto_class: Any) -> None:
    import torch
    from transformers import AutoTokenizer, GgufConfig

    source = {"gguf_file": gguf_file.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, **source)
        model = auto_class.from_pretrained(
            gguf_file.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **source
        )
    except Exception as error:  # whatever the parser of a damaged file may stumble over
        if storage_is_full(error) or is_out_of_memory(error):
            raise
        raise _RefusedError(str(error) or type(error).__name__) from error
    tokenizer.save_pretrained(folder)
    # The weights are plain now, but transformers goes on taking the model for a quantised one, which it will not save.
    with torch.device("meta"):
        plain = auto_class.from_config(_plain(model.config), dtype=torch.float32)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.save_pretrained(folder)


def _plain(config: PretrainedConfig) -> PretrainedConfig:
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
