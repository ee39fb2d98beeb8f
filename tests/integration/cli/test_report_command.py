"""`kubetune report` as a person calls it: the job from a real API server, the report from a real S3 server."""

import hashlib
import json
from pathlib import Path

import pytest

from servers.s3 import S3Server
from support.cli_on_api_server import Team
from support.fake_cli_cluster import artifact

PAGE = b"<!doctype html><title>reviews</title>"


@pytest.fixture
def published(team: Team, s3_server: S3Server) -> Team:
    """A job whose report lies in a bucket."""
    bucket = s3_server.make_bucket("models")
    files = [{"path": "report.html", "size": len(PAGE), "sha256": hashlib.sha256(PAGE).hexdigest()}]
    manifest = json.dumps({"files": files}).encode()
    for name, data in (("report.html", PAGE), ("manifest.json", manifest)):
        (s3_server.root / "models" / name).write_bytes(data)
    found = artifact(
        reportUri=f"{bucket}/report.html",
        manifestUri=f"{bucket}/manifest.json",
        digest=f"sha256:{hashlib.sha256(manifest).hexdigest()}",
    )
    status = {"phase": "Succeeded", "message": "Published.", "artifact": found}
    team.create(status=status)
    return team


def test_the_report_is_fetched_under_the_jobs_name_and_the_path_printed(published: Team, s3_server: S3Server) -> None:
    done = published.call("report", "reviews", **s3_server.env)
    assert done.returncode == 0, done.stderr
    file = Path(done.stdout.strip())
    assert file == published.folder / "reviews-report.html"
    assert file.read_bytes() == PAGE


def test_it_goes_to_the_file_that_is_named_and_to_the_browser(published: Team, s3_server: S3Server) -> None:
    browser = published.folder / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > "$0.opened"\n')
    browser.chmod(0o755)
    target = published.folder / "page.html"
    done = published.call("report", "reviews", "-o", str(target), "--open", BROWSER=f"{browser} %s", **s3_server.env)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == PAGE
    assert browser.with_suffix(".opened").read_text() == f"{target.as_uri()}\n"


def test_a_report_that_was_deleted_leaves_no_file(published: Team, s3_server: S3Server) -> None:
    (s3_server.root / "models" / "report.html").unlink()
    done = published.call("report", "reviews", **s3_server.env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is nothing at s3://models/report.html; was it deleted since?" in done.stderr
    assert not (published.folder / "reviews-report.html").exists()


def test_a_report_that_somebody_changed_is_not_shown(published: Team, s3_server: S3Server) -> None:
    """S12"""
    (s3_server.root / "models" / "report.html").write_bytes(b"<script>")
    done = published.call("report", "reviews", "--open", **s3_server.env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "s3://models/report.html is not what the run published" in done.stderr
    assert not (published.folder / "reviews-report.html").exists()


def test_credentials_that_the_store_refuses_are_told(published: Team, s3_server: S3Server) -> None:
    done = published.call("report", "reviews", **{**s3_server.env, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert done.returncode == 1
    assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in done.stderr


def test_a_folder_that_is_not_there_is_told(published: Team, s3_server: S3Server) -> None:
    done = published.call("report", "reviews", "-o", "none/page.html", **s3_server.env)
    assert done.returncode == 1
    assert "none/page.html could not be written: No such file or directory" in done.stderr


def test_without_the_trainers_packages_a_sentence_names_the_extra(published: Team, s3_server: S3Server) -> None:
    # A module of that name in front of the real one: as if it were not installed.
    (published.folder / "obstore.py").write_text("raise ModuleNotFoundError(name='obstore')")
    done = published.call("report", "reviews", PYTHONPATH=str(published.folder), **s3_server.env)
    assert done.returncode == 1
    assert "needs the Python module obstore, which is not installed; install kubetune with its extra" in done.stderr


def test_a_job_without_a_report_says_why(team: Team) -> None:
    team.create(status={"phase": "Pending", "reason": "WaitingForQuota", "message": "It waits in the queue."})
    done = team.call("report", "reviews")
    assert done.returncode == 1
    assert "reviews has no report; it is published with the model. Pending (WaitingForQuota)" in done.stderr
