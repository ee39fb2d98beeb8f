"""`kubetune report`: fetched by the trainer, or a sentence that says why there is none."""

from pathlib import Path

import pytest

from kubetune_cli.jobs import Job, NothingToShowError
from kubetune_cli.report import fetch, published
from support.fake_cli_cluster import FakeCluster, artifact, failed, job, running


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        pytest.param(
            running(),
            "reviews has no report; it is published with the model. Running (Training): Training with 2 workers.",
            id="the run goes on",
        ),
        pytest.param(
            failed(),
            "reviews has no report; a run that publishes no model leaves none."
            " Failed (OutOfMemory): A worker ran out of memory.",
            id="the run failed",
        ),
        pytest.param(job(), "No operator has handled it yet", id="nobody saw the job"),
        pytest.param(
            failed(artifact=artifact(reportUri="file:///etc/passwd")),
            "on the disk of the machine that ran it",
            id="a file of the pod, which a tenant may give any name",
        ),
    ],
)
def test_a_job_without_a_report_says_why(state: Job, sentence: str) -> None:
    with pytest.raises(NothingToShowError) as raised:
        published(state)
    assert sentence in str(raised.value)


def test_a_report_that_missed_a_requirement_is_one_too() -> None:
    assert published(failed(artifact=artifact(rejected=True))).report_uri == "s3://models/report.html"


def test_what_the_trainer_says_of_a_store_is_what_the_user_reads(tmp_path: Path) -> None:
    broken = failed(artifact=artifact(reportUri="ftp://models/report.html"))
    with pytest.raises(NothingToShowError, match="its scheme is none of file, s3, gs and az"):
        fetch(FakeCluster([broken]), "reviews", tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_uri_that_looks_like_an_option_is_a_uri(tmp_path: Path) -> None:
    broken = failed(artifact=artifact(reportUri="--help"))
    with pytest.raises(NothingToShowError, match="The URI --help cannot be used"):
        fetch(FakeCluster([broken]), "reviews", tmp_path / "report.html")
