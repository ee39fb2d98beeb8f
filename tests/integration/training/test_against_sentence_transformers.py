"""Embeddings beside sentence-transformers: the same losses over the same batches, and it opens what is published."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoModel, AutoTokenizer

from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.split import split
from kubetune_trainer.tasks.embedding import Embedding
from support.runs_in_one_process import run_of
from support.tiny_models import job_for, saved, tiny_model
from support.tiny_runs import write_csv

ROWS, BATCH, EPOCHS = 50, 10, 4
RATE, EPSILON = 1e-2, 1e-4
"""Of gradients that are rounding, Adam would make whole steps."""
TOLERANCE = 1e-3
TEXTS = ["w5 w6 w7", "w9", "w20 w21 w22 w23 w24"]


def pairs() -> list[tuple[str, str]]:
    """Anchors, each with a text that shares some of its words."""
    random = np.random.default_rng(0)
    topics = [random.integers(4, 60, 3) for _ in range(ROWS)]
    return [
        (" ".join(f"w{word}" for word in [*topic, number % 60 + 4 - 1]), " ".join(f"w{word}" for word in topic[::-1]))
        for number, topic in enumerate(topics)
    ]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The base model, and the folder of the run."""
    tmp_path = tmp_path_factory.mktemp("embeddings")
    base = saved(tiny_model("bert", labels=0), tmp_path / "base")
    data = write_csv(tmp_path / "pairs.csv", ("anchor", "positive"), pairs())
    job = job_for(
        "Embedding", base, dataset={
            "uri": data, "columns": {"anchor": "anchor", "positive": "positive"}, "testFraction": 0,
            "validation": {"uri": data.replace("pairs", "held-out")}, "validationFraction": None,
        },
        training={
            "globalBatchSize": BATCH, "microBatchSize": BATCH, "learningRate": RATE, "epochs": EPOCHS,
            "schedule": {"type": "Constant"}, "optimizer": {"epsilon": EPSILON}, "maxGradientNorm": 0,
        },
        output={"uri": (tmp_path / "out").as_uri()},
    )  # fmt: skip
    held_out = [(f"{anchor} w5", f"{text} w6") for anchor, text in pairs()]
    write_csv(tmp_path / "held-out.csv", ("anchor", "positive"), held_out)
    return base, Path(run_of(job, tmp_path).artifact.uri.removeprefix("file://")).parent


def in_the_order_of_the_split(names: tuple[str, ...], given: list[tuple[str, ...]]) -> list[Row]:
    rows = [Row(names, values, "file:///pairs.csv", line) for line, values in enumerate(given, start=2)]
    return split(rows, validation=0, test=0, seed=0, key=Embedding().group, stratum=lambda _: None)["train"]


def theirs(base: Path, make: Any, rows: list[Row], settings: dict[str, Any]) -> list[float]:
    """The losses of sentence-transformers over the same batches."""
    model = SentenceTransformer(modules=[Transformer(str(base)), Pooling(16)], device="cpu")
    loss_of = make(model, **settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, eps=EPSILON, weight_decay=0)
    losses = []
    for epoch in range(EPOCHS):
        order = np.random.default_rng([0, epoch]).permutation(ROWS)
        for start in range(0, ROWS, BATCH):
            batch = [rows[row] for row in order[start : start + BATCH]]
            features = [model.preprocess([row[part] for row in batch]) for part in rows[0].names[:2]]
            scores = [float(row.values[2] or 0) for row in batch if len(row.values) > 2]
            loss = loss_of(features, torch.tensor(scores))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
    return losses


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["type"] == kind]


@pytest.mark.filterwarnings("ignore")  # their own, and DeepSpeed's
def test_every_loss_is_that_of_multiple_negatives_ranking(published: tuple[Path, Path]) -> None:
    base, folder = published
    rows = in_the_order_of_the_split(("anchor", "positive"), pairs())
    ours = [step["loss"] for step in events(folder, "step")]
    assert len(ours) == 20
    assert ours == pytest.approx(theirs(base, MultipleNegativesRankingLoss, rows, {"scale": 20.0}), abs=TOLERANCE)
    assert ours[-1] < 0.5 * ours[0]


@pytest.mark.filterwarnings("ignore")
def test_every_loss_of_pairs_with_a_score_is_that_of_cosine_similarity(
    published: tuple[Path, Path], tmp_path: Path
) -> None:
    base, names = published[0], ("sentence1", "sentence2", "score")
    given = [(*pair, str(number % 6 / 5)) for number, pair in enumerate(pairs())]
    data = write_csv(tmp_path / "pairs.csv", names, given)
    # No row is compared with another, so that a step may have several micro-batches.
    training = {
        "globalBatchSize": BATCH, "microBatchSize": 5, "learningRate": RATE, "epochs": EPOCHS, "maxGradientNorm": 0,
        "schedule": {"type": "Constant"}, "optimizer": {"epsilon": EPSILON},
    }  # fmt: skip
    columns = {"uri": data, "columns": {name: name for name in names}, "testFraction": 0}
    others = [(f"{first} w5", f"{second} w6", score) for first, second, score in given]
    held_out = {"validation": {"uri": write_csv(tmp_path / "held-out.csv", names, others)}}
    job = job_for(
        "Embedding", base, dataset={**columns, **held_out}, training=training, output={"uri": tmp_path.as_uri()}
    )
    folder = Path(run_of(job, tmp_path).artifact.uri.removeprefix("file://")).parent
    ours = [step["loss"] for step in events(folder, "step")]
    rows = in_the_order_of_the_split(names, given)
    assert len(ours) == 20
    assert ours == pytest.approx(theirs(base, CosineSimilarityLoss, rows, {}), abs=TOLERANCE)
    before, *_, after = [event["metrics"] for event in events(folder, "evaluation")]
    assert after["spearman"] > before["spearman"]
    assert "Predicted against true values of" in (folder / "report.html").read_text()
    assert "tell how alike they are" in (folder / "README.md").read_text()


def test_training_finds_more_of_the_held_out_texts_than_the_base(published: tuple[Path, Path]) -> None:
    before, *_, after = [event["metrics"]["recall_at_1"] for event in events(published[1], "evaluation")]
    assert after > before


@pytest.mark.filterwarnings("ignore")
def test_sentence_transformers_opens_the_published_folder_as_it_is(published: tuple[Path, Path]) -> None:
    folder = published[1] / "model"
    theirs = SentenceTransformer(str(folder), device="cpu")
    assert theirs.max_seq_length == 64
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states, mask = model.eval()(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
    ours = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    assert theirs.encode(TEXTS) == pytest.approx(ours.numpy(), abs=1e-5)


def test_the_report_draws_the_similarities_and_the_card_shows_both_libraries(published: tuple[Path, Path]) -> None:
    report, card = ((published[1] / name).read_text() for name in ("report.html", "README.md"))
    for told in ("Similarity", "texts of other rows", "<b>anchor</b>"):
        assert told in report
    for told in ("from transformers import AutoModel", "SentenceTransformer(folder)", "sentence-similarity"):
        assert told in card
