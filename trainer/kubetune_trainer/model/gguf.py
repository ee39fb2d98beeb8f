"""GGUF checkpoints, converted once per node to a folder in Hugging Face format."""

import shutil
from pathlib import Path

import torch
import transformers
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PretrainedConfig

from kubetune_trainer.errors import invalid_model


def converted(gguf_file: Path, cache: Path, digest: str) -> Path:
    """The folder with the dequantised weights of `gguf_file`, whose sha256 is `digest`. Made once, then found.

    Several workers of a node may ask at the same time; a half-made folder is never seen under the final name.
    """
    # Another version of transformers may convert otherwise.
    folder = cache / f"gguf-{digest[:32]}-{transformers.__version__}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            # A process that was killed meanwhile may have left one.
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                _convert(gguf_file, unfinished)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _convert(gguf_file: Path, folder: Path) -> None:
    source = {"gguf_file": gguf_file.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, **source)
        model = AutoModelForCausalLM.from_pretrained(
            gguf_file.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **source
        )
    except Exception as fault:  # whatever the parser of a damaged file may stumble over
        said = " ".join(str(fault).split())
        raise invalid_model(f"spec.model.uri: {gguf_file.name} does not load as a GGUF checkpoint: {said}") from fault
    tokenizer.save_pretrained(folder)
    # The weights are plain now, but transformers goes on taking the model for a quantised one, which it will not save.
    plain = AutoModelForCausalLM.from_config(_plain(model.config), dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)


def _plain(config: PretrainedConfig) -> PretrainedConfig:
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config
