"""How a model is asked for answers: padded where it goes on, greedily, for no longer than it may."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
import torch.distributed as dist
from transformers import GenerationConfig

from kubetune_api.job import Generation
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.tasks.causal import CausalLanguageModel, Completions, TokenTargets
from kubetune_trainer.tasks.seq2seq import SequenceTargets, Writing
from kubetune_trainer.training.write import _greedy, _padded, write
from support.tiny_models import PAD, completion_rows, tiny_model, written_rows


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_row_has_the_same_answer_beside_a_longer_one(family: str) -> None:
    model = tiny_model(family, labels=None).eval()
    short, long = [5, 6, 7], [8, 9, 10, 11, 12, 13]
    answers = []
    for prompts in ([short], [short, long]):
        inputs = _padded(prompts, model.config, PAD, torch.device("cpu"))
        out = model.generate(**inputs, generation_config=_greedy(model.generation_config), max_new_tokens=6)
        before = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        answers.append(out[0, before:].tolist())
    first = len(answers[0])
    assert answers[1][:first] == answers[0]


def test_what_the_model_samples_by_has_no_effect() -> None:
    given = GenerationConfig(do_sample=True, num_beams=4, eos_token_id=[2, 5], pad_token_id=0, max_new_tokens=999)
    greedy = _greedy(given)
    assert (greedy.do_sample, greedy.num_beams, greedy.max_new_tokens) == (False, 1, None)
    assert greedy.eos_token_id == [2, 5]


class Engine:
    """A model that nobody trains."""

    device = torch.device("cpu")

    def __init__(self, family: str) -> None:
        self.module = tiny_model(family, labels=None).eval()

    def eval(self) -> None: ...

    def train(self) -> None: ...


class Numbers:
    """Tokens are told as numbers."""

    pad_token_id = PAD

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
        return " ".join(map(str, tokens))


@pytest.fixture
def _group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield
    dist.destroy_process_group()


def written(engine: Engine, split: EncodedSplit, most: int) -> list[str]:
    wanted = Generation(max_rows=split.rows, max_new_tokens=most)
    return [one.written for one in write(engine, CausalLanguageModel(), split, wanted, Numbers(), 1).shown]


@pytest.mark.usefixtures("_group")
def test_no_more_is_written_than_the_model_has_positions_for() -> None:
    engine = Engine("gpt2")
    engine.module.generation_config.eos_token_id = None
    positions = engine.module.config.max_position_embeddings
    marks = np.arange(positions + 10) >= positions - 2
    marks[positions : positions + 4] = False
    tokens = np.arange(4, positions + 14, dtype=np.int32) % 40
    split = EncodedSplit(tokens, None, np.array([0, positions, positions + 10]), TokenTargets(marks))
    assert [len(answer.split()) for answer in written(engine, split, 8)] == [2, 8]


@pytest.mark.usefixtures("_group")
def test_what_the_model_forbids_or_forces_has_no_effect() -> None:
    engine, split = Engine("llama"), completion_rows(3)
    plain = written(engine, split, 6)
    given = GenerationConfig(
        eos_token_id=engine.module.generation_config.eos_token_id,
        pad_token_id=PAD,
        min_length=60,
        repetition_penalty=9.0,
        no_repeat_ngram_size=1,
        suppress_tokens=[int(plain[0].split()[0])],
        forced_eos_token_id=3,
    )
    engine.module.generation_config = given
    assert written(engine, split, 6) == plain
    assert engine.module.generation_config is given


def test_a_decoder_is_asked_for_the_last_answer_with_all_that_stands_before() -> None:
    split = completion_rows(5)
    asked = Completions().asked(split, 3)
    whole = split.tokens[split.offsets[3] : split.offsets[4]].tolist()
    assert [*asked.prompt, *asked.tokens] == whole
    assert len(asked.tokens) == split.targets.per_row(split)[3]


def test_an_encoder_reads_the_source_alone() -> None:
    split = written_rows(5)
    assert isinstance(split.targets, SequenceTargets)
    asked = Writing().asked(split, 3)
    assert list(asked.prompt) == split.tokens[split.offsets[3] : split.offsets[4]].tolist()
    assert list(asked.tokens) == split.targets.of(3).tolist()
