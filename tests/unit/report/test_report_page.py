"""The page as a whole: what it says of a run, and that it is one quiet file."""

from kubetune_trainer.report import render_report
from made_up_runs import causal, classification, job, run


def test_the_page_tells_the_verdict_and_the_metrics() -> None:
    page = render_report(classification())
    assert "Succeeded" in page
    assert "The requirement was met." in page


def test_a_missed_requirement_is_named_with_its_numbers() -> None:
    page = render_report(causal())
    assert "test/perplexity is 10.0744; at most 10.0 was required." in page


def test_a_run_in_which_nothing_happened_has_a_page() -> None:
    assert "The run made no step." in render_report(run(job()))
