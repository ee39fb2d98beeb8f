"""Whole runs of tiny models: what they publish, judged by other means than the trainer's own."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import exp
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BertConfig
from typer.testing import CliRunner

from kubetune_api.reasons import Reason
from kubetune_api.status import FineTuneJobStatus
from kubetune_cli.main import app
from servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from support.canaries import KEYS, files_that_show
from support.signing_keys import write_keys
from support.small_disk import disk_of
from support.tiny_models import saved, tiny_model
from support.tiny_runs import Rows, counting_rows, hard_rows, manifest, run, write_csv

MODEL = "executions/1/model"
TEXTS, QUESTIONS = ("text", "label"), ("prompt", "completion")


def metrics_of(status: FineTuneJobStatus) -> dict[str, float]:
    return {metric.name: metric.value for metric in status.metrics}


def published(root: Path) -> dict[str, Any]:
    """The manifest, after a look at every file that it names, and that it names every file but the journal's."""
    content: dict[str, Any] = json.loads((root / "manifest.json").read_bytes())
    for file in content["files"]:
        data = (root / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"]), file["path"]
    there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    journal = sorted((root / "executions/1/journal").iterdir())
    unnamed = {"manifest.json", "executions/1.json", *(path.relative_to(root).as_posix() for path in journal)}
    assert {file["path"] for file in content["files"]} == there - unnamed
    assert b"".join(path.read_bytes() for path in journal) == (root / "executions/1/metrics.jsonl").read_bytes()
    return content


def answers(folder: Path, rows: Rows) -> torch.Tensor:
    """The published classifier's logits, one row at a time and so without any padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return torch.cat([model(tokenizer(text, return_tensors="pt")["input_ids"]).logits for text, _ in rows])


HELD_OUT = hard_rows(61, seed=1)


@dataclass(frozen=True)
class Run:
    """A run that is over."""

    code: int
    status: FineTuneJobStatus
    root: Path


@dataclass(frozen=True)
class Classifier:
    """A job from S3 to S3, which runs twice: the first time it asks for more than a model can give."""

    folder: Path
    server: S3Server

    @property
    def runs(self) -> Path:
        """Where the runs are in the bucket."""
        return self.server.root / "models" / "tiny" / "team-a" / "tiny"

    @cached_property
    def base(self) -> Path:
        """The pretrained model."""
        return saved(tiny_model("bert", labels=3), self.folder / "base")

    @cached_property
    def job(self) -> Path:
        """The manifest."""
        for name in ("data", "models"):
            self.server.make_bucket(name)
        data = self.server.root / "data"
        write_csv(data / "train.csv", TEXTS, hard_rows(120))
        write_csv(data / "test.csv", TEXTS, HELD_OUT)
        return manifest(
            self.folder,
            self.base,
            "SequenceClassification",
            {"uri": "s3://data/tr*.csv", "test": {"uri": "s3://data/test.csv"}},
            method={"freeze": {"embeddings": True, "bottomLayers": 1}},
            training={"globalBatchSize": 16, "microBatchSize": 4, "learningRate": 5e-3, "epochs": 4},
            zero={"stage": 2},
            evaluation={"require": [{"metric": "test/accuracy", "min": 0.5}]},
            output={"uri": "s3://models/tiny"},
        )

    def run(self, *arguments: str) -> Run:
        """Runs it."""
        others = {name: KEYS[name] for name in ("HF_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN")}
        code, status, _ = run(self.folder, self.job, *arguments, **self.server.env, **others)
        return Run(code, status, self.runs / str(status.run))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Classifier]:
    folder = tmp_path_factory.mktemp("classifier")
    server = S3Server(folder)
    server.start()
    try:
        yield Classifier(folder, server)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def rejected(classifier: Classifier) -> Run:
    missed = "spec.evaluation.require=[{metric: test/loss, max: 0}]"
    return classifier.run("--set", missed, "--set", "spec.training.maxSteps=2")


@pytest.fixture(scope="module")
def accepted(classifier: Classifier, rejected: Run) -> Run:
    """By more workers than a small machine has cores, with micro-batches that do not divide the batch."""
    before = times(rejected.root)
    done = classifier.run("--workers", "3", "--signing-key", str(write_keys(classifier.folder)[0]))
    assert times(rejected.root) == before, "the run before is left alone"
    assert len(list(classifier.runs.iterdir())) == 2
    return done


def test_its_model_is_signed_for_the_library_and_says_where_it_came_from(accepted: Run, classifier: Classifier) -> None:
    from model_signing.verifying import Config  # what most tests here do not need takes a second

    public, folder = classifier.folder / "signing.pub", accepted.root / MODEL
    Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")
    content = json.loads((folder.parent / "provenance.intoto.json").read_text())
    assert content["predicate"]["buildDefinition"]["internalParameters"]["workers"] == 3
    assert accepted.status.artifact is not None
    asked = ["--public-key", str(public), "--digest", accepted.status.artifact.digest]
    done = CliRunner().invoke(app, ["verify", folder.as_uri(), *asked])
    assert (done.exit_code, done.stderr) == (0, "")


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_a_missed_requirement_keeps_the_work_aside(rejected: Run) -> None:
    status = rejected.status
    assert (rejected.code, status.phase) == (1, "Failed")
    assert failure(status)[0] == Reason.REQUIREMENT_MISSED
    assert status.artifact is not None
    assert status.artifact.rejected
    assert json.loads((rejected.root / "manifest.json").read_bytes())["rejected"]


def test_three_workers_train_from_s3_to_s3_and_another_run_is_left_alone(accepted: Run) -> None:
    status, root = accepted.status, accepted.root
    assert (accepted.code, status.phase) == (0, "Succeeded"), status.conditions
    assert status.artifact is not None
    assert status.artifact.digest == f"sha256:{hashlib.sha256((root / 'manifest.json').read_bytes()).hexdigest()}"
    content = published(root)
    assert (content["provenance"]["workers"], content["provenance"]["zeroStage"]) == (3, 2)
    assert {"report.html", "README.md", "metrics.jsonl"} <= {Path(file["path"]).name for file in content["files"]}


def test_no_key_is_in_anything_that_a_run_leaves(classifier: Classifier, accepted: Run) -> None:
    """Must show 6: model, card, report, journal, manifests, notes and logs."""
    noted = {path.name for path in (classifier.folder / "state").rglob("*") if path.is_file()}
    assert len(noted) >= 2, "the log of each run is there"
    assert (accepted.root / "executions/1/report.html").exists()
    own = [classifier.folder / "versitygw.log", classifier.folder / "metadata"]
    assert files_that_show(classifier.folder, (SECRET_KEY, ACCESS_KEY), but=own) == []


def test_the_metrics_are_those_of_the_published_classifier(accepted: Run) -> None:
    root = accepted.root
    logits = answers(root / MODEL, HELD_OUT)
    truth, guesses = [("no", "yes").index(label) for _, label in HELD_OUT], logits.argmax(-1).tolist()
    told = metrics_of(accepted.status)
    assert told["test/accuracy"] == pytest.approx(sum(map(int.__eq__, truth, guesses)) / 61, abs=1e-9)
    assert 0.5 < told["test/accuracy"] < 1.0
    assert told["test/loss"] == pytest.approx(float(cross_entropy(logits, torch.tensor(truth))), abs=1e-4)
    for name, function in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert told[f"test/{name}_macro"] == pytest.approx(function(truth, guesses, average="macro"), abs=1e-9)
    assert published(root)["metrics"] == pytest.approx(told)
    worst = float(cross_entropy(logits, torch.tensor(truth), reduction="none").max())
    shown = re.search(r'"Error 1".*?loss ([\d.]+), ', (root / "executions/1/report.html").read_text(), re.DOTALL)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(worst, rel=0.01)
    last, _ = [json.loads(line) for line in (root / "executions/1/metrics.jsonl").read_text().splitlines()][-2:]
    counted = confusion_matrix(truth, guesses)
    assert last["confusion"] == [
        {"true": true, "predicted": guess, "rows": counted[true][guess]} for true in (0, 1) for guess in (0, 1)
    ]


def test_what_is_frozen_stays_and_everything_else_is_trained(classifier: Classifier, accepted: Run) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (classifier.base, accepted.root / MODEL))
    for name, values in after.items():
        if name.startswith(("bert.embeddings.", "bert.encoder.layer.0.")):
            assert torch.equal(values, before[name]), name
        elif name.startswith("bert.encoder.") and not name.endswith("key.bias"):
            assert not torch.equal(values, before[name]), name


def test_a_tied_decoder_in_bfloat16_spread_in_slices_is_whole_again(tmp_path: Path) -> None:
    base = saved(tiny_model("gpt2", labels=None), tmp_path / "base")
    held_out = counting_rows(40, seed=1)
    job = manifest(
        tmp_path,
        base,
        "CausalLM",
        {
            "uri": write_csv(tmp_path / "train.csv", QUESTIONS, counting_rows(150)),
            "validationFraction": 0.0,
            "test": {"uri": write_csv(tmp_path / "test.csv", QUESTIONS, held_out)},
        },
        training={"globalBatchSize": 16, "learningRate": 1e-2, "epochs": 6, "precision": "BF16"},
        zero={"stage": 3},
    )
    code, status, root = run(tmp_path, job, "--workers", "2")
    assert (code, status.phase) == (0, "Succeeded"), status.conditions
    content = published(root)
    assert (content["provenance"]["precision"], content["provenance"]["zeroStage"]) == ("BF16", 3)
    folder = root / "executions" / "1" / "model"
    tensors = load_file(folder / "model.safetensors")
    assert {values.dtype for values in tensors.values()} == {torch.bfloat16}
    assert tensors.keys() == load_file(base / "model.safetensors").keys()
    perplexities = judged_perplexities(root)
    assert perplexities[-1] < 0.7 * perplexities[0]
    assert metrics_of(status)["test/perplexity"] == perplexities[-1]
    assert perplexities[-1] == pytest.approx(perplexity(folder, held_out), rel=0.02)


def judged_perplexities(root: Path) -> list[float]:
    """Of the test split, before the training and after it."""
    lines = [json.loads(line) for line in (root / "executions/1/metrics.jsonl").read_text().splitlines()]
    return [line["metrics"]["perplexity"] for line in lines if line.get("split") == "test"]


def perplexity(folder: Path, rows: Rows) -> float:
    """Of the published model on the completions, which end with the end of the text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    total, targets = 0.0, 0
    for prompt, completion in rows:
        asked, answered = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, completion))
        tokens = torch.tensor([*asked, *answered, tokenizer.eos_token_id])
        with torch.no_grad():
            logits = model(tokens[None]).logits[0]
        total += float(cross_entropy(logits[len(asked) - 1 : -1], tokens[len(asked) :], reduction="sum"))
        targets += len(answered) + 1
    return exp(total / targets)


def classification_job(tmp_path: Path, base: Path, **spec: Any) -> Path:
    dataset = {"uri": write_csv(tmp_path / "train.csv", TEXTS, hard_rows(60))}
    return manifest(tmp_path, base, "SequenceClassification", dataset, **spec)


def failure(status: FineTuneJobStatus) -> tuple[str, str]:
    (condition,) = status.conditions
    return condition.reason, condition.message


def test_a_loss_that_is_no_number_ends_the_run_at_once(tmp_path: Path) -> None:
    base = saved(tiny_model("bert", labels=2), tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights["bert.encoder.layer.2.output.LayerNorm.weight"].fill_(3e38)
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    code, status, root = run(tmp_path, classification_job(tmp_path, base))
    assert code == 1, status.conditions
    assert failure(status) == (
        Reason.NOT_FINITE,
        "the loss of step 1 is nan; lower spec.training.learningRate or lengthen the warm-up",
    )
    assert not list(root.rglob("manifest.json"))


def test_a_full_disk_of_a_worker_is_told(tmp_path: Path) -> None:
    """The temporary files of the upload would not fit; the output would. It is told before the training."""
    wide = BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=120_000
    )
    base = saved(AutoModelForSequenceClassification.from_config(wide), tmp_path / "base")
    # A short path: Ray puts sockets below it.
    with TemporaryDirectory(prefix="kt") as short, disk_of(12 * 2**20, Path(short) / "d") as disk:
        job = classification_job(tmp_path, base, training={"maxSteps": 1})
        code, status, root = run(tmp_path, job, TMPDIR=str(disk))
    assert code == 1, status.conditions
    reason, message = failure(status)
    assert reason == Reason.STORAGE_FAILED
    assert message.startswith("the disk of a worker is too small: 1 worker will write up to 15.9 MB to")
    assert message.endswith("; free some space, or set TMPDIR to a folder on a larger disk")
    assert not list(root.rglob("manifest.json"))
