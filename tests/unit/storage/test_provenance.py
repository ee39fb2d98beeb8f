"""The provenance in in-toto's form: the fields of SLSA's predicate, filled with what the run recorded."""

import json
from dataclasses import replace
from pathlib import Path

from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.artifact.provenance import provenance
from kubetune_trainer.artifact.publish import canonical_json
from support.published_runs import RECORD, published_run
from support.run_records import stored

FOLDER = "executions/1/model"
FILES = [stored(f"{FOLDER}/{name}", 3) for name in ("model.safetensors", "config.json")]
STATEMENT = provenance(RECORD, FILES, folder=FOLDER)
BUILD, RUN = STATEMENT["predicate"]["buildDefinition"], STATEMENT["predicate"]["runDetails"]


def test_its_subjects_are_the_files_of_the_model() -> None:
    assert (STATEMENT["_type"], STATEMENT["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert STATEMENT["subject"] == [
        {"name": "config.json", "digest": {"sha256": FILES[1].sha256}},
        {"name": "model.safetensors", "digest": {"sha256": FILES[0].sha256}},
    ]


def test_it_says_the_job_and_what_was_resolved_of_it() -> None:
    assert BUILD["buildType"] == "https://kubetune.dev/v1alpha1/FineTuneJob"
    assert BUILD["externalParameters"] == {"job": manifest(RECORD, [], folder="executions/1")["provenance"]["job"]}
    assert BUILD["internalParameters"] == {
        "zeroStage": 2,
        "precision": "FP32",
        "microBatchSize": 8,
        "workers": 2,
        "learningRate": 2e-5,
        "maxLength": 512,
        "activationCheckpointing": "None",
        "device": "2 x Intel Xeon (CPU)",
        "steps": 1044,
        "keptStep": 1044,
    }


def test_every_file_that_was_read_is_a_dependency() -> None:
    adapter = (stored("hf://owner/adapter/adapter_model.safetensors", 9),)
    record = replace(RECORD, base=replace(RECORD.base, adapter=adapter))
    found = provenance(record, FILES, folder=FOLDER)["predicate"]["buildDefinition"]["resolvedDependencies"]
    read = [*record.base.files, *adapter, *record.data.files]
    assert [(each["uri"], each["digest"]["sha256"]) for each in found] == [(file.name, file.sha256) for file in read]
    assert [each["name"] for each in found] == ["baseModel"] * 3 + ["adapter"] + ["data"] * 2
    assert found[0]["annotations"] == {"size": 570, "revision": RECORD.base.revision}


def test_it_says_who_ran_it_and_when() -> None:
    assert {
        "builder": {"id": "https://kubetune.dev/trainer", "version": RECORD.versions},
        "metadata": {
            "invocationId": "run-1/1",
            "startedOn": RECORD.start_time,
            "finishedOn": RECORD.completion_time,
        },
    } == RUN


def test_it_is_published_beside_the_report_and_named_by_the_manifest(root: Path) -> None:
    published_run(root.as_uri())
    content = json.loads((root / "manifest.json").read_text())
    assert "executions/1/provenance.intoto.json" in [file["path"] for file in content["files"]]
    statement = json.loads((root / "executions/1/provenance.intoto.json").read_text())
    named = {file["path"].removeprefix(f"{FOLDER}/"): file["sha256"] for file in content["files"]}
    assert all(named[each["name"]] == each["digest"]["sha256"] for each in statement["subject"])
    assert len(statement["subject"]) == 3
    assert canonical_json(statement) == (root / "executions/1/provenance.intoto.json").read_bytes()
