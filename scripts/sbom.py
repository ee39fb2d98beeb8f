"""What is in an image that was built here: every Debian and Python package, as CycloneDX.

    sbom.py operator trainer

Writes `dist/kubetune-<target>.cdx.json` for each. What is listed is what is found in the image; the lock adds where
each Python package came from, with its hashes. Nothing in it is of the day or the machine: the same image gives the
same file.
"""

import argparse
import json
import tomllib
import uuid
from pathlib import Path
from typing import Any

import images

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "dist"
INVENTORY = """
import json, platform, re, subprocess, sys
from importlib.metadata import distributions
from pathlib import Path

# The environment, that of the tools beside it, which the trainer's image still has, and those of the base's Python.
places = ("opt/*/lib", "usr/local/lib", "usr/lib")
packages = ("python3*/site-packages", "python3*/dist-packages")
root = Path(sys.argv[1] if sys.argv[1:] else "/")
folders = [str(found) for place in places for each in packages for found in root.glob(f"{place}/{each}")]
found = {(re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(), each.version) for each in distributions(path=folders)}
shown = "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\\n"
debian = subprocess.run(["dpkg-query", "--show", "--showformat", shown], capture_output=True, text=True, check=True)
print(json.dumps({
    "system": platform.freedesktop_os_release(),
    "interpreter": platform.python_version(),
    "debian": sorted(line.split() for line in debian.stdout.splitlines()),
    "python": sorted(found),
}))
"""
"""Run in the image, or on a folder that is named; a base that is not Debian's has no dpkg-query, and ends it with an
error."""
Object = dict[str, Any]


def bill(title: str, version: str, identity: str, inventory: Object, lock: Object) -> Object:
    """The document on an image, from what was found in it and what is locked."""
    locked = {(package["name"], package["version"]): package for package in lock["package"]}
    components = [
        _interpreter(inventory["interpreter"]),
        *(_debian(*row, inventory["system"]) for row in inventory["debian"]),
        *(_python(name, release, locked.get((name, release), {})) for name, release in inventory["python"]),
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"{title}@sha256:{identity}").urn,
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": title,
                "name": title,
                "version": version,
                "hashes": [{"alg": "SHA-256", "content": identity}],
            }
        },
        "components": components,
    }


def _interpreter(version: str) -> Object:
    return {
        "type": "application",
        "bom-ref": f"pkg:generic/python@{version}",
        "name": "python",
        "version": version,
        "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        "purl": f"pkg:generic/python@{version}",
    }


def _debian(name: str, version: str, architecture: str, source: str, source_version: str, system: Object) -> Object:
    # Advisories are about sources, as scanners know.
    purl = (
        f"pkg:deb/{system['ID']}/{_escaped(name)}@{_escaped(version)}?arch={architecture}"
        f"&distro={system['ID']}-{system['VERSION_ID']}&upstream={_escaped(source)}%40{_escaped(source_version)}"
    )
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("+", "%2B").replace(":", "%3A")


def _python(name: str, version: str, locked: Object) -> Object:
    purl = f"pkg:pypi/{name}@{version}"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    files = [file for file in (locked.get("sdist"), *locked.get("wheels", [])) if file]
    if files:
        component["externalReferences"] = [_file(file) for file in files]
    return component


def _file(file: Object) -> Object:
    algorithm, _, digest = file["hash"].partition(":")
    assert algorithm == "sha256", file["hash"]
    return {"type": "distribution", "url": file["url"], "hashes": [{"alg": "SHA-256", "content": digest}]}


def write(target: str) -> Path:
    """Writes the document on an image that was built here."""
    name = images.name_of(target)
    if not images.exists(name):
        raise SystemExit(f"there is no image {name}; python scripts/images.py {target}")
    labels = images.configuration(name)["Labels"]
    assert isinstance(labels, dict)
    title, version = (labels[f"org.opencontainers.image.{label}"] for label in ("title", "version"))
    inventory = json.loads(images.run(name, "python", "-c", INVENTORY))
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{title}.cdx.json"
    file.write_text(json.dumps(bill(title, version, images.identity(name), inventory, lock), indent=2) + "\n", "utf-8")
    return file


def main() -> None:
    """Writes what is asked for."""
    parser = argparse.ArgumentParser(description="Writes what is in images that were built here, as CycloneDX.")
    parser.add_argument("targets", nargs="*", default=["operator", "trainer"], help="operator, trainer")
    if reason := images.obstacle():
        raise SystemExit(reason)
    for target in parser.parse_args().targets:
        print(write(target))


if __name__ == "__main__":
    main()
