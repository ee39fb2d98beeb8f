"""`README.md`: the model card, in the form that the Hugging Face hub reads."""

import math

from huggingface_hub import EvalResult, ModelCardData

from kubetune_api import text
from kubetune_api.metrics import metric_row
from kubetune_api.schemes import hub_name
from kubetune_api.tasks import TASKS
from kubetune_trainer.model.adapter import base_of
from kubetune_trainer.records import RunRecord
from kubetune_trainer.report import findings
from kubetune_trainer.report.details import details_section
from kubetune_trainer.report.inputs import MOST_FILES, cleaning_bars, manifest_yaml
from kubetune_trainer.report.templating import markdown_environment
from kubetune_trainer.report.verdict import verdict
from kubetune_trainer.storage.locations import Location
from kubetune_trainer.tasks import task_of


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
        "card": task_of(record.job.spec).card(record.job.spec, record.data),
        "verdict": verdict(record.requirements),
        "model_uri": model_uri,
        "on_this_disk": model.path is not None,
        "snippet": _snippet(record, model),
        "base_loads": base_of(record.base.uri, None)[0] != record.base.uri,
        "cleaning": cleaning_bars(record.data),
        "metrics": sorted(record.final_metrics().items()),
        "intervals": record.final_intervals(),
        "judged": judged,
        "section": details_section(judged),
        "findings": findings.findings(record),
        "manifest": manifest_yaml(record),
        "most_files": MOST_FILES,
    }
    return markdown_environment().get_template("card.md.j2").render(context)


def front_matter(record: RunRecord) -> str:
    """The YAML that the hub indexes. It names no licence: that of the base model and of the data is not known here."""
    pipeline = TASKS[record.job.spec.task.type].pipeline[0]
    base = hub_name(record.base.uri)
    data = hub_name(record.job.spec.dataset.uri)
    adapter = record.job.spec.method.publishes_adapter
    results = _results(record)
    card = ModelCardData(
        base_model=base,
        base_model_relation=("adapter" if adapter else "finetune") if base else None,
        datasets=[data] if data else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=pipeline,
        tags=["kubetune", "generated-from-trainer", text.elide(text.printable(record.base.family))],
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=record.job.metadata.name if results else None,
        eval_results=results or None,
    )
    return card.to_yaml().strip()


def _results(record: RunRecord) -> list[EvalResult]:
    task, task_name = TASKS[record.job.spec.task.type].pipeline
    return [
        EvalResult(
            task_type=task,
            task_name=task_name,
            dataset_type=hub_name(record.job.spec.dataset.uri) or "custom",
            dataset_name=text.elide(text.printable(record.job.spec.dataset.uri), 200),
            dataset_split=split,
            metric_type=metric_type,
            metric_name=metric,
            metric_value=round(value, 6),
            metric_args={"average": average} if average else None,
        )
        for name, value in sorted(record.final_metrics().items())
        for split, metric in [name.split("/", 1)]
        for metric_type, average in [metric_row(metric).hub or (metric, None)]
        if math.isfinite(value)
    ]


def _snippet(record: RunRecord, model: Location) -> str:
    card = task_of(record.job.spec).card(record.job.spec, record.data)
    names = {"folder": str(model.path or model.name), "head": card.model_class, "use": card.usage}
    if not record.job.spec.method.publishes_adapter:
        return _SNIPPET.format(**names) + card.elsewhere
    base, revision = base_of(record.base.uri, record.base.revision)
    return _ADAPTER_SNIPPET.format(**names, base=base, revision=f"revision={revision!r}, " if revision else "")


_ADAPTER_SNIPPET = """\
from peft import PeftModel
from transformers import AutoConfig, {head}, AutoTokenizer

base, folder = {base!r}, {folder!r}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {head}.from_pretrained(base, {revision}config=AutoConfig.from_pretrained(folder))
model = PeftModel.from_pretrained(model, folder)
{use}"""
_SNIPPET = """\
from transformers import {head}, AutoTokenizer

folder = {folder!r}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {head}.from_pretrained(folder)
{use}"""
