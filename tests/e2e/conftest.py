"""One real cluster for all scenarios: `make cluster` in this checkout."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from cluster.__main__ import runs, the_administrator
from cluster.install import Administrator
from servers.build import CALLERS_ENVIRONMENT
from support.e2e_jobs import ROOT, RealJob, upload_assets


@pytest.fixture(scope="session")
def admin() -> Administrator:
    """The administrator of the cluster that `make cluster` keeps, or of one that is started now and stays."""
    if not runs():
        subprocess.run(["make", "cluster"], cwd=ROOT, env=CALLERS_ENVIRONMENT, check=True)
    return the_administrator()


@pytest.fixture(scope="session")
def assets(admin: Administrator) -> str:
    """The URI under which the examples' models and data lie, on the S3 server of the cluster."""
    return upload_assets(admin.s3)


@pytest.fixture
def team(admin: Administrator) -> Iterator[str]:
    """A namespace of this test alone, as a platform team makes one; it ends with the test."""
    with admin.team() as name:
        yield name


@pytest.fixture
def new_job(admin: Administrator, team: str) -> Callable[..., RealJob]:
    """Makes jobs in the team's namespace."""
    return lambda name, **spec: RealJob(admin, team, name, spec)
