"""A whole run from words in a file to a tagger that others open."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model

COLUMNS = {"tokens": "words", "tags": "tags"}


def names_among_words(rows: int) -> str:
    """Sentences in which w20 to w29 begin the name of a person, which w30 to w39 go on, and w40 to w49 are places."""
    random, lines = np.random.default_rng(0), []
    for _ in range(rows):
        words, tags = [], []
        for _ in range(4):
            kind = random.integers(0, 3)
            found = (
                [(4, "O"), (20, "B-PER"), (30, "I-PER")] if kind == 1 else [(40, "B-LOC")] if kind == 2 else [(4, "O")]
            )
            words += [f"w{first + random.integers(0, 10)}" for first, _ in found]
            tags += [tag for _, tag in found]
        lines.append(json.dumps({"words": words, "tags": tags}))
    return "\n".join(lines)


@pytest.mark.filterwarnings("ignore")  # DeepSpeed's own
def test_words_with_tags_become_a_tagger_that_others_open(tmp_path: Path) -> None:
    base, data = saved(tiny_model("distilbert", labels=2), tmp_path / "base"), tmp_path / "rows.jsonl"
    data.write_text(names_among_words(160))
    job = job_for(
        "TokenClassification", base, dataset={"uri": data.as_uri(), "columns": COLUMNS},
        training={"globalBatchSize": 16, "learningRate": 2e-2, "epochs": 6},
        evaluation={"require": [{"metric": "test/entity_f1", "min": 0.95}]},
        output={"uri": (tmp_path / "out").as_uri()},
    )  # fmt: skip
    published = run_of(job, tmp_path)
    folder = Path(published.artifact.uri.removeprefix("file://")).parent
    assert [requirement.met for requirement in published.requirements] == [True]
    page, card = (folder / "report.html").read_text(), (folder / "README.md").read_text()
    assert "test entity F1" in page
    assert "an entity is right if its type" in page
    assert "### By type, on the test split" in card
    evaluation = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-2])
    assert [one["type"] for one in evaluation["perType"]] == ["LOC", "PER"]
    model = AutoModelForTokenClassification.from_pretrained(folder / "model")
    tagger = pipeline(
        "token-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder / "model"),
        aggregation_strategy="first", device=-1,
    )  # fmt: skip
    assert [(one["entity_group"], one["word"]) for one in tagger("w5 w21 w33 w44")] == [
        ("PER", "w21 w33"),
        ("LOC", "w44"),
    ]
