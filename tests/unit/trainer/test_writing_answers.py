"""How a model is asked for answers: padded where it goes on, greedily, for no longer than it may."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from kubetune_api.job import Generation
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.figures import SliceRecord
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.shown_rows import WorstRow
from kubetune_trainer.tasks.causal import CausalLanguageModel, Completions, TokenTargets
from kubetune_trainer.tasks.seq2seq import SequenceTargets, Writing
from kubetune_trainer.training.answers import judge_answers
from kubetune_trainer.training.write import Asking, _greedy, _padded, write
from kubetune_trainer.watchdog.pulse import PULSE
from support.one_rank import Engine, Numbers, group_of_one
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


@pytest.fixture
def _group() -> Iterator[None]:
    with group_of_one():
        yield


def engine_of(family: str) -> Engine:
    return Engine(tiny_model(family, labels=None).eval())


def asking(
    engine: Engine, split: EncodedSplit, most: int, *, max_rows: int = 100, tell: Callable[[int, int], object] = min
) -> Asking:
    wanted = Generation(max_rows=max_rows, max_new_tokens=most)
    return Asking(engine, CausalLanguageModel(), split, wanted, Numbers(), 1, tell)


def written(engine: Engine, split: EncodedSplit, most: int) -> list[str]:
    found = write(asking(engine, split, most), range(split.rows))
    return [one.written for one in sorted(found, key=lambda one: one.row)]


@pytest.mark.usefixtures("_group")
def test_no_more_is_written_than_the_model_has_positions_for() -> None:
    engine = engine_of("gpt2")
    engine.module.generation_config.eos_token_id = None
    positions = engine.module.config.max_position_embeddings
    marks = np.arange(positions + 10) >= positions - 2
    marks[positions : positions + 4] = False
    tokens = np.arange(4, positions + 14, dtype=np.int32) % 40
    split = EncodedSplit(tokens, None, np.array([0, positions, positions + 10]), TokenTargets(marks))
    assert [len(answer.split()) for answer in written(engine, split, 8)] == [2, 8]


@pytest.mark.usefixtures("_group")
def test_what_the_model_forbids_or_forces_has_no_effect() -> None:
    engine, split = engine_of("llama"), completion_rows(3)
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


@pytest.mark.usefixtures("_group")
def test_answers_are_told_of_as_they_come() -> None:
    told: list[tuple[int, int]] = []
    write(asking(engine_of("llama"), completion_rows(3), 4, tell=lambda *rows: told.append(rows)), range(3))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.usefixtures("_group")
def test_each_token_is_a_sign_that_something_moves() -> None:
    engine = engine_of("llama")
    engine.module.generation_config.eos_token_id = None
    before = PULSE.last.changes
    tokens = sum(len(answer.split()) for answer in written(engine, completion_rows(3), 6))
    prompts, judging = 3, 1
    assert tokens > prompts
    assert PULSE.last.changes - before == prompts + tokens + judging


@pytest.fixture(scope="module")
def judged() -> EvaluationRecord:
    """Of 30 rows, of which 20 are written to; nothing is right but what the engine of these tests writes."""
    rows = 30
    masks = {"few": np.arange(rows) < 4, "late": np.arange(rows) >= 25}
    split = replace(completion_rows(rows), slices=masks)
    worst = tuple(WorstRow(row, 1.0, None) for row in (29, 3, 28))
    slices = tuple(SliceRecord(name, int(mask.sum()), {"loss": 1.0}) for name, mask in masks.items())
    before = EvaluationRecord("test", 7, 1.0, {"loss": 1.0}, intervals={}, worst=worst, slices=slices)
    with group_of_one():
        found, _ = judge_answers(asking(engine_of("llama"), split, 6, max_rows=20), before, final=True)
    return found


def test_metrics_of_answers_have_intervals_and_those_of_slices_too(judged: EvaluationRecord) -> None:
    assert {"loss", "exact_match", "token_f1", "rouge_l"} == judged.metrics.keys()
    assert judged.intervals.keys() == judged.metrics.keys() - {"loss"}
    low, high = judged.intervals["token_f1"]
    assert low <= judged.metrics["token_f1"] <= high
    few, late = judged.slices
    assert few.metrics.keys() == judged.metrics.keys()
    assert few.intervals.keys() == judged.intervals.keys()
    # The model writes to none of its rows.
    assert (late.metrics, late.intervals) == ({"loss": 1.0}, {})


@pytest.mark.usefixtures("_group")
def test_the_metrics_of_a_slice_are_those_of_its_rows_alone(judged: EvaluationRecord) -> None:
    split = completion_rows(30)
    plain = EvaluationRecord("test", 7, 1.0, {})
    alone, _ = judge_answers(asking(engine_of("llama"), split, 6, max_rows=4), plain, final=False)
    assert alone.metrics == pytest.approx({name: judged.slices[0].metrics[name] for name in alone.metrics})
    assert alone.intervals == {}


def test_the_worst_rows_are_answered_wherever_they_are(judged: EvaluationRecord) -> None:
    assert [(one.row, bool(one.answer)) for one in judged.worst] == [(29, True), (3, True), (28, True)]
    assert judged.worst[1].answer == judged.written[3].written


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
