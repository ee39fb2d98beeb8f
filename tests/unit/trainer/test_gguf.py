"""GGUF files become folders that transformers loads."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch.distributed as dist
import transformers
from gguf import GGUFWriter
from safetensors.numpy import load_file
from torch.testing._internal.distributed.fake_pg import FakeStore

from kubetune_api.job import FineTuneJobSpec
from kubetune_api.reasons import Reason
from kubetune_trainer.errors import RunError
from kubetune_trainer.model import gguf
from kubetune_trainer.model.gguf import converted
from kubetune_trainer.model.load import load_config, load_tokenizer
from kubetune_trainer.tasks import language_model_class
from support.small_disk import disk_of
from support.tiny_models import spec_for

DIGEST = "0" * 64
CLASS = language_model_class().__name__
SPECIAL = ["<unk>", "<s>", "</s>"]
VOCABULARY = [*SPECIAL, *map(chr, range(ord("a"), ord("z") + 1)), "Ġ", "ab"]
WIDTH = 32
SPEC: FineTuneJobSpec = spec_for("CausalLM")


def tensors_of_one_layer() -> dict[str, np.ndarray]:
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes: dict[str, tuple[int, ...]] = {f"blk.0.{name}.weight": (WIDTH, WIDTH) for name in square}
    shapes |= {f"{name}.weight": (WIDTH,) for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}
    shapes |= {f"{name}.weight": (len(VOCABULARY), WIDTH) for name in ("token_embd", "output")}
    numbers = np.random.default_rng(0)
    return {name: numbers.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


TENSORS = tensors_of_one_layer()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A llama of one layer."""
    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_context_length, 64),
        (writer.add_embedding_length, WIDTH),
        (writer.add_block_count, 1),
        (writer.add_feed_forward_length, WIDTH),
        (writer.add_head_count, 2),
        (writer.add_head_count_kv, 2),
        (writer.add_layer_norm_rms_eps, 1e-5),
        (writer.add_rope_dimension_count, WIDTH // 2),
        (writer.add_vocab_size, len(VOCABULARY)),
        (writer.add_tokenizer_model, "gpt2"),
        (writer.add_token_list, VOCABULARY),
        (writer.add_token_types, [3 if token in SPECIAL else 1 for token in VOCABULARY]),
        (writer.add_token_merges, ["a b"]),
        (writer.add_bos_token_id, SPECIAL.index("<s>")),
        (writer.add_eos_token_id, SPECIAL.index("</s>")),
    ):
        add(value)
    for name, values in TENSORS.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def assert_whole(folder: Path) -> None:
    assert load_config(folder, SPEC).model_type == "llama"
    assert load_tokenizer(folder)("abc").input_ids[-2:] == [VOCABULARY.index("ab"), VOCABULARY.index("c")]
    tensors = load_file(folder / "model.safetensors")
    for name, values in {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight"}.items():
        assert np.array_equal(tensors[name], TENSORS[values]), name
    assert len(tensors) == len(TENSORS)


@pytest.fixture
def second_rank() -> Iterator[None]:
    """This process is the second of two workers."""
    dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("second_rank")
def test_any_worker_converts_on_its_own_node(file: Path, tmp_path: Path) -> None:
    assert_whole(converted(file, tmp_path / "cache", DIGEST, CLASS))


def test_it_is_converted_once(file: Path, tmp_path: Path) -> None:
    first = converted(file, tmp_path / "cache", DIGEST, CLASS)
    file.unlink()
    assert converted(file, tmp_path / "cache", DIGEST, CLASS) == first
    assert gguf.main(file, first, CLASS) == 0


def test_a_damaged_file_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file, cache = tmp_path / "model.gguf", tmp_path / "cache"
    file.write_bytes(b"GGUF" + bytes(range(200)))
    leftover = cache / f"gguf-{'0' * 32}-{transformers.__version__}.unfinished"
    leftover.mkdir(parents=True)
    with pytest.raises(RunError, match=r"spec\.model\.uri: model\.gguf does not load as a GGUF checkpoint: "):
        converted(file, cache, DIGEST, CLASS)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("does", "reason", "says"),
    [
        ("kill -KILL $$", Reason.OUT_OF_MEMORY, "not enough memory to convert tiny.gguf"),
        ("exit 5", Reason.OUT_OF_MEMORY, "not enough memory to convert tiny.gguf"),
        ("exit 3", Reason.INVALID_MODEL, "tiny.gguf does not load"),
    ],
)
def test_the_end_of_a_conversion_is_told(
    does: str, reason: str, says: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(does, tmp_path, monkeypatch)
    with pytest.raises(RunError) as caught:
        converted(file, tmp_path / "cache", DIGEST, CLASS)
    assert caught.value.reason == reason
    assert says in str(caught.value)


def test_a_full_disk_is_an_error_of_the_operating_system_and_leaves_nothing_behind(file: Path) -> None:
    with TemporaryDirectory(prefix="kt") as short, disk_of(16 * 2**10, Path(short) / "d") as disk:
        with pytest.raises(OSError, match="No space left on device"):
            converted(file, disk, DIGEST, CLASS)
        assert [path.name for path in disk.iterdir() if path.is_dir()] == []


def test_a_lack_of_memory_is_not_the_files_error(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_left(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", nothing_left)
    assert gguf.main(file, tmp_path / "folder", CLASS) == 5


def ends(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every conversion ends so."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{how}\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
