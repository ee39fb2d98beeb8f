"""T12: the example of conversations, on a small cut: from its manifest to a published model and its report."""

import json
from pathlib import Path

import pytest
import yaml

from kubetune_api.job import FineTuneJob
from support.by_heart import base_model
from support.chat_templates import CHATML
from support.runs_in_one_process import run_of
from support.tiny_tokenizers import gpt_like

EXAMPLE = Path(__file__).parents[3] / "examples" / "conversations.yaml"
TURNS = [[str(number), "good", "what", "bad"] for number in range(40)]
"""Short ones: the tiny model reads 64 tokens."""


def written(folder: Path) -> str:
    """The cut, in the form of the asset."""
    file = folder / "conversations.jsonl"
    roles = ("user", "assistant") * 2
    rows = [[{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=True)] for turns in TURNS]
    file.write_text("".join(json.dumps({"topic": "films", "messages": row}) + "\n" for row in rows))
    return file.as_uri()


def the_example(folder: Path, base: Path) -> FineTuneJob:
    manifest = yaml.safe_load(EXAMPLE.read_text())
    manifest["spec"]["model"]["uri"] = base.as_uri()
    manifest["spec"]["dataset"]["uri"] = written(folder)
    manifest["spec"]["method"] = {}
    manifest["spec"]["training"] |= {"maxSteps": 2, "globalBatchSize": 8}
    manifest["spec"]["resources"] = {"workers": 1}
    manifest["spec"]["output"]["uri"] = (folder / "out").as_uri()
    return FineTuneJob.model_validate(manifest)


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_conversations_are_trained_on_and_the_report_shows_each_answer(tmp_path: Path) -> None:
    base = base_model(tmp_path / "base", "qwen2", gpt_like(CHATML), {"eos_token_id": 0})
    published = run_of(the_example(tmp_path, base), tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://")).parent
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    (data,) = [event for event in told if event["event"] == "data"]
    sample = data["samples"][0]
    assert [piece["counted"] for piece in sample["pieces"]] == [False, True, False, True]
    assert [piece["text"] for piece in sample["pieces"] if piece["counted"]] == ["good<|im_end|>", "bad<|im_end|>\n"]
    assert "good&lt;|im_end|&gt;" in (folder / "report.html").read_text()
    assert (folder / "model" / "chat_template.jinja").read_text() == CHATML
