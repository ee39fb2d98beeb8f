"""The header of a safetensors file, read from its first bytes: what safetensors wrote, and every damage."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from kubetune_trainer.storage.safetensors_header import FIRST, StoredTensor, header_end, tensors_in

DATA = save({"a": np.ones((2, 3), np.float32), "b": np.zeros((), np.int64)}, metadata={"format": "pt"})


def file(header: object, data: int) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(FIRST, "little") + text + bytes(data)


def tensor(kind: str = "F32", shape: object = (2,), places: object = (0, 8)) -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": places}


def test_it_says_what_was_saved() -> None:
    beginning = DATA[: header_end(DATA)]
    assert tensors_in(beginning, len(DATA)) == {"a": StoredTensor("F32", (2, 3)), "b": StoredTensor("I64", ())}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"\x80\x04", "it does not begin as a safetensors file does", id="a few bytes"),
        pytest.param(b"\x80\x02}q\x00(X\x06\xff", "it does not begin as a safetensors file does", id="a pickle"),
        pytest.param(DATA[:40], "it ends within its header", id="cut in the header"),
        pytest.param(DATA[:-1], "its tensors have 32 bytes, and 31 follow its header", id="cut in the numbers"),
        pytest.param(DATA + b"x", "its tensors have 32 bytes, and 33 follow its header", id="something behind"),
        pytest.param(file([], 0), "its header is damaged", id="no object"),
        pytest.param(file({"a": {"dtype": "F32"}}, 0), "its header is damaged", id="a tensor without a shape"),
        pytest.param(file({"a": {}}, 0), "its header is damaged", id="a tensor without anything"),
        pytest.param(file({"a": tensor(shape=[-2])}, 8), "its header is damaged", id="a negative shape"),
        pytest.param(file({"a": tensor("F99")}, 8), "the tensor a has numbers of the unknown type F99", id="a type"),
        pytest.param(
            file({"a": tensor(shape=[3])}, 8), "the tensor a has other bytes than its shape needs", id="shape"
        ),
        pytest.param(
            file({"a": tensor(), "b": tensor(places=(4, 12))}, 12),
            "the tensor b does not follow the one before it",
            id="one over the other",
        ),
    ],
)
def test_a_file_that_is_not_whole_says_why(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        tensors_in(data, len(data))
