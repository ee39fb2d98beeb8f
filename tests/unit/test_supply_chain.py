"""S9: whatever is fetched to build, to test or to run is known by its hash before it comes, and listed afterwards."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.chart import script

ROOT = Path(__file__).parents[2]
DIGEST = f"docker.io/library/python@sha256:{'a' * 64}"
FETCHING = ("Dockerfile", "Makefile", "scripts/bootstrap", "scripts/*.py", "tests/servers/*.py", ".ci/run")
"""Where something is installed by a program of ours."""
INSTALLS = re.compile(r"\bpip (?:install|sync)\b|\buv\"? (?:sync|build)\b|\buv pip\b")
INVENTORY = {
    "system": {"ID": "debian", "VERSION_ID": "12"},
    "interpreter": "3.11.2",
    "debian": [["libssl3", "3.0.20-1~deb12u2", "amd64", "openssl", "3.0.20-1~deb12u2"]],
    "python": [["kubetune", "0.1.0"], ["pyyaml", "6.0.3"]],
}


def test_what_no_hash_of_ours_holds_are_debians_libraries_for_rdma_in_the_trainers_image() -> None:
    """apt has the mirror's signed list for them. NCCL opens them, and takes TCP without a word where it cannot."""
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    fetching = [stage for stage in stages if "apt-get" in stage]
    assert [stage.partition("\n")[0] for stage in fetching] == ["trainer-dependencies AS trainer"]
    named = re.search(r"apt-get install ([^&]*)", fetching[0])
    assert named is not None
    packages = {word for word in named[1].split() if not word.startswith(("-", "\\"))}
    assert packages == {"libibverbs1", "librdmacm1", "ibverbs-providers"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def lock() -> dict[str, dict[str, Any]]:
    """The packages of the lock, by name; those with several versions are nothing that builds."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    return {package["name"]: package for package in packages}


def hashes(package: dict[str, Any]) -> set[str]:
    return {file["hash"] for file in (package["sdist"], *package["wheels"])}


def commands() -> Iterator[Any]:
    """Each command that installs or builds, as one line without the quotes of Python's lists."""
    for file in sorted(file for pattern in FETCHING for file in ROOT.glob(pattern)):
        text = re.sub(r"\s*\\\n\s*", " ", file.read_text("utf-8"))
        for line in text.splitlines():
            words = re.sub(r"[\",\[\]]+", " ", line) if file.suffix == ".py" else line
            for command in re.split(r"&&|;", re.sub(r"\s+", " ", words)):
                if INSTALLS.search(command) and not command.lstrip().startswith("#"):
                    yield pytest.param(command.strip(), id=f"{file.name}: {command.strip()[:60]}")


@pytest.mark.parametrize("command", commands())
def test_what_is_fetched_has_a_hash_before_it_comes(command: str) -> None:
    built_here = "--no-deps /wheel/*.whl" in command
    assert built_here or "--require-hashes" in command or "--frozen" in command
    if re.search(r"uv\"? (?:pip )?sync\b", command):
        assert "--require-build-hashes" in command, "a package without a wheel is built by what has a hash, too"


def test_every_way_to_install_was_found() -> None:
    files = {str(parameter.id).partition(":")[0] for parameter in commands()}
    assert files == {"Dockerfile", "assets.py", "bootstrap", "build.py"}


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("tests/servers/npm/*/package-lock.json")), ids=lambda file: file.parent.name
)
def test_what_comes_from_npm_has_a_hash_in_its_lock_which_names_no_registry(file: Path) -> None:
    packages = json.loads(file.read_text("utf-8"))["packages"]
    fetched = {name: package for name, package in packages.items() if name}
    assert len(fetched) > 100
    assert [name for name, package in fetched.items() if not package.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, package in fetched.items() if "resolved" in package] == []


def test_every_stage_of_the_images_is_built_on_the_base_that_was_given_or_on_another_stage() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert len(stages) == len(re.findall(r"^FROM ", text, re.MULTILINE))
    assert {base for base, _ in stages} <= {"${BASE_IMAGE}", *(name for _, name in stages)}
    assert re.findall(r"^ARG BASE_IMAGE.*$", text, re.MULTILINE) == ["ARG BASE_IMAGE"], "a default would be a tag"


def test_uv_comes_with_the_hashes_of_the_lock_to_who_has_none() -> None:
    text = (ROOT / "scripts" / "uv.txt").read_text("utf-8")
    uv = lock()["uv"]
    assert re.findall(r"^(\S+==\S+)", text, re.MULTILINE) == [f"uv=={uv['version']}"]
    assert set(re.findall(r"--hash=(\S+)", text)) == hashes(uv), "make lock"


def test_what_builds_wheels_is_locked_whole() -> None:
    locked = lock()
    wanted = [requirement.partition("==")[0] for requirement in project()["dependency-groups"]["build"]]
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        found.add(name)
        wanted += [needed["name"] for needed in locked[name].get("dependencies", []) if needed["name"] not in found]
    constraints = project()["tool"]["uv"]["build-constraint-dependencies"]
    assert sorted(constraints) == sorted(f"{name}=={locked[name]['version']}" for name in found)
    assert set(project()["build-system"]["requires"]) <= set(constraints)


@pytest.mark.parametrize(
    ("base", "release", "says"),
    [
        pytest.param(DIGEST, True, None, id="a release on a digest"),
        pytest.param(f"registry.example/python:3.11@sha256:{'0' * 64}", True, None, id="a tag beside its digest"),
        pytest.param("", False, None, id="a test on the base that is made here"),
        pytest.param("", True, "--release needs --base", id="a release on the base that is made here"),
        pytest.param("docker.io/library/python:3.11", True, "names no digest", id="a release on a tag"),
        pytest.param("docker.io/library/python:3.11", False, "names no digest", id="anything on a tag"),
        pytest.param("python@sha256:abc", True, "names no digest", id="a digest that was cut"),
    ],
)
def test_images_are_built_on_a_digest(base: str, release: bool, says: str | None) -> None:
    reason = script("images").unfit_base(base, release=release)
    assert (reason is None) is (says is None)
    if says is not None:
        assert says in reason
        assert "skopeo inspect" in reason


def test_a_release_on_a_tag_is_refused_before_anything_is_built() -> None:
    command = [sys.executable, ROOT / "scripts" / "images.py", "--release", "--base", "python:3.11", "trainer"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--base python:3.11 names no digest: give NAME@sha256:…" in done.stderr


def bill(inventory: dict[str, Any] | None = None) -> dict[str, Any]:
    packages = {"package": list(lock().values())}
    return dict(script("sbom").bill("kubetune-operator", "0.1.0", "b" * 64, inventory or INVENTORY, packages))


def test_a_bill_lists_what_is_in_the_image_and_where_it_came_from() -> None:
    made = bill()
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.5")
    assert made["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    parts = {component["name"]: component for component in made["components"]}
    assert parts.keys() == {"python", "libssl3", "kubetune", "pyyaml"}
    assert parts["libssl3"]["purl"] == (
        "pkg:deb/debian/libssl3@3.0.20-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl%403.0.20-1~deb12u2"
    )
    digests = {f"sha256:{file['hashes'][0]['content']}" for file in parts["pyyaml"]["externalReferences"]}
    assert digests == hashes(lock()["pyyaml"])
    assert "externalReferences" not in parts["kubetune"]
    assert len({component["bom-ref"] for component in made["components"]}) == len(parts)


@pytest.mark.parametrize(
    "place",
    [
        "opt/kubetune/lib/python3.11/site-packages",
        "usr/local/lib/python3.11/site-packages",
        "usr/local/lib/python3.11/dist-packages",
        "usr/lib/python3.12/site-packages",
        "usr/lib/python3/dist-packages",
    ],
)
def test_an_image_has_python_packages_of_its_base_too(tmp_path: Path, place: str) -> None:
    installed = tmp_path / "root" / place / "Some_Package-1.2.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: Some_Package\nVersion: 1.2\n")
    dpkg = tmp_path / "dpkg-query"  # not every machine is Debian's
    dpkg.write_text("#!/bin/sh\necho libssl3 3.0 amd64 openssl 3.0\n")
    dpkg.chmod(0o755)
    command = [sys.executable, "-c", script("sbom").INVENTORY, tmp_path / "root"]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    found = json.loads(subprocess.run(command, env=path, capture_output=True, check=True).stdout)
    assert found["python"] == [["some-package", "1.2"]]
    assert found["debian"] == [["libssl3", "3.0", "amd64", "openssl", "3.0"]]


def test_the_same_image_has_the_same_bill() -> None:
    assert json.dumps(bill()) == json.dumps(bill())
    assert bill(INVENTORY | {"python": []})["components"] == bill()["components"][:2]
