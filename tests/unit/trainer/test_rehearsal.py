"""T1: what saving needs is tried before the first step, and repaired with a note or refused."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from transformers import GenerationConfig, PreTrainedTokenizerFast

from kubetune_api.families import FAMILIES
from kubetune_api.reasons import Reason
from kubetune_trainer.artifact.rehearsal import rehearse
from kubetune_trainer.errors import RunError
from kubetune_trainer.model.generation import generation_settings
from kubetune_trainer.model.load import load_model, load_tokenizer
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.classification import Labels
from kubetune_trainer.tasks.seq2seq import WrittenTexts
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, spec_for, task_for, tiny_model
from support.tiny_runs import counting_rows, write_csv

DECODERS = sorted(name for name, family in FAMILIES.items() if family.decoder)


def rehearsed(folder: Path, task: str = "CausalLM") -> tuple[str, ...]:
    spec = spec_for(task, folder)
    space = WrittenTexts(32) if task == "Seq2Seq" else Labels(("a", "b"))
    return rehearse(folder, spec, task_of(spec), space, load_tokenizer(folder))


def note(*left_out: str) -> str:
    return (
        f"the model's settings for generation contradict themselves: {', '.join(left_out)} have no effect or cannot be"
        " beside the others, and are left out of the published generation_config.json; to sample, set do_sample there"
    )


def with_generation(folder: Path, content: dict[str, Any]) -> Path:
    saved(tiny_model("llama", labels=None), folder)
    (folder / "generation_config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_every_family_can_be_published(family: str, tmp_path: Path) -> None:
    decoder = FAMILIES[family].decoder
    saved(tiny_model(family, labels=None if decoder else 2), tmp_path)
    assert rehearsed(tmp_path, task_for(family)) == ()


@pytest.mark.parametrize(
    ("content", "left_out"),
    [
        pytest.param({"temperature": 0.9, "top_p": 0.6}, ("temperature", "top_p"), id="T1: sampling without do_sample"),
        pytest.param({"do_sample": False, "top_k": 5}, ("top_k",), id="sampling that is turned off"),
        pytest.param({"early_stopping": True}, ("early_stopping",), id="beams without num_beams"),
        pytest.param({"num_return_sequences": 4}, ("num_return_sequences",), id="several answers without sampling"),
        pytest.param({"use_cache": False, "cache_implementation": "static"}, ("cache_implementation",), id="no cache"),
        pytest.param({"cache_implementation": "brand new"}, ("cache_implementation",), id="an unknown value"),
        pytest.param({"suppress_tokens": 5}, ("suppress_tokens",), id="a value of another type"),
        pytest.param({"forced_eos_token_id": 2, "suppress_tokens": [2]}, ("suppress_tokens",), id="forced, suppressed"),
        pytest.param({"do_sample": True, "temperature": 0.9, "top_p": 0.6}, (), id="sampling as it should be"),
    ],
)
def test_settings_for_generation_that_contradict_themselves_are_left_out_with_a_note(
    content: dict[str, Any], left_out: tuple[str, ...], tmp_path: Path
) -> None:
    assert rehearsed(with_generation(tmp_path, content)) == ((note(*left_out),) if left_out else ())


@pytest.mark.parametrize("family", DECODERS)
def test_settings_for_generation_in_config_json_are_repaired_too(family: str, tmp_path: Path) -> None:
    saved(tiny_model(family, labels=None), tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"temperature": 0.7, "max_length": 50}))
    (tmp_path / "generation_config.json").unlink()
    assert rehearsed(tmp_path) == (note("temperature"),)


ANYTHING = some.one_of(
    some.none(), some.booleans(), some.integers(-5, 5), some.floats(0.0, 2.0), some.lists(some.integers(0, 3)),
    some.sampled_from(["never", "static", "offloaded"]),
)  # fmt: skip
SETTINGS = [
    "assistant_ensemble_weight", "cache_implementation", "do_sample", "early_stopping", "epsilon_cutoff",
    "eta_cutoff", "forced_bos_token_id", "forced_eos_token_id", "length_penalty", "max_length", "max_new_tokens",
    "min_p", "num_beams", "num_return_sequences", "output_scores", "pad_token_id", "return_dict_in_generate",
    "streamer", "suppress_tokens", "temperature", "top_h", "top_k", "top_p", "typical_p", "use_cache",
]  # fmt: skip


@settings(deadline=None)
@given(content=some.dictionaries(some.sampled_from(SETTINGS), ANYTHING))
def test_any_settings_for_generation_can_be_written_in_the_end(content: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "generation_config.json").write_text(json.dumps(content))
        kept, left_out = generation_settings(Path(folder))
        kept.pad_token_id = 0
        kept.save_pretrained(folder)
        again = GenerationConfig.from_pretrained(folder)
    for name in content.keys() - {*left_out, "pad_token_id"}:
        assert getattr(again, name) == content[name], name


def refuse(*_: object, **__: object) -> None:
    raise ValueError("something is odd")


def write_half(_: object, folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


@pytest.mark.parametrize(
    ("save", "says"),
    [
        pytest.param(refuse, "the tokenizer cannot be saved (something is odd);", id="not saved"),
        pytest.param(write_half, "what is saved does not open again: the tokenizer does not load", id="not opened"),
    ],
)
def test_a_tokenizer_that_would_end_the_run_later_is_refused(
    save: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tiny_model("llama", labels=None), tmp_path)
    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", save)
    with pytest.raises(RunError) as caught:
        rehearsed(folder)
    assert caught.value.reason == Reason.INVALID_MODEL
    assert str(caught.value).startswith("spec.model.uri: the trained model could not be published: ")
    assert says in str(caught.value)


def test_a_configuration_that_cannot_be_saved_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tiny_model("llama", labels=None), tmp_path)
    monkeypatch.setattr("transformers.LlamaConfig.save_pretrained", refuse)
    with pytest.raises(RunError) as caught:
        rehearsed(folder)
    assert str(caught.value) == (
        "spec.model.uri: the trained model could not be published: config.json or generation_config.json cannot be"
        " saved (something is odd); correct the model's configuration"
    )


def test_nothing_is_claimed_for_a_model_that_cannot_be_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tiny_model("llama", labels=None), tmp_path / "model")
    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", refuse)
    data = write_csv(tmp_path / "rows.csv", ("prompt", "completion"), counting_rows(40))
    job = job_for(
        "CausalLM", model,
        dataset={"uri": data, "columns": {"prompt": "prompt", "completion": "completion"}},
        output={"uri": (tmp_path / "out").as_uri()},
    )  # fmt: skip
    with pytest.raises(RunError, match="the tokenizer cannot be saved"):
        run_of(job, tmp_path)
    assert list(tmp_path.glob("out/**/executions")) == []


def test_what_the_workers_save_has_the_repaired_settings(tmp_path: Path) -> None:
    folder = with_generation(tmp_path / "base", {"temperature": 0.9, "max_new_tokens": 7})
    spec = spec_for("CausalLM", folder)
    loaded = load_model(folder, spec, task_of(spec), Labels(()), load_tokenizer(folder))
    loaded.save(tmp_path / "saved", loaded.model.state_dict())
    content = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert content.get("temperature") is None
    assert content["max_new_tokens"] == 7
