"""The page as a whole: what it says of a run, and that it is one quiet, well-formed file whatever a tenant wrote."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from kubetune_trainer.figures import Interval, SliceRecord
from kubetune_trainer.records import PretrainedRecord, RequirementResult, RunRecord
from kubetune_trainer.report import render_report
from kubetune_trainer.shown_rows import Piece, Sample, ShownError
from support.run_records import (
    causal,
    classification,
    confusion_of,
    data,
    evaluation,
    job,
    regression,
    run,
    steps,
    stored,
)

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=https://evil.example/x onerror=alert(1)>',
    r"$\frac{1}{0}$ and $unclosed",
    "long " + "x" * 10_000,
    "👩‍👩‍👧 emoji \U0001f9ff",
    "עברית \u202eright to left\u2066",
    "日本語のラベル",
    "line\nbreak\ttab\x00nul\x1b[31m",
    "lone \ud800 surrogate",
    "</style><style>*{display:none}",
    "{{ 7 * 7 }} {% raw %}",
    " ",
)
VOID = {"meta", "br", "wbr", "img", "link", "input", "hr", "base"}
NEVER = {
    "script",
    "link",
    "img",
    "iframe",
    "object",
    "embed",
    "base",
    "form",
    "image",
    "foreignobject",
    "audio",
    "video",
}


class Page(HTMLParser):
    """Reads a page and keeps what a test asks about."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


def quiet(page: str) -> Page:
    """The page, after checking that it asks the network for nothing and runs nothing."""
    read = Page(page)
    assert NEVER.isdisjoint(read.tags)
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert all(value.startswith("#") for value in read.values("href"))
    assert not read.values("src")
    assert re.findall(r"url\((?!#)|@import", page) == []
    assert len(set(read.values("id"))) == len(read.values("id"))
    targets = {value.removeprefix("#") for value in [*read.values("href"), *read.values("aria-labelledby")]}
    assert targets <= set(read.values("id"))
    assert "\x00" not in page
    page.encode("utf-8")
    return read


def hostile() -> RunRecord:
    record = classification(HOSTILE, [9 + place for place in range(len(HOSTILE))], total=60)
    sample = Sample(tuple(Piece(text, counted=bool(place % 2)) for place, text in enumerate(HOSTILE)), 9, HOSTILE[0])
    return replace(
        record,
        base=PretrainedRecord("file:///" + HOSTILE[0], None, HOSTILE[1], (stored(HOSTILE[2], 1),), 10_000, 10_000),
        data=replace(
            record.data, files=tuple(stored(label, 10) for label in HOSTILE), notes=HOSTILE, samples=(sample,)
        ),
        errors=tuple(ShownError(sample, text, 2.5, text) for text in HOSTILE),
        job=job(dataset={"uri": "file:///<script>.csv", "columns": {"text": "<b>", "label": "$x$"}}),
        device="<script>",
        versions={"<script>": "$x$"},
    )


def many(labels: int) -> RunRecord:
    return classification(tuple(f"label {number}" for number in range(labels)), [6] * labels, total=90)


def without_curves(record: RunRecord) -> RunRecord:
    return replace(record, steps=())


def with_losses(*losses: float) -> RunRecord:
    made = tuple(
        replace(step, loss=loss, gradient_norm=loss) for step, loss in zip(steps(len(losses)), losses, strict=True)
    )
    return replace(classification(total=len(losses)), steps=made)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(classification(), id="a classifier of two labels"),
        pytest.param(causal(), id="a decoder"),
        pytest.param(regression(), id="a regression"),
        pytest.param(regression(numbers=6), id="a regression of more numbers than plots"),
        pytest.param(many(30), id="the most labels of a heat map"),
        pytest.param(many(40), id="more labels than a heat map shows"),
        pytest.param(many(1000), id="a thousand labels"),
        pytest.param(hostile(), id="hostile labels, names and files"),
        pytest.param(run(job()), id="nothing happened"),
        pytest.param(replace(classification(), evaluations=()), id="no evaluation"),
        pytest.param(replace(classification(), steps=()), id="no step"),
        pytest.param(classification(total=1), id="a single step"),
        pytest.param(with_losses(*[math.nan] * 50), id="no loss is a number"),
        pytest.param(
            with_losses(0.7, math.inf, -math.inf, math.nan, 1e308, -1e308, 1e-308, 0.1), id="losses out of bounds"
        ),
        pytest.param(with_losses(*[0.0] * 25), id="every loss is zero"),
        pytest.param(with_losses(*[0.5] * 25), id="every loss is the same"),
        pytest.param(with_losses(0.5, 1e29, *[0.5] * 40), id="one loss is enormous"),
    ],
)
def test_the_page_is_well_formed_and_quiet(record: RunRecord) -> None:
    page = quiet(render_report(record))
    assert ("meta", "content") in {(tag, name) for tag, name, _ in page.attributes}
    assert any(value.startswith("default-src 'none'") and "script" not in value for value in page.values("content"))


def test_the_same_run_gives_the_same_bytes() -> None:
    assert render_report(classification(total=30)) == render_report(classification(total=30))


def test_the_page_tells_the_verdict_and_the_metrics() -> None:
    record = without_curves(classification())
    page = quiet(render_report(record)).text
    assert "✓ Succeeded" in page
    assert "The requirement was met." in page
    assert f"{record.final_metrics()['test/accuracy']:.4f}" in page


def test_a_missed_requirement_is_named_with_its_numbers() -> None:
    page = quiet(render_report(without_curves(causal()))).text
    assert "✕ Requirement missed" in page
    assert "test/perplexity is 10.07; at most 10.0 was required." in page
    assert "All 2" not in page


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(0.8499996, "0.8499996", id="a value that would round to its bound keeps its digits"),
        pytest.param(0.781249999, "0.7812", id="a value far from its bound is rounded"),
        pytest.param(math.nan, "NaN", id="what is not a number meets nothing"),
    ],
)
def test_a_missed_requirement_never_looks_met(value: float, shown: str) -> None:
    record = run(job(), requirements=(RequirementResult("test/accuracy", value, 0.85, None),))
    page = quiet(render_report(record)).text
    assert f"at least 0.85 {shown} ✕ missed" in page
    assert f"test/accuracy is {shown}; at least 0.85 was required." in page


def test_a_run_in_which_nothing_happened_says_so() -> None:
    page = quiet(render_report(run(job()))).text
    assert "The run made no step." in page
    assert "The manifest set no requirement." in page


def test_the_heat_map_has_each_count_and_its_share_of_the_true_label() -> None:
    labels = ("fresh", "rotten")
    judged = evaluation(labels, "test", 10, 1.0, 0.4, ((90, 10), (3, 5)))
    page = quiet(render_report(replace(without_curves(classification()), evaluations=(judged,))))
    for cell in ("90 90.0 %", "10 10.0 %", "3 37.5 %", "5 62.5 %"):
        assert cell in page.text


def test_beyond_thirty_labels_the_most_frequent_confusions_are_listed() -> None:
    labels = tuple(f"label {number}" for number in range(31))
    matrix = [[0] * 31 for _ in range(31)]
    matrix[7][3], matrix[7][7], matrix[2][30] = 6, 2, 5
    judged = evaluation(labels, "test", 10, 1.0, 0.4, tuple(map(tuple, matrix)))
    page = quiet(render_report(replace(without_curves(classification(labels, [4] * 31)), evaluations=(judged,)))).text
    assert "Confusion matrix" not in page
    assert "label 7 label 3 6 75.0 % label 2 label 30 5 100.0 %" in page


def test_a_thousand_labels_show_the_worst_and_fold_the_others() -> None:
    page = quiet(render_report(without_curves(many(1000))))
    assert "details" in page.tags
    assert "The other 950 labels" in page.text


def test_a_long_label_is_shortened_with_more_of_it_in_the_tooltip() -> None:
    label = "very " * 40
    page = quiet(render_report(without_curves(classification((label, "short"), [20, 20]))))
    assert label.strip() not in page.text
    assert label.strip() in {title.strip() for title in page.values("title")}


def test_a_decoder_is_told_by_its_perplexity_before_and_after() -> None:
    page = quiet(render_report(causal())).text
    assert "test perplexity 10.07 35.87 before training" in page
    assert "Perplexity by epoch" in page
    assert "Confusion" not in page


def test_an_infinite_perplexity_is_shown_as_such() -> None:
    record = without_curves(causal())
    last = replace(record.evaluations[-1], metrics={"loss": 1000.0, "perplexity": math.inf})
    assert (
        "test perplexity ∞" in quiet(render_report(replace(record, evaluations=(*record.evaluations[:-1], last)))).text
    )


def test_each_chart_speaks_to_those_who_cannot_see_it() -> None:
    page = quiet(render_report(classification(total=300)))
    spoken = page.values("aria-label")
    assert page.values("role").count("img") == 5
    assert any(words.startswith("Training loss over 300 steps: first ") for words in spoken)


def test_a_hundred_thousand_steps_make_a_small_page() -> None:
    record = replace(classification(), steps=steps(100_000))
    assert len(render_report(record).encode()) < 2_000_000


def test_a_template_in_a_label_is_text() -> None:
    labels = ("{{ 7 * 7 }}", "b")
    record = without_curves(replace(classification(labels, [5, 5]), data=data(labels, [5, 5])))
    assert "{{ 7 * 7 }}" in quiet(render_report(record)).text


def test_settings_and_provenance_are_complete() -> None:
    record = without_curves(classification())
    page = quiet(render_report(record)).text
    for words in ("globalBatchSize: 32", "weightDecay: 0.0", "ZeRO stage 2", record.run_id):
        assert words in page
    for file in (*record.base.files, *record.data.files):
        assert file.name in page
        assert file.sha256 in page


def test_the_matrix_of_made_up_runs_has_the_rows_it_was_asked_for() -> None:
    assert [sum(line) for line in confusion_of([5, 7, 0], 0.5)] == [5, 7, 0]


def test_the_page_shows_rows_as_the_model_sees_them_with_what_the_loss_counts_marked() -> None:
    page = render_report(causal())
    assert "<mark>Is the cable plugged in?&lt;|im_end|&gt;\n</mark>" in page
    assert "&lt;|im_start|&gt;user\nMy screen stays black." in page
    assert "[CLS] the film of row 1 [SEP] → rotten 9 tokens" in quiet(render_report(classification())).text


def test_what_is_noted_of_the_data_is_worth_knowing() -> None:
    """T15."""
    record = without_curves(causal())
    note = "50.0 % of the rows (406 of 812) were dropped"
    page = quiet(render_report(replace(record, data=replace(record.data, notes=(note,))))).text
    assert page.index("Worth knowing") < page.index(note) < page.index("Requirements", page.index("Worth knowing"))


def test_the_worst_errors_are_shown_with_what_was_expected_and_answered() -> None:
    sample = Sample((Piece("[CLS] a dull film [SEP]", counted=False),), 6, "rotten")
    right = Sample((Piece("[CLS] a fine film [SEP]", counted=False),), 6, "fresh")
    errors = (
        ShownError(sample, "s3://data/a.csv, line 7", 4.25, "fresh"),
        ShownError(right, "s3://data/a.csv, line 9", 0.7, "fresh"),
    )
    page = quiet(render_report(replace(without_curves(classification()), errors=errors))).text
    assert "Worst errors the 2 rows of the test split with the greatest loss" in page
    assert "[CLS] a dull film [SEP] → rotten answered fresh loss 4.25, 6 tokens, s3://data/a.csv, line 7" in page
    assert "→ fresh answered the same loss 0.7" in page
    assert "Worst errors" not in quiet(render_report(without_curves(classification()))).text


def test_slices_are_shown_beside_all_rows() -> None:
    record = without_curves(classification())
    last = record.evaluations[-1]
    worse = {name: value * 0.9 for name, value in last.metrics.items()}
    german = SliceRecord("german", 118, worse, {"accuracy": Interval(0.71, 0.8123)})
    judged = replace(last, slices=(german, SliceRecord("long-ones", 7, last.metrics)))
    page = quiet(render_report(replace(record, evaluations=(*record.evaluations[:-1], judged))))
    assert f"german 118 {worse['accuracy']:.4f} 0.7100 to 0.8123" in page.text
    assert f"all rows {last.metrics['accuracy']:.4f}" in page.text
    # A lower loss is no worse.
    assert page.values("class").count("n bar warn") == 2
    assert "Slices" not in quiet(render_report(record)).text


def test_the_best_value_over_time_is_marked_and_told_where_it_was_not_published() -> None:
    record = classification()
    first, *others = record.evaluations
    better = replace(first, metrics={**first.metrics, "accuracy": 0.9871})
    page = render_report(replace(record, evaluations=(better, *others)))
    assert "<mark>0.9871</mark>" in page
    text = quiet(page).text
    assert "best on validation at epoch 1: 0.9871" in text
    assert "best accuracy: epoch 1" in text


def test_each_headline_tells_how_sure_it_is() -> None:
    page = quiet(render_report(without_curves(classification()))).text
    low, high = classification().evaluations[-1].intervals["accuracy"]
    assert f"{low:.4f} to {high:.4f} with 95 % confidence, on 1,281 rows" in page
    assert "without intervals" not in page


def test_how_sure_a_metric_of_answers_is_tells_of_how_many_rows_it_is() -> None:
    record, sureness = causal(), Interval(0.25, 0.35)
    last = record.evaluations[-1]
    judged = replace(last, metrics={**last.metrics, "rouge_l": 0.3}, intervals={"loss": sureness, "rouge_l": sureness})
    writing = job("CausalLM", evaluation={"generation": {"maxRows": 20}})
    page = quiet(render_report(replace(record, job=writing, evaluations=(*record.evaluations[:-1], judged)))).text
    assert "0.2500 to 0.3500 with 95 % confidence, on 20 rows" in page
    assert "0.2500 to 0.3500 with 95 % confidence, on 80 rows" in page


def test_an_evaluation_without_intervals_says_so() -> None:
    assert (
        "without intervals: rows are compared with each other, or what is counted is too large"
        in quiet(render_report(causal())).text
    )


def test_names_of_metrics_break_so_that_every_column_is_seen() -> None:
    assert '<th scope="col" class="n">precision_<wbr>macro</th>' in render_report(classification())
