"""`README.md`: the model card, in the form that the Hugging Face hub reads."""

import math

from huggingface_hub import EvalResult, ModelCardData

from kubetune_api.schemes import HUB, scheme_of
from kubetune_trainer.records import RunRecord
from kubetune_trainer.report import findings, text
from kubetune_trainer.report.classes import MOST_ROWS
from kubetune_trainer.report.inputs import MOST_FILES, cleaning_bars, manifest_yaml
from kubetune_trainer.report.templating import markdown_environment
from kubetune_trainer.report.verdict import verdict
from kubetune_trainer.storage.locations import Location

# Our metric, the hub's name for it, and how it is averaged.
_HUB_METRICS = {
    "accuracy": ("accuracy", None),
    "f1_macro": ("f1", "macro"),
    "precision_macro": ("precision", "macro"),
    "recall_macro": ("recall", "macro"),
    "perplexity": ("perplexity", None),
    "loss": ("loss", None),
}
_PIPELINES = {
    "SequenceClassification": ("text-classification", "Text Classification"),
    "CausalLM": ("text-generation", "Text Generation"),
}


def render_card(record: RunRecord, model_uri: str) -> str:
    """The card, to be written as UTF-8.

    `model_uri` is the URI of the folder that `from_pretrained` reads; where it is not on this machine's disk, the card
    says to copy it first.
    """
    model = Location.parse(model_uri)
    judged = findings.headline(record)
    context = {
        "front_matter": front_matter(record),
        "record": record,
        "job": record.job,
        "spec": record.job.spec,
        "causal": record.job.spec.task.type == "CausalLM",
        "verdict": verdict(record.requirements),
        "model_uri": model_uri,
        "on_this_disk": model.path is not None,
        "snippet": _snippet(record, model),
        "cleaning": cleaning_bars(record.data),
        "metrics": sorted(record.final_metrics().items()),
        "judged": judged,
        "classes": judged.per_class[:MOST_ROWS] if judged else (),
        "findings": findings.findings(record),
        "manifest": manifest_yaml(record),
        "most_files": MOST_FILES,
    }
    return markdown_environment().get_template("card.md.j2").render(context)


def front_matter(record: RunRecord) -> str:
    """The YAML that the hub indexes. It names no licence: that of the base model and of the data is not known here."""
    pipeline = _PIPELINES[record.job.spec.task.type][0]
    base = _hub_name(record.base.uri)
    data = _hub_name(record.job.spec.dataset.uri)
    results = _results(record)
    card = ModelCardData(
        base_model=base,
        base_model_relation="finetune" if base else None,
        datasets=[data] if data else None,
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=["kubetune", "generated-from-trainer", text.elide(text.printable(record.base.family))],
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=record.job.metadata.name if results else None,
        eval_results=results or None,
    )
    return card.to_yaml().strip()


def _results(record: RunRecord) -> list[EvalResult]:
    task, task_name = _PIPELINES[record.job.spec.task.type]
    return [
        EvalResult(
            task_type=task,
            task_name=task_name,
            dataset_type=_hub_name(record.job.spec.dataset.uri) or "custom",
            dataset_name=text.elide(text.printable(record.job.spec.dataset.uri), 200),
            dataset_split=split,
            metric_type=hub_name,
            metric_name=metric,
            metric_value=round(value, 6),
            metric_args={"average": average} if average else None,
        )
        for name, value in sorted(record.final_metrics().items())
        for split, metric in [name.split("/", 1)]
        for hub_name, average in [_HUB_METRICS.get(metric, (metric, None))]
        if math.isfinite(value)
    ]


def _hub_name(uri: str) -> str | None:
    """`owner/name` of a URI of the hub; nothing else has a name that it knows."""
    if scheme_of(uri) != HUB:
        return None
    path = uri.removeprefix(f"{HUB}://").removeprefix("datasets/").removeprefix("models/")
    return "/".join(path.split("/")[:2])


def _snippet(record: RunRecord, model: Location) -> str:
    folder = str(model.path or model.name)
    head = "AutoModelForCausalLM" if record.job.spec.task.type == "CausalLM" else "AutoModelForSequenceClassification"
    use = _USE_OF_CAUSAL if record.job.spec.task.type == "CausalLM" else _USE_OF_CLASSIFIER
    return _SNIPPET.format(folder=folder, head=head, use=use)


_SNIPPET = """\
from transformers import {head}, AutoTokenizer

folder = {folder!r}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {head}.from_pretrained(folder)
{use}"""
_USE_OF_CLASSIFIER = """
inputs = tokenizer("A text to classify.", truncation=True, return_tensors="pt")
scores = model(**inputs).logits.softmax(-1)[0]
print({model.config.id2label[place]: round(score.item(), 4) for place, score in enumerate(scores)})
"""
_USE_OF_CAUSAL = """
prompt = "A prompt."
if tokenizer.chat_template:
    messages = [{"role": "user", "content": prompt}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
inputs = tokenizer(prompt, add_special_tokens=not tokenizer.chat_template, return_tensors="pt")
answer = model.generate(**inputs, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""
