"""The page `docs/quick-start.md`, done as it is written, on a cluster without kubetune."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import images
from cluster.__main__ import quick_start_variables
from cluster.install import Administrator
from servers.build import binary
from support.e2e_jobs import ROOT

PAGE = ROOT / "docs" / "quick-start.md"
ELSEWHERE = ("kind ", "docker ")
"""What a block begins with that cannot run here: the cluster, its KubeRay and the images come from `make cluster`."""


def blocks() -> list[str]:
    """The shell blocks of the page, in order."""
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def reader(admin: Administrator, assets: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody who reads the page; the images are those that its commands would build."""
    for name, program in (("kubectl", binary("kubectl")), ("helm", binary("helm"))):
        (tmp_path / name).symlink_to(program)
    for target in images.TARGETS:
        images.give_name(images.load_target(target, admin.image_store), f"kubetune-{target}:0.1.0")
    admin.uninstall_kubetune()
    try:
        yield environment_of(admin, tmp_path)
    finally:
        for thing in ("namespace/quick-start", "finetuneprofile/cpu-small"):
            admin.kubectl("delete", thing, "--ignore-not-found")
        admin.install_kubetune()


def environment_of(admin: Administrator, home: Path) -> dict[str, str]:
    """The reader's."""
    return {
        **os.environ,
        "PATH": os.pathsep.join((str(home), str(Path(sys.executable).parent), os.environ["PATH"])),
        "KUBECONFIG": str(admin.kubeconfig),
        "HOME": str(home),
        **quick_start_variables(admin.s3),
    }


def test_the_page_leads_to_a_model(reader: dict[str, str]) -> None:
    run = [block for block in blocks() if not block.startswith(ELSEWHERE)]
    assert len(blocks()) - len(run) == 2, "another block cannot run here; say why in ELSEWHERE"
    said = ""
    try:
        for block in run:
            # From the folder of the page's reader: the checkout. What it writes there, the last lines remove.
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=ROOT,
                env=reader,
                capture_output=True,
                text=True,
                check=False,
            )
            said += f"$ {block}{done.stdout}{done.stderr}"
            assert done.returncode == 0, said
        page = (ROOT / "first.html").read_text("utf-8")
    finally:
        (ROOT / "first.html").unlink(missing_ok=True)
    assert "Succeeded" in said
    assert "<title>first: Succeeded" in page
