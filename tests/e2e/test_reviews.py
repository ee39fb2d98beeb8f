"""The main job: real weights and real reviews from the S3 server, two workers, and a model that stands in it."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cluster.__main__ import the_prometheus
from cluster.install import Administrator
from kubetune_api.job import FineTuneJobSpec
from kubetune_trainer.data.prepare import prepare
from kubetune_trainer.tasks import task_of
from kubetune_trainer.tasks.classification import ClassTargets
from servers.build import CALLERS_ENVIRONMENT
from support.data_files import packed_file
from support.e2e_jobs import RESULTS, ROOT, RealJob, bucket_at, example, metrics_of

MANIFESTS = "kubetune-output/default/reviews/*/manifest.json"


@pytest.fixture(scope="module")
def job(admin: Administrator, assets: str) -> Iterator[RealJob]:
    """The example, at its end; on the way its progress was seen to move, in its status and in Prometheus."""
    with admin.team() as team:
        job = RealJob(admin, team, "reviews", example("reviews"))
        seen = job.apply().training()["progress"]["step"]
        job.wait_for(lambda status: status.get("progress", {}).get("step", 0) > seen)
        job.wait_for(lambda _: len(losses_in_prometheus(job)) == 2)
        status = job.end()
        assert status["phase"] == "Succeeded", job.evidence()
        yield job


def losses_in_prometheus(job: RealJob) -> list[dict[str, str]]:
    selector = f'namespace="{job.namespace}", finetunejob="{job.name}"'
    return [sample["metric"] for sample in the_prometheus().query(f"ray_kubetune_loss{{{selector}}}")]


def test_the_reviews_become_a_verified_model_in_object_storage(job: RealJob) -> None:
    status = job.status
    assert metrics_of(status)["test/accuracy"] >= 0.78
    (attempt,) = status["attempts"]
    assert attempt["reason"] == "ModelPublished"
    manifest = json.loads(job.fetch("manifest.json"))
    assert manifest["files"]


def test_the_model_is_as_good_as_the_status_says(job: RealJob, tmp_path: Path) -> None:
    folder = job.fetch_model(tmp_path / "model")
    assert accuracy_of(folder, tmp_path) == pytest.approx(metrics_of(job.status)["test/accuracy"], abs=1e-3)


def accuracy_of(folder: Path, scratch: Path) -> float:
    """Computed by transformers alone, on the rows that the job held back; those of one length at a time, unpadded."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    spec = FineTuneJobSpec.model_validate(example("reviews"))
    data = (ROOT / ".assets" / "data" / "reviews.csv.bz2").read_bytes()
    file = packed_file(scratch, "reviews.csv.bz2", data)
    held_out = prepare(task_of(spec), spec, {"train": [file]}, tokenizer, 128).splits["test"]
    assert isinstance(held_out.targets, ClassTargets)
    starts, lengths = held_out.offsets[:-1], np.diff(held_out.offsets)
    right = 0
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        tokens = held_out.tokens[starts[rows, None] + np.arange(length)].astype(np.int64)
        with torch.no_grad():
            answers = model(torch.from_numpy(tokens)).logits.argmax(-1).numpy()
        right += int((answers == np.asarray(held_out.targets.classes)[rows]).sum())
    return right / held_out.rows


def newest(root: Path, pattern: str) -> tuple[float, Path | None]:
    """When the newest file below a folder was written, and which one that is."""
    return max(((file.stat().st_mtime, file) for file in root.glob(pattern)), default=(0.0, None))


@pytest.fixture(scope="module")
def metrics_on_one_machine() -> dict[str, float]:
    """Those of `make demo`, which need not run again if it ran since the last change of the code."""
    code = max(newest(ROOT, f"{part}/**/*.py")[0] for part in ("cli", "crds", "planner", "trainer"))
    code = max(code, (ROOT / "examples" / "reviews.yaml").stat().st_mtime, (ROOT / "uv.lock").stat().st_mtime)
    if newest(ROOT, MANIFESTS)[0] < code:
        subprocess.run(["make", "demo"], cwd=ROOT, env=CALLERS_ENVIRONMENT, check=True)
    _, manifest = newest(ROOT, MANIFESTS)
    assert manifest is not None
    return dict(json.loads(manifest.read_text("utf-8"))["metrics"])


def test_the_same_manifest_on_one_machine_gives_the_same_metrics(
    job: RealJob, metrics_on_one_machine: dict[str, float]
) -> None:
    in_cluster = json.loads(job.fetch("manifest.json"))["metrics"]
    quality = [name for name in in_cluster if name.startswith(("test/", "validation/"))]
    assert "test/accuracy" in quality
    assert {name: in_cluster[name] for name in quality} == pytest.approx(
        {name: metrics_on_one_machine[name] for name in quality}, abs=1e-3
    )


def test_the_model_lies_where_the_status_says(job: RealJob, admin: Administrator) -> None:
    uri = job.status["artifact"]["uri"]
    bucket = bucket_at(admin.s3, RESULTS)
    assert bucket.head(f"{uri.removeprefix(f'{RESULTS}/')}/model.safetensors")["size"] > 10_000_000
