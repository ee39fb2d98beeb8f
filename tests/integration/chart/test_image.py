"""The operator's image, built as it will be: what is in it, and what is not."""

import json
import re
import tomllib
from collections import defaultdict
from typing import Any

import pytest

from support.chart import CHART, script

images = script("images")
ROOT = CHART.parents[1]
FOREIGN = ("torch", "ray", "deepspeed", "transformers", "typer", "pip")
"""What an operator has no use for."""
PROBE = """
import getpass, importlib.metadata, importlib.util, json, os, pathlib, sys
import kopf, kubetune_api, kubetune_operator, kubetune_operator.application

def bytecode(module):
    return pathlib.Path(module.__cached__).read_bytes()[4:8].hex()

pathlib.Path.home().joinpath("written").write_text("")
print(json.dumps({
    "user": [os.getuid(), os.getgid(), getpass.getuser()],
    "foreign": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
    "bytecode": sorted({bytecode(kopf), bytecode(kubetune_api), bytecode(kubetune_operator)}),
    "versions": {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()},
}))
"""


@pytest.fixture(scope="module")
def image() -> str:
    """The image, built from the checkout; what has not changed comes from the cache."""
    if reason := images.obstacle():
        pytest.skip(reason)
    return str(images.build("operator"))


@pytest.fixture(scope="module")
def found(image: str) -> dict[str, Any]:
    """What a program finds that runs in the image."""
    return dict(json.loads(images.run(image, "python", "-c", PROBE, *FOREIGN)))


def test_the_operator_is_in_it_and_nothing_of_the_trainer_needs(found: dict[str, Any]) -> None:
    assert found["foreign"] == []


def test_it_runs_as_a_user_without_rights_whose_home_can_be_written_to(found: dict[str, Any]) -> None:
    assert found["user"] == [65532, 65532, "kubetune"]


def test_its_bytecode_is_bound_to_no_time_stamp(found: dict[str, Any]) -> None:
    assert found["bytecode"] == ["01000000"]  # by hash, and never looked at again (PEP 552)


def test_every_dependency_has_a_version_of_the_lock(found: dict[str, Any]) -> None:
    locked = defaultdict(set)
    for package in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]:
        locked[package["name"]].add(package["version"])
    installed = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found["versions"].items()}
    assert installed.keys() > {"kopf", "kubetune", "pydantic"}
    assert {name: version for name, version in installed.items() if version not in locked[name]} == {}


def test_the_operator_is_what_it_starts(image: str) -> None:
    configuration = images.configuration(image)
    assert configuration["User"] == "65532:65532"
    assert "--lease-seconds" in images.run(image, *configuration["Entrypoint"], "--help")


def test_it_says_what_it_is(image: str) -> None:
    labels = images.configuration(image)["Labels"]
    assert labels["org.opencontainers.image.title"] == "kubetune-operator"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_nothing_of_the_building_machine_stays_in_it(image: str) -> None:
    variables = {variable.split("=")[0] for variable in images.configuration(image)["Env"]}
    assert not {name for name in variables if name.startswith(("SSL", "PIP", "UV"))}
    digests = [images.run(name, "sha256sum", "/etc/ssl/certs/ca-certificates.crt") for name in (image, images.BASE)]
    assert digests[0] == digests[1]


def test_nobody_may_write_to_what_runs(image: str) -> None:
    assert images.run(image, "find", "/opt", "-writable", "-not", "-type", "l") == ""
