"""Models with a token for each language: what they read and write is marked, and they answer in the right one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
)

from kubetune_api.job import Generation
from kubetune_trainer.data.rows import Row
from kubetune_trainer.errors import RunError
from kubetune_trainer.model.languages import beginning, refuse_languages
from kubetune_trainer.model.load import load_model, load_tokenizer
from kubetune_trainer.tasks.seq2seq import SequenceTargets, SequenceToSequence, WrittenTexts
from kubetune_trainer.training.collate import collate
from kubetune_trainer.training.write import Asking, write
from support.one_rank import Engine, group_of_one
from support.tiny_models import CONFIGS, PAD, saved, spec_for, tiny_model, written_rows
from support.tiny_tokenizers import mbart_like

TASK = SequenceToSequence()
LANGUAGES = ("en_XX", "de_DE")
TRANSLATION = {"sourceLanguage": "en_XX", "targetLanguage": "de_DE"}
SPEC = spec_for("Seq2Seq", task={"type": "Seq2Seq", "seq2Seq": TRANSLATION})
ROWS = [
    Row(("source", "target"), pair, "s3://data/a.csv", line)
    for line, pair in enumerate([("the film was great", "good film"), ("dull", "not a great story </s> de_DE")], 2)
]
both = pytest.mark.parametrize("kind", [MBartTokenizer, MBart50Tokenizer])


def marking(kind: Any, folder: Path) -> Any:
    mbart_like(kind).save_pretrained(folder)
    return load_tokenizer(folder, LANGUAGES)


def base(kind: Any, folder: Path) -> Path:
    tokenizer = mbart_like(kind)
    config = MBartConfig.from_dict(CONFIGS["mbart"].to_dict() | {"decoder_start_token_id": None})
    config.vocab_size, config.pad_token_id, config.eos_token_id = len(tokenizer), 1, 2
    MBartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_rank_without_a_row_of_the_batch_computes_nothing() -> None:
    """As at the end of an epoch whose rows are fewer than the passes."""
    batch = collate(written_rows(5), np.array([], dtype=np.int64), pad_token=PAD, device=torch.device("cpu"))
    losses = TASK.losses(tiny_model("mbart", labels=None), batch, WrittenTexts(32))
    assert losses.rows.tolist() == [0.0]


@both
def test_sources_and_targets_are_encoded_as_the_models_own_tokenizer_does(kind: Any, tmp_path: Path) -> None:
    tokenizer = marking(kind, tmp_path)
    split = TASK.encode(ROWS, tokenizer, 32, WrittenTexts(32)).split
    theirs = AutoTokenizer.from_pretrained(tmp_path, src_lang="en_XX", tgt_lang="de_DE")
    wanted = theirs(ROWS[0]["source"], text_target=ROWS[0]["target"])
    assert isinstance(split.targets, SequenceTargets)
    assert split.tokens[split.offsets[0] : split.offsets[1]].tolist() == wanted["input_ids"]
    assert split.targets.of(0).tolist() == wanted["labels"]
    assert theirs.convert_tokens_to_ids("de_DE") in wanted["labels"]
    # A text that spells the tokens of a language or of the end has none of them.
    ids = split.targets.of(1).tolist()
    assert [ids.count(theirs.convert_tokens_to_ids(token)) for token in ("de_DE", "</s>")] == [1, 1]


@both
def test_a_target_that_is_cut_keeps_its_language_and_its_end(kind: Any, tmp_path: Path) -> None:
    tokenizer = marking(kind, tmp_path)
    split = TASK.encode(ROWS, tokenizer, 32, WrittenTexts(4)).split
    assert isinstance(split.targets, SequenceTargets)
    tokens = tokenizer.convert_ids_to_tokens(split.targets.of(1).tolist())
    assert (len(tokens), {"de_DE", "</s>"} <= set(tokens)) == (4, True)


@both
def test_what_is_asked_ends_where_an_answer_does(kind: Any, tmp_path: Path) -> None:
    tokenizer = marking(kind, tmp_path)
    split = TASK.encode(ROWS, tokenizer, 32, WrittenTexts(32)).split
    asked = TASK.generation.asked(split, 0)
    assert asked.tokens[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(asked.tokens, skip_special_tokens=True) == "good film"


@pytest.mark.parametrize(("kind", "first"), [(MBartTokenizer, ["de_DE"]), (MBart50Tokenizer, ["</s>", "de_DE"])])
def test_the_published_model_answers_in_the_language_of_the_targets(
    kind: Any, first: list[str], tmp_path: Path
) -> None:
    folder, published = base(kind, tmp_path / "base"), tmp_path / "model"
    tokenizer = load_tokenizer(folder, LANGUAGES)
    loaded = load_model(folder, SPEC, TASK, WrittenTexts(32), tokenizer)
    loaded.save(published, loaded.model.state_dict())
    tokenizer.save_pretrained(published)

    model, theirs = AutoModelForSeq2SeqLM.from_pretrained(published), AutoTokenizer.from_pretrained(published)
    assert (theirs.src_lang, theirs.tgt_lang) == LANGUAGES
    question = theirs("the film", text_target="good", return_tensors="pt")
    said = model.generate(question["input_ids"], max_new_tokens=4, do_sample=False)[0].tolist()
    shifted = model.prepare_decoder_input_ids_from_labels(question["labels"])[0].tolist()
    # As in training.
    assert theirs.convert_ids_to_tokens(said)[: len(first)] == first
    assert theirs.convert_ids_to_tokens(shifted)[: len(first)] == first


class Heard(MBartForConditionalGeneration):
    """Keeps what it last generated."""

    heard: torch.Tensor

    def generate(self, *given: Any, **more: Any) -> torch.Tensor:
        self.heard = super().generate(*given, **more)
        return self.heard


@pytest.fixture
def _group() -> Iterator[None]:
    with group_of_one():
        yield


@pytest.mark.usefixtures("_group")
def test_the_answers_of_an_evaluation_begin_in_the_language_of_the_targets(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(base(MBart50Tokenizer, tmp_path), LANGUAGES)
    model = Heard.from_pretrained(tmp_path)
    model.generation_config.eos_token_id = None
    split = TASK.encode(ROWS, tokenizer, 32, WrittenTexts(32)).split
    write(Asking(Engine(model), TASK, split, Generation(max_rows=2, max_new_tokens=4), tokenizer, 2, min), [0, 1])
    assert {tuple(tokenizer.convert_ids_to_tokens(line[:2].tolist())) for line in model.heard} == {("</s>", "de_DE")}


def test_what_the_pretrained_model_was_to_begin_with_is_gone(tmp_path: Path) -> None:
    folder = base(MBartTokenizer, tmp_path)
    GenerationConfig(decoder_start_token_id=7, forced_bos_token_id=8, eos_token_id=2).save_pretrained(folder)
    model = load_model(folder, SPEC, TASK, WrittenTexts(32), load_tokenizer(folder, LANGUAGES)).model
    german = load_tokenizer(folder).convert_tokens_to_ids("de_DE")
    settings = model.generation_config
    assert (settings.decoder_start_token_id, settings.forced_bos_token_id) == (german, None)
    assert model.config.decoder_start_token_id == german


def test_other_tokenizers_begin_with_nothing(tmp_path: Path) -> None:
    assert beginning(load_tokenizer(saved(tiny_model("bart", labels=None), tmp_path))) == {}


@pytest.mark.parametrize(
    ("family", "languages", "words"),
    [
        pytest.param(
            "bart",
            {"seq2Seq": TRANSLATION},
            "sourceLanguage: a model of type 'bart' has no codes of languages; remove sourceLanguage and"
            " targetLanguage",
            id="a model of one language",
        ),
        pytest.param(
            "mbart",
            {},
            "sourceLanguage: a model of type 'mbart' needs the languages of sources and targets; set sourceLanguage and"
            " targetLanguage to its codes, such as en_XX and de_DE",
            id="no language for a model of many",
        ),
    ],
)
def test_languages_that_do_not_suit_the_model_are_refused(family: str, languages: dict[str, Any], words: str) -> None:
    spec = spec_for("Seq2Seq", task={"type": "Seq2Seq", **languages})
    with pytest.raises(RunError, match=f"spec.task.seq2Seq.{words}"):
        refuse_languages(family, spec)


def test_a_language_that_the_model_does_not_know_is_refused_with_those_that_it_does(tmp_path: Path) -> None:
    mbart_like(MBartTokenizer).save_pretrained(tmp_path)
    with pytest.raises(
        RunError, match=r"seq2Seq.targetLanguage: the model has no language de; it has ar_AR, cs_CZ, de_DE"
    ):
        load_tokenizer(tmp_path, ("en_XX", "de"))


def test_a_tokenizer_without_languages_is_refused(tmp_path: Path) -> None:
    saved(tiny_model("mbart", labels=None), tmp_path)
    with pytest.raises(RunError, match="the tokenizer has no codes of languages; tokenizer_class in tokenizer_config"):
        load_tokenizer(tmp_path, LANGUAGES)
