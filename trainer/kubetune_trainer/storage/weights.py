"""Whether a file of weights is what its name says and all there, judged by its header."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from kubetune_trainer.errors import invalid_model

_GGUF = b"GGUF"


def check_safetensors(path: Path, uri: str) -> frozenset[str]:
    """The names of the tensors; RunError if the file is cut short or not safetensors at all."""
    try:
        with safe_open(path, framework="pt") as file:
            return frozenset(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise invalid_model(
            f"{uri} is not a complete safetensors file ({error}); copy it again, or convert the weights again."
        ) from error


def check_gguf(path: Path, uri: str) -> None:
    """RunError unless the file begins as GGUF does."""
    with path.open("rb") as file:
        if file.read(len(_GGUF)) != _GGUF:
            raise invalid_model(f"{uri} is not a GGUF file: it does not begin with the letters GGUF; copy it again.")
