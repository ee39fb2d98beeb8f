"""Believable runs that nobody trained: what the report and the card are tried and looked at with."""

import hashlib
import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pydantic.alias_generators import to_camel

from kubetune_api.job import FineTuneJob
from kubetune_api.tasks import TASKS
from kubetune_trainer.figures import Interval
from kubetune_trainer.records import (
    CleaningStep,
    DataReport,
    EvaluationRecord,
    PretrainedRecord,
    RequirementResult,
    RunRecord,
    SplitReport,
    StepRecord,
    StoredFile,
    TrainingEnd,
)
from kubetune_trainer.resolved import ResolvedTraining
from kubetune_trainer.shown_rows import Piece, Sample
from kubetune_trainer.tasks.class_metrics import ClassificationDetails, ClassMetrics
from kubetune_trainer.tasks.multi_label import LabelSets, MultiLabelClassification
from kubetune_trainer.tasks.number_metrics import Frame, number_metrics, ranks, sums
from kubetune_trainer.tasks.tagging import Tagging, Tags
from kubetune_trainer.tasks.thresholds import counts


def stored(name: str, size: int) -> StoredFile:
    return StoredFile(name, size, hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest())


def job(task: str = "SequenceClassification", name: str = "film-reviews", **spec: Any) -> FineTuneJob:
    named = {"label": "verdict", "prompt": "question", "completion": "answer"}
    columns = {to_camel(column): named.get(column, to_camel(column)) for column in TASKS[task].columns}
    return FineTuneJob.model_validate(
        {
            "apiVersion": "kubetune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": name, "namespace": "team-a"},
            "spec": {
                "model": {
                    "uri": "hf://google-bert/bert-base-uncased",
                    "revision": "86b5e0934494bd15c9632b12f734a8a67f723594",
                },
                "task": {"type": task, "maxLength": 256},
                "dataset": {"uri": "s3://datasets/reviews/*.parquet", "columns": columns},
                "training": {"epochs": 3, "globalBatchSize": 32, "learningRate": 3e-5},
                "output": {"uri": "s3://models"},
                **spec,
            },
        }
    )


def steps(total: int, epochs: float = 3.0, start: float = 0.69, seed: int = 0) -> tuple[StepRecord, ...]:
    """A loss that falls from `start`, under a linear schedule with a warm-up of a tenth."""
    chance = random.Random(seed)
    warmup = max(1, total // 10)
    return tuple(
        StepRecord(
            step=step,
            epoch=epochs * step / total,
            loss=start * (0.35 + 0.65 * math.exp(-3 * step / total)) * math.exp(chance.gauss(0, 0.12)),
            learning_rate=3e-5 * min(step / warmup, (total - step) / max(1, total - warmup)),
            gradient_norm=math.exp(chance.gauss(0.8, 0.35)),
            tokens=chance.randrange(900, 1400),
            seconds=chance.uniform(0.28, 0.36) + (1.5 if step == 1 else 0.0),
        )
        for step in range(1, total + 1)
    )


def confusion_of(rows_per_label: list[int], accuracy: float, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    chance = random.Random(seed)
    labels = len(rows_per_label)
    matrix = [[0] * labels for _ in range(labels)]
    for label, rows in enumerate(rows_per_label):
        ability = min(0.98, max(0.05, chance.gauss(accuracy, 0.08)))
        for _ in range(rows):
            wrong = min(labels - 1, int(chance.expovariate(4 / labels)))
            matrix[label][label if chance.random() < ability else wrong] += 1
    return tuple(tuple(line) for line in matrix)


def evaluation(
    labels: tuple[str, ...], split: str, step: int, epoch: float, loss: float, confusion: tuple[tuple[int, ...], ...]
) -> EvaluationRecord:
    """The evaluation that has this confusion matrix."""
    predicted = [sum(column) for column in zip(*confusion, strict=True)]
    found = []
    for place, (label, line) in enumerate(zip(labels, confusion, strict=True)):
        precision = line[place] / predicted[place] if predicted[place] else 0.0
        recall = line[place] / sum(line) if sum(line) else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        found.append(ClassMetrics(label, precision, recall, f1, sum(line)))
    rows = sum(map(sum, confusion))
    metrics = {
        "loss": loss,
        "accuracy": sum(confusion[place][place] for place in range(len(labels))) / max(1, rows),
        "precision_macro": sum(one.precision for one in found) / len(found),
        "recall_macro": sum(one.recall for one in found) / len(found),
        "f1_macro": sum(one.f1 for one in found) / len(found),
    }
    intervals = {name: Interval(value * 0.97, value * 1.02) for name, value in metrics.items() if split == "test"}
    return EvaluationRecord(split, step, epoch, metrics, ClassificationDetails(tuple(found), confusion), intervals)


def data(labels: tuple[str, ...], rows_per_label: list[int], **changes: Any) -> DataReport:
    test = tuple(zip(labels, rows_per_label, strict=True))
    train = tuple((label, rows * 8) for label, rows in test)
    held_out = sum(rows_per_label)
    splits = (
        SplitReport("train", held_out * 8, held_out * 8 * 31, 256, held_out // 8, train),
        SplitReport("validation", held_out, held_out * 30, 249, 0, test),
        SplitReport("test", held_out, held_out * 31, 256, held_out // 90, test),
    )
    cleaning = (
        CleaningStep("unicodeNormalization", "texts brought to NFC", 41, dropped=False),
        CleaningStep("dropEmpty", "rows with an empty text or label", 3),
        CleaningStep("minCharacters", "rows with a text of fewer than 8 characters", 118),
        CleaningStep("dropDuplicates", "rows with the text of an earlier row", 266),
    )
    files = (
        stored("s3://datasets/reviews/part-0000.parquet", 18_402_113),
        stored("s3://datasets/reviews/part-0001.parquet", 17_900_871),
    )
    samples = tuple(
        Sample((Piece(f"[CLS] the film of row {row} [SEP]", counted=False),), 9, answer=label)
        for row, label in enumerate(labels[:3])
    )
    report = DataReport(files, held_out * 10 + 387, cleaning, splits, labels, samples=samples)
    return replace(report, **changes)


def classification(
    labels: tuple[str, ...] = ("fresh", "rotten"),
    rows_per_label: list[int] | None = None,
    total: int = 1044,
    **changes: Any,
) -> RunRecord:
    """A classifier's run of three epochs, with a requirement that it meets."""
    rows = rows_per_label or [740, 541][: len(labels)]
    evaluations = [
        evaluation(
            labels, "validation", total * epoch // 3, float(epoch), loss, confusion_of(rows, accuracy, seed=epoch)
        )
        for epoch, loss, accuracy in ((1, 0.47, 0.79), (2, 0.41, 0.83), (3, 0.44, 0.84))
    ]
    evaluations.append(evaluation(labels, "test", total, 3.0, 0.432, confusion_of(rows, 0.835, seed=9)))
    return run(
        job(evaluation={"require": [{"metric": "test/accuracy", "min": 0.8}]}),
        data=data(labels, rows),
        steps=steps(total),
        evaluations=tuple(evaluations),
        requirements=(RequirementResult("test/accuracy", evaluations[-1].metrics["accuracy"], 0.8, None),),
        **changes,
    )


def regression(noise: float = 0.6, numbers: int = 1, flatness: float = 1.0, **changes: Any) -> RunRecord:
    """A run that learned to tell the stars of a text, the more so the less noise there is."""
    chance = np.random.default_rng(0)
    true = np.repeat(chance.integers(1, 6, (400, 1)), numbers, axis=1).astype(np.float64)
    frames = (Frame(3.0, 1.4, 1.0, 5.0),) * numbers
    evaluations = []
    for split, step, epoch in (("validation", 60, 1.0), ("validation", 120, 2.0), ("test", 120, 2.0)):
        said = 3 + flatness * (0.8 / (1 + noise) * (true - 3) + noise * chance.normal(size=true.shape))
        counted = sums(*map(torch.from_numpy, (true, said, ranks(true).astype(np.float64))), frames)
        metrics, details = number_metrics({name: sum_.double().numpy() for name, sum_ in counted.items()}, frames)
        evaluations.append(EvaluationRecord(split, step, epoch, {"loss": metrics["mse"], **metrics}, details))
    splits = tuple(SplitReport(name, rows, rows * 30, 128, 0) for name, rows in (("train", 3200), ("test", 400)))
    report = DataReport((stored("s3://datasets/reviews.csv", 1_300_220),), 3600, (), splits)
    return run(
        job("SequenceRegression", "ratings"),
        data=report,
        steps=steps(120, start=9.0),
        evaluations=tuple(evaluations),
        **changes,
    )


def causal(**changes: Any) -> RunRecord:
    """A decoder's run that misses its requirement."""
    evaluations = tuple(
        EvaluationRecord(split, step, epoch, {"loss": loss, "perplexity": math.exp(loss)})
        for split, step, epoch, loss in (
            ("validation", 0, 0.0, 3.61),
            ("test", 0, 0.0, 3.58),
            ("validation", 40, 1.0, 2.51),
            ("validation", 80, 2.0, 2.33),
            ("validation", 120, 3.0, 2.29),
            ("test", 120, 3.0, 2.31),
        )
    )
    tested = evaluations[-1].metrics
    folder = "file:///models/SmolLM2-135M-Instruct"
    weights = stored(f"{folder}/model.safetensors", 269_060_552)
    splits = (
        SplitReport("train", 640, 31_044, 212, 0),
        SplitReport("validation", 80, 4_011, 160, 0),
        SplitReport("test", 80, 3_920, 171, 0),
    )
    question = Sample(
        (
            Piece("<|im_start|>user\nMy screen stays black.<|im_end|>\n<|im_start|>assistant\n", counted=False),
            Piece("Is the cable plugged in?<|im_end|>\n", counted=True),
        ),
        24,
    )
    duplicates = CleaningStep("dropDuplicates", "rows with the prompt and completion of an earlier row", 12)
    return run(
        job("CausalLM", "support-answers"),
        base=PretrainedRecord(folder, None, "llama", (weights,), 134_515_008, 106_203_456),
        data=DataReport(
            (stored("file:///data/tech_support.jsonl", 301_220),), 812, (duplicates,), splits, samples=(question,)
        ),
        steps=steps(120, start=3.4),
        evaluations=evaluations,
        requirements=(
            RequirementResult("test/perplexity", tested["perplexity"], None, 10.0),
            RequirementResult("validation/loss", 2.29, None, 2.5),
        ),
        **changes,
    )


def run(of_job: FineTuneJob, **changes: Any) -> RunRecord:
    """A run of the job in which nothing happened but for `changes`."""
    base = PretrainedRecord(
        "hf://google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        "bert",
        (stored("config.json", 570), stored("model.safetensors", 440_449_768), stored("tokenizer.json", 466_062)),
        109_483_778,
        66_956_546,
    )
    record = RunRecord(
        job=of_job,
        run_id="0f8fad5b-d9cb-469f-a165-70867728950e",
        execution=1,
        resolved=ResolvedTraining(2, "FP32", micro_batch_size=8, workers=2, learning_rate=2e-5, max_length=512),
        device="2 x Intel Xeon (CPU)",
        start_time="2026-03-02T09:14:07Z",
        completion_time="2026-03-02T09:19:51Z",
        base=base,
        data=DataReport((), 0, (), ()),
        steps=(),
        evaluations=(),
        end=TrainingEnd(0, 0, 0),
        versions={"kubetune": "0.1.0", "torch": "2.15.0", "ray": "2.60.0", "python": "3.11.9"},
    )
    last = max((found.step for key in ("steps", "evaluations") for found in changes.get(key, ())), default=0)
    return replace(record, **{"end": TrainingEnd(last, last, last), **changes})


def label_sets(labels: tuple[str, ...] = ("fee", "term", "law"), *, tuned: bool = True, **changes: Any) -> RunRecord:
    """A run that learned to give a text several labels."""
    chance = np.random.default_rng(0)
    true = (chance.random((400, len(labels))) < 0.3).astype(np.float32)
    scores = np.clip(0.2 + 0.4 * true + chance.normal(0, 0.2, true.shape), 0.001, 0.999)
    space, evaluations = LabelSets(labels, threshold=None if tuned else 0.5), []
    for split in ("validation", "test"):
        counted = counts(*map(torch.from_numpy, (scores, true)), space.thresholds)
        tally = {"loss": np.array(500.0), **{name: found.double().numpy() for name, found in counted.items()}}
        measured = MultiLabelClassification().measure(tally, space)
        space = measured.settled
        evaluations.append(EvaluationRecord(split, 120, 2.0, measured.metrics, measured.details))
    return run(
        job("MultiLabelClassification", "clauses"),
        data=data(labels, [int(rows) for rows in true.sum(axis=0)]),
        steps=steps(120),
        evaluations=tuple(evaluations),
        **changes,
    )


def tagged(types: tuple[str, ...] = ("PER", "ORG", "LOC", "MISC"), **changes: Any) -> RunRecord:
    """A run that learned to find entities, the later types worse."""
    tags = ("O", *(f"{place}-{kind}" for kind in types for place in "BI"))
    kinds = len(types)
    true = np.array([400.0 / (place + 1) for place in range(kinds)]).round()
    predicted = np.array([true[place] * (1.05 - 0.12 * place) for place in range(kinds)]).round()
    hits = np.array(
        [min(true[place], predicted[place]) * max(0.0, 0.93 - 0.11 * place) for place in range(kinds)]
    ).round()
    words = np.array([9000.0, *[one for of_type in true for one in (of_type, of_type // 2)]])
    tally = {"loss": np.array(900.0), "right": words.sum() * 0.95, "words": words}
    measured = Tagging().measure({**tally, "hits": hits, "true": true, "predicted": predicted}, Tags(tags))
    evaluations = tuple(
        EvaluationRecord(split, 120, 2.0, measured.metrics, measured.details) for split in ("validation", "test")
    )
    return run(
        job("TokenClassification", "names"),
        data=data(tags, [int(rows) for rows in words]),
        steps=steps(120),
        evaluations=evaluations,
        **changes,
    )
