"""A published run is examined from anywhere: what is missing, cut, altered, added or no whole model is said."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kubetune_trainer.artifact.examined import Examined, examine
from kubetune_trainer.artifact.publish import write_beside
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import RequirementResult
from support.published_runs import RECORD, WEIGHTS, published_run

MODEL = "executions/1/model"


def found(uri: str, digest: str | None = None) -> Examined:
    return examine(uri, lambda *_: None, digest)


def test_a_published_run_is_what_it_published(root: Path) -> None:
    artifact = published_run(root.as_uri())
    assert found(artifact.uri) == Examined(
        uri=artifact.uri,
        manifest_uri=artifact.manifest_uri,
        digest=artifact.digest,
        run="run-1",
        execution=1,
        files=5,
        size_bytes=artifact.size_bytes,
        adapter=False,
        types={"F16": 4, "F32": 12},
        signed=False,
        key=None,
        signed_for=None,
        rejected=False,
        missed=(),
        errors=(),
    )


@pytest.mark.parametrize("place", ["", "/", "/manifest.json", "/executions/1", f"/{MODEL}", f"/{MODEL}/"])
def test_a_run_is_named_by_its_folder_its_manifest_or_its_model(root: Path, place: str) -> None:
    published_run(root.as_uri())
    assert found(f"{root.as_uri()}{place}").errors == ()


def test_the_bytes_are_told_as_they_come(root: Path) -> None:
    size, told = published_run(root.as_uri()).size_bytes, list[tuple[str, int, int]]()
    examine(root.as_uri(), lambda *progress: told.append(progress))
    assert told[-1] == ("executions/1/report.html", size, size)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        pytest.param(
            lambda run: (run / MODEL / "tokenizer.json").unlink(),
            [f"{MODEL}/tokenizer.json is missing", "model: there is no tokenizer"],
            id="a file is gone",
        ),
        pytest.param(
            lambda run: os.truncate(run / MODEL / "model.safetensors", 100),
            [
                f"{MODEL}/model.safetensors is cut: it has 100 of 200 bytes",
                "model: model.safetensors is no whole safetensors file: it ends within its header",
            ],
            id="a file is cut",
        ),
        pytest.param(
            lambda run: _flip(run / MODEL / "model.safetensors"),
            [f"{MODEL}/model.safetensors has other bytes than were published"],
            id="one bit is another",
        ),
        pytest.param(
            lambda run: (run / "executions/1/report.html").write_text("a longer report"),
            ["executions/1/report.html has 15 bytes, and 8 were published"],
            id="a file is longer",
        ),
        pytest.param(
            lambda run: (run / MODEL / "pytorch_model.bin").write_text("code"),
            [f"{MODEL}/pytorch_model.bin is there, but manifest.json does not name it: it was not published"],
            id="a file was added",
        ),
    ],
)
def test_what_is_not_as_it_was_published_is_said(root: Path, harm: Callable[[Path], object], said: list[str]) -> None:
    published_run(root.as_uri())
    harm(root)
    assert list(found(root.as_uri()).errors) == said


def test_what_no_manifest_names_by_design_is_no_error(root: Path) -> None:
    published_run(root.as_uri())
    write_beside(root / "executions/1", {"journal/000001.jsonl": "{}", "checkpoints/step-00000001/rank-00000": "x"})
    write_beside(root / "executions/2", {"model/model.safetensors": "of another execution"})
    assert found(root.as_uri()).errors == ()


def test_another_manifest_than_the_status_names_is_an_error(root: Path) -> None:
    digest, other = published_run(root.as_uri()).digest, f"sha256:{'0' * 64}"
    assert found(root.as_uri(), digest).errors == ()
    assert found(root.as_uri(), other).errors == (
        f"manifest.json has the digest {digest}, not {other}: it is another manifest, or somebody changed it",
    )


@pytest.mark.parametrize("path", ["manifest.json", "executions/2/model/config.json", "executions/1/../../x"])
def test_a_manifest_that_names_what_lies_elsewhere_is_an_error(root: Path, path: str) -> None:
    published_run(root.as_uri())
    content = json.loads((root / "manifest.json").read_text())
    content["files"][0]["path"] = path
    (root / "manifest.json").write_text(json.dumps(content))
    if ".." in path:
        with pytest.raises(RunError, match="cannot be used"):
            found(root.as_uri())
        return
    assert found(root.as_uri()).errors[0].startswith(f"{path} lies outside of executions/1")


def test_a_rejected_model_is_told_as_such(root: Path) -> None:
    missed = replace(RECORD, requirements=(RequirementResult("test/accuracy", 0.8, 0.9, None),))
    published_run(root.as_uri(), missed)
    examined = found(root.as_uri())
    assert (examined.rejected, examined.errors) == (True, ())
    assert examined.missed == ("test/accuracy is 0.8, required is at least 0.9",)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        pytest.param(
            "{root}/executions/2/model", "is of execution 2, which did not publish; file://.* names", id="late"
        ),
        pytest.param("{root}/elsewhere", "no run was published there; name the folder of a run", id="nothing there"),
        pytest.param("hf://owner/name", "its scheme is none of file, s3, gs and az", id="the hub"),
    ],
)
def test_what_cannot_be_examined_is_an_error_with_a_remedy(root: Path, uri: str, why: str) -> None:
    published_run(root.as_uri())
    with pytest.raises(RunError, match=why):
        found(uri.format(root=root.as_uri()))


def test_what_is_no_manifest_is_told(root: Path) -> None:
    published_run(root.as_uri())
    (root / "manifest.json").write_text('{"run": 3}')
    with pytest.raises(RunError, match=r"manifest.json is not a manifest of kubetune \(run is wrong\)"):
        found(root.as_uri())


def test_what_is_wrong_in_a_manifest_is_told_in_a_sentence_of_bounded_length(root: Path) -> None:
    """Whoever may write to the store chooses the names in it."""
    published_run(root.as_uri())
    content = json.loads((root / "manifest.json").read_text())
    content["metrics"] = {"x" * 300_000: "no number"}
    (root / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"is not a manifest of kubetune \(metrics\.x+… is wrong\)") as raised:
        found(root.as_uri())
    assert len(raised.value.message) < 1000


def _sharded(index: dict[str, object]) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        (model / "model.safetensors").unlink()
        for name, tensor in WEIGHTS.items():
            save_file({name: tensor}, model / f"{name}.safetensors")
        (model / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


PLACES = {name: f"{name}.safetensors" for name in WEIGHTS}


def test_a_model_in_several_files_is_whole(root: Path) -> None:
    published_run(root.as_uri(), change=_sharded({"weight_map": PLACES}))
    assert (found(root.as_uri()).errors, found(root.as_uri()).types) == ((), {"F16": 4, "F32": 12})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            _sharded({"weight_map": {**PLACES, "head": "head.safetensors"}}),
            "head.safetensors is missing, which model.safetensors.index.json names",
            id="a file of the index is missing",
        ),
        pytest.param(
            _sharded({"weight_map": {**PLACES, "head": PLACES["layer.bias"]}}),
            "layer.bias.safetensors lacks the tensor head, which model.safetensors.index.json names",
            id="a tensor of the index is missing",
        ),
        pytest.param(
            _sharded({"weight_map": {"layer.bias": PLACES["layer.bias"]}}),
            "model.safetensors.index.json does not name the tensor layer.weight of layer.weight.safetensors",
            id="the index lacks a tensor",
        ),
        pytest.param(_sharded({}), "model.safetensors.index.json has no weight_map", id="the index names nothing"),
        pytest.param(
            lambda model: save_file({"layer.bias": np.ones(2)}, model / "more.safetensors"),
            "the tensor layer.bias is in two files",
            id="a tensor twice",
        ),
        pytest.param(
            lambda model: (model / "model.safetensors").unlink(),
            "there are no weights: neither model.safetensors nor model.safetensors.index.json",
            id="no weights",
        ),
        pytest.param(
            lambda model: (model / "config.json").write_text("{}"), "config.json has no model_type", id="no type"
        ),
        pytest.param(lambda model: (model / "config.json").write_text("{"), "config.json is not JSON", id="no JSON"),
        pytest.param(lambda model: (model / "config.json").unlink(), "config.json is missing", id="no configuration"),
        pytest.param(
            lambda model: (model / "adapter_config.json").write_text('{"peft_type": "LORA"}'),
            "adapter_model.safetensors is missing",
            id="an adapter without weights",
        ),
    ],
)
def test_a_model_that_is_not_whole_is_an_error(root: Path, change: Callable[[Path], None], said: str) -> None:
    """Even where the manifest names it so."""
    published_run(root.as_uri(), change=change)
    assert f"model: {said}" in found(root.as_uri()).errors
