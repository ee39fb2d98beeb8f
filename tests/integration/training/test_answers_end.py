"""T2: a whole run of a base model whose generation configuration does not know the end of its own chat template."""

import json
from pathlib import Path

import pytest

from support.by_heart import base_model
from support.chat_templates import CHATML
from support.runs_in_one_process import run_of
from support.tiny_models import job_for
from support.tiny_runs import write_csv
from support.tiny_tokenizers import gpt_like

ROWS = [(f"what is {number} and {number}", f" the story of {2 * number}") for number in range(24)]


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_the_published_model_knows_its_end_and_is_asked_whether_it_learned_it(tmp_path: Path) -> None:
    tokenizer = gpt_like()
    tokenizer.chat_template = CHATML
    base = base_model(tmp_path / "base", "qwen2", tokenizer, {"eos_token_id": tokenizer.eos_token_id})
    job = job_for(
        "CausalLM", base,
        dataset={"uri": write_csv(tmp_path / "rows.csv", ("prompt", "completion"), ROWS),
                 "columns": {"prompt": "prompt", "completion": "completion"}},
        training={"globalBatchSize": 8, "maxSteps": 2}, output={"uri": (tmp_path / "out").as_uri()},
    )  # fmt: skip
    published = run_of(job, tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://")).parent
    generation = json.loads((folder / "model" / "generation_config.json").read_bytes())
    assert generation["eos_token_id"] == tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert any(note.startswith("the published model ended none of the 3 answers") for note in notes), notes
    assert "The published model ended none of the 3 answers" in (folder / "report.html").read_text()
