"""The model card: the hub reads its front matter, people its Markdown, and no tenant's text changes either."""

import ast
import math
from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token

from kubetune_trainer.artifact.manifest import manifest
from kubetune_trainer.records import PretrainedRecord, RunRecord, StoredFile
from kubetune_trainer.report import render_card, render_report
from support.run_records import causal, classification, evaluation, job, regression, run, stored

STORED = "s3://models/team-a/film-reviews/0f8f/executions/1/model"
HOSTILE = (
    "a | b",
    "**bold** _it_ `code` ``two``",
    "`",
    "new\nline\n\n# heading",
    "<script>alert(1)</script>",
    "[link](javascript:alert(1))",
    "\\| escaped \\",
    "---",
    "日本語 👩‍👩‍👧 \u202e \x00 \ud800",
    "  ",
)


QUOTED = "The labels 'billing' and \"Billing\" & #3 <b>"


def front_matter(card: str) -> dict[str, Any]:
    start, matter, _ = card.split("---\n", 2)
    assert start == ""
    found = yaml.safe_load(matter)
    assert isinstance(found, dict)
    return found


def tokens(card: str) -> list[Token]:
    """The body as a strict reader of GitHub's Markdown sees it, with raw HTML let through."""
    body = card.split("---\n", 2)[2]
    parsed = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body)
    return [inner for token in parsed for inner in (token, *(token.children or ()))]


def tables(card: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for place, token in enumerate(every := tokens(card)):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("td_open", "th_open"):
            found[-1][-1].append("".join(child.content for child in every[place + 1].children or ()))
    return found


def table_of(card: str, *head: str) -> list[list[str]]:
    return next(table[1:] for table in tables(card) if tuple(table[0]) == head)


def hostile() -> RunRecord:
    record = classification(HOSTILE, [9] * len(HOSTILE), total=30)
    files = tuple(stored(f"file:///data/{label}", 10) for label in HOSTILE)
    return replace(
        record,
        base=PretrainedRecord("file:///" + HOSTILE[0], None, HOSTILE[4], files, 10_000, 10_000),
        data=replace(record.data, files=files),
        job=job(dataset={"uri": "file:///`<b>`|.csv", "columns": {"text": "```\n---", "label": "a: b"}}),
        device=HOSTILE[1],
        versions={HOSTILE[4]: HOSTILE[0]},
    )


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(classification(total=30), id="a classifier"),
        pytest.param(causal(), id="a decoder"),
        pytest.param(regression(), id="a regression"),
        pytest.param(hostile(), id="hostile labels, names and files"),
        pytest.param(run(job()), id="nothing happened"),
    ],
)
def test_the_hubs_own_reader_takes_the_card(record: RunRecord) -> None:
    text = render_card(record, STORED)
    card = ModelCard(text)
    assert card.data.to_dict().keys() >= {"library_name", "pipeline_tag", "tags"}
    assert front_matter(text) == yaml.safe_load(card.data.to_yaml())
    assert text.encode("utf-8")


def test_the_front_matter_names_the_base_model_and_no_licence() -> None:
    found = front_matter(render_card(classification(total=30), STORED))
    assert found["base_model"] == "google-bert/bert-base-uncased"
    assert found["base_model_relation"] == "finetune"
    assert found["pipeline_tag"] == "text-classification"
    assert found["tags"] == ["kubetune", "generated-from-trainer", "bert"]
    assert "license" not in found


def test_a_base_model_that_the_hub_does_not_have_is_named_in_the_text_alone() -> None:
    card = render_card(causal(), STORED)
    assert "base_model" not in front_matter(card)
    assert front_matter(card)["pipeline_tag"] == "text-generation"
    assert "`file:///models/SmolLM2-135M-Instruct`" in card


def test_a_dataset_of_the_hub_is_named_by_its_repository() -> None:
    dataset = {
        "uri": "hf://datasets/stanfordnlp/imdb/plain_text/*.parquet",
        "revision": "e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
        "columns": {"text": "text", "label": "label"},
    }
    assert front_matter(render_card(run(job(dataset=dataset)), STORED))["datasets"] == ["stanfordnlp/imdb"]


def test_the_index_has_the_final_metric_of_each_split() -> None:
    record = classification(total=30)
    card = ModelCard(render_card(record, STORED))
    results = {(result.dataset_split, result.metric_name): result for result in card.data.eval_results or ()}
    for name, value in record.final_metrics().items():
        split, metric = name.split("/")
        assert results[split, metric].metric_value == pytest.approx(value, abs=1e-6)
    assert results["test", "f1_macro"].metric_type == "f1"
    assert results["test", "f1_macro"].metric_args == {"average": "macro"}


def test_the_results_have_their_intervals() -> None:
    record = classification(total=30)
    table = {
        row[0]: row[1:] for row in table_of(render_card(record, STORED), "Metric", "Value", "With 95 % confidence")
    }
    low, high = record.evaluations[-1].intervals["f1_macro"]
    assert table["test/f1_macro"][1] == f"{low:.4f} to {high:.4f}"
    assert table["validation/f1_macro"][1] == ""


def test_a_metric_that_is_no_number_is_left_out_of_the_index() -> None:
    record = causal()
    last = replace(record.evaluations[-1], metrics={"loss": 9.5, "perplexity": math.inf})
    card = render_card(replace(record, evaluations=(last,)), STORED)
    results = ModelCard(card).data.eval_results or []
    assert [result.metric_name for result in results] == ["loss"]
    assert ["test/perplexity", "∞"] in table_of(card, "Metric", "Value")


def test_hostile_labels_fill_one_cell_each() -> None:
    card = render_card(hostile(), STORED)
    rows = table_of(card, "Label", "Rows", "Precision", "Recall", "F1")
    assert [len(row) for row in rows] == [5] * len(HOSTILE)
    assert [row[0] for row in rows] == [
        "a | b",
        "**bold** _it_ `code` ``two``",
        "`",
        "new line  # heading",
        "<script>alert(1)</script>",
        "[link](javascript:alert(1))",
        "\\| escaped \\",
        "---",
        r"日本語 👩‍👩‍👧 \u202e \x00 \ud800",
        "(blank)",
    ]


def test_a_hostile_card_holds_no_html_no_link_and_no_heading_of_a_tenant() -> None:
    found, plain = tokens(render_card(hostile(), STORED)), tokens(render_card(classification(total=30), STORED))
    assert {token.type for token in found}.isdisjoint({"html_inline", "html_block", "link_open", "image"})
    assert [token.type for token in found].count("heading_open") == [token.type for token in plain].count(
        "heading_open"
    )


def test_the_settings_are_yaml_that_gives_the_manifest_back() -> None:
    record = hostile()
    (block,) = [
        token for token in tokens(render_card(record, STORED)) if token.type == "fence" and token.info == "yaml"
    ]
    assert yaml.safe_load(block.content) == record.job.resolved.to_dict()


def test_the_settings_are_the_resolved_ones_and_say_so() -> None:
    record = classification(total=30)
    card = render_card(record, STORED)
    (block,) = [token for token in tokens(card) if token.type == "fence" and token.info == "yaml"]
    spec = yaml.safe_load(block.content)["spec"]
    dataset = spec["dataset"]
    assert dataset["stratify"] is True
    assert spec["task"]["maxLength"] == record.job.spec.max_length
    assert spec["training"]["optimizer"]["beta1"] == 0.9
    assert "testFraction" not in dataset
    assert (
        "as it was resolved,\nwith defaults and what was planned filled in; a field that is not there was not set:"
        in card
    )


@pytest.mark.parametrize(
    ("record", "uri", "folder", "words"),
    [
        pytest.param(
            classification(total=30),
            "file:///home/me/my%20models/reviews/model",
            "/home/me/my models/reviews/model",
            "The model is in",
            id="a folder of this machine is read where it lies",
        ),
        pytest.param(causal(), STORED, "model", "Copy the folder", id="what lies in a bucket is copied first"),
        pytest.param(
            causal(), "file:///o'clock/a\"b\\c/model", "/o'clock/a\"b\\c/model", "is in", id="a folder with quotes"
        ),
    ],
)
def test_the_snippet_is_python_that_reads_the_models_folder(
    record: RunRecord, uri: str, folder: str, words: str
) -> None:
    card = render_card(record, uri)
    (block,) = [token for token in tokens(card) if token.type == "fence" and token.info == "python"]
    assigned = [node for node in ast.walk(ast.parse(block.content)) if isinstance(node, ast.Assign)]
    assert ast.literal_eval(assigned[0].value) == folder
    assert "from_pretrained(folder)" in block.content
    assert words in card


def test_a_missed_requirement_stands_at_the_top_and_in_its_table() -> None:
    card = render_card(causal(), STORED)
    assert "**Requirement missed.** test/perplexity is 10.07; at most 10.0 was required." in card
    assert ["test/perplexity", "at most 10.0", "10.07", "missed"] in table_of(card, "Metric", "Required", "Value", "")


def test_the_cleaning_adds_up() -> None:
    record = classification(total=30)
    rows = table_of(render_card(record, STORED), "Cleaning", "Rows", "Left")
    assert rows[0][2] == f"{record.data.rows_read:,}"
    assert rows[-1][2] == f"{sum(split.rows for split in record.data.splits):,}"


def test_many_labels_are_cut_with_a_word_where_the_others_are() -> None:
    labels = tuple(f"label {number}" for number in range(60))
    judged = evaluation(labels, "test", 1, 1.0, 0.5, tuple(tuple(int(x == y) for x in range(60)) for y in range(60)))
    card = render_card(run(job(), evaluations=(judged,)), STORED)
    assert len(table_of(card, "Label", "Rows", "Precision", "Recall", "F1")) == 50
    assert "The other 10 labels are in `report.html`." in card


def test_notes_with_quotes_and_signs_read_as_they_were_written() -> None:
    record = classification(("a", "b"), [9, 9], total=18)
    card = render_card(replace(record, data=replace(record.data, notes=(QUOTED,))), STORED)
    assert any(
        token.type == "inline" and QUOTED in "".join(part.content for part in token.children or ())
        for token in tokens(card)
    )


@pytest.mark.parametrize(
    ("uri", "revision", "shown"),
    [
        ("hf://owner/base", "0" * 40, f"from_pretrained(base, revision='{'0' * 40}', config="),
        ("s3://models/base", None, "from_pretrained(base, config="),
    ],
)
def test_an_adapter_is_shown_beside_its_base(uri: str, revision: str | None, shown: str) -> None:
    model = {"uri": uri, **({"revision": revision} if revision else {})}
    record = replace(classification(), job=job(method={"type": "LoRA"}, model=model))
    record = replace(record, base=replace(record.base, uri=uri, revision=revision))
    card = render_card(record, STORED)
    assert shown in card
    assert "model = PeftModel.from_pretrained(model, folder)" in card
    assert ("give its folder as `base`" in card) == uri.startswith("s3://")
    matter = front_matter(card)
    assert matter["library_name"] == "peft"
    assert matter.get("base_model_relation") == ("adapter" if revision else None)
    merged = replace(record, job=job(method={"type": "LoRA", "lora": {"publish": "Merged"}}, model=model))
    assert "peft" not in render_card(merged, STORED).partition("## Settings")[0]


def test_the_adapter_that_was_trained_on_is_named() -> None:
    model = {"uri": "hf://owner/adapter", "revision": "1" * 40}
    record = run(job(method={"type": "LoRA"}, model=model))
    adapter = (StoredFile("hf://owner/adapter/a", 1, "0" * 64),)
    record = replace(record, base=replace(record.base, adapter=adapter))
    assert f"went on from the adapter `hf://owner/adapter` at `{'1' * 40}`" in render_card(record, STORED)
    assert "Trained on from" in render_report(record)
    assert "hf://owner/adapter" in render_report(record)
    provenance = manifest(record, [], folder="executions/1")["provenance"]
    assert provenance["adapter"]["uri"] == "hf://owner/adapter"
    assert provenance["adapter"]["files"] == [{"uri": "hf://owner/adapter/a", "size": 1, "sha256": "0" * 64}]
    assert provenance["baseModel"]["uri"] == record.base.uri
    assert "adapter" not in manifest(run(job()), [], folder="executions/1")["provenance"]


def test_another_library_is_shown_for_a_whole_model_alone() -> None:
    def card(method: dict[str, Any]) -> str:
        columns = {"anchor": "question", "positive": "answer"}
        dataset = {"uri": "file:///data/pairs.jsonl", "columns": columns}
        return render_card(run(job("Embedding", method=method, dataset=dataset)), STORED)

    assert "SentenceTransformer(folder)" in card({"type": "Full"})
    assert "SentenceTransformer(folder)" in card({"type": "LoRA", "lora": {"publish": "Merged"}})
    assert "SentenceTransformer" not in card({"type": "LoRA"})
