"""Whether a file of weights is what its name says and all there, judged by its header."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from kubetune_trainer.errors import RunError, invalid_model

_GGUF = b"GGUF"
_PLAIN = ("F64", "F32", "F16", "BF16")
"""The types of numbers that weights can be trained from, as safetensors calls them."""


def check_safetensors(path: Path, uri: str, quantisation: str | None = None) -> frozenset[str]:
    """The names of the tensors; RunError if the file is cut short, not safetensors at all, or holds packed numbers.

    `quantisation` is how they are packed by the model's own account; packed tensors have names of all kinds then.
    """
    try:
        with safe_open(path, framework="pt") as file:
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise invalid_model(
            f"{uri} is not a complete safetensors file ({error}); copy it again, or convert the weights again."
        ) from error
    # The masks and positions of older files are whole numbers, too.
    packed = sorted(name for name, kind in types.items() if kind not in _PLAIN)
    weights = packed if quantisation else [name for name in packed if name.endswith("weight")]
    if weights:
        raise _quantised(uri, quantisation or f"{weights[0]} is {types[weights[0]]}")
    return frozenset(types)


def _quantised(uri: str, how: str) -> RunError:
    """The error of weights that are packed for answering and cannot be trained."""
    return invalid_model(
        f"{uri} is of a quantised model ({how}), whose weights cannot be trained; name the model that it was made from,"
        " with weights in 16 or 32 bits."
    )


def check_gguf(path: Path, uri: str) -> None:
    """RunError unless the file begins as GGUF does."""
    with path.open("rb") as file:
        if file.read(len(_GGUF)) != _GGUF:
            raise invalid_model(f"{uri} is not a GGUF file: it does not begin with the letters GGUF; copy it again.")
