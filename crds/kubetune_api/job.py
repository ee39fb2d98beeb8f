"""`FineTuneJob`: one fine-tuning run, from a pretrained model and a dataset to a verified model in object storage."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from kubetune_api.base import ApiModel, ColumnName, Label, Rule, Uri, words
from kubetune_api.status import FineTuneJobStatus

DEFAULT_HELD_OUT = 0.1
"""The share of the rows that each held-out split gets when the manifest does not say."""
DEFAULT_MICRO_BATCH_SIZE = 8
"""The examples that one worker takes at a time when neither the manifest nor the planner says."""
MAX_NAME_LENGTH = 37
"""KubeRay takes RayJob names of up to 47 characters; `-<uid5>-<attempt>` needs ten of them."""

GitRevision = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{40}$", max_length=40),
    Field(json_schema_extra=words("the full commit, 40 hexadecimal digits in lower case")),
]
MetricName = Annotated[
    str,
    StringConstraints(
        pattern=r"^(validation|test)/(loss|accuracy|precision_macro|recall_macro|f1_macro|perplexity)$", max_length=64
    ),
    Field(
        json_schema_extra=words(
            "`validation/` or `test/`, then loss, accuracy, precision_macro, recall_macro, f1_macro or perplexity"
        )
    ),
]
ModelUri = Annotated[
    str,
    StringConstraints(pattern=r"^(file|s3|gs|az|hf)://.+$", min_length=1, max_length=1024),
    Field(json_schema_extra=words("a URI that starts with file://, s3://, gs://, az:// or hf://, then the path")),
]
DatasetUri = ModelUri
OutputUri = Annotated[
    str,
    StringConstraints(pattern=r"^(file|s3|gs|az)://.+$", min_length=1, max_length=1024),
    Field(json_schema_extra=words("a URI that starts with file://, s3://, gs:// or az://, then the path")),
]

_NAME_WORDS = "lowercase letters, digits and `-`, which starts and ends no name"
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
ProfileName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=_NAME),
    Field(json_schema_extra=words(f"the name of a FineTuneProfile: at most 63 {_NAME_WORDS}")),
]
SecretName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
    Field(json_schema_extra=words("the name of a Secret: lowercase letters, digits, `-` and `.`")),
]
QueueName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=_NAME),
    Field(json_schema_extra=words(f"the name of a queue or class: at most 63 {_NAME_WORDS}")),
]


def _no_uri_like(pattern: str, message: str, *, quotes_value: bool = True) -> Rule:
    """The rule that no `uri` matches; the pattern in what RE2 and Python read alike, without backslash and quote."""
    return Rule(
        cel=f"!self.uri.matches('{pattern}')",
        message=message,
        holds=lambda part: re.search(pattern, part.uri) is None,
        field="uri",
        quotes_value=quotes_value,
    )


# Paths of `file://` are tidied up when the manifest is read: `.`, `..` and `//` may stand there.
_URI_RULES = (
    _no_uri_like(
        "^(s3|gs|az|hf)://[^/]*[@:]",
        "credentials do not belong into a URI, so no `@` and no `:` stands in its first part; use the standard"
        " environment variables",
        quotes_value=False,
    ),
    _no_uri_like("^(s3|gs|az|hf):///", "the URI has no first part; name the bucket there, as in s3://bucket/path"),
    _no_uri_like(
        "^(s3|gs|az|hf)://(.*/)?([.][.]?(/|$)|[^/]+//)",
        "the path of the URI holds an empty part, `.` or `..`; write the path in full",
    ),
)
_REVISION_OF_DATA = "a revision, 40 hexadecimal digits, goes with an hf:// dataset and with no other"


def _is_hub(uri: str) -> bool:
    return uri.startswith("hf://")


class Model(ApiModel):
    """The pretrained model to start from."""

    uri: ModelUri
    """Where the model is: a folder (`file:///path`, `s3://bucket/path`, `gs://…`, `az://…`) that holds `config.json`,
    safetensors weights and a tokenizer, or one GGUF file; or a repository of the Hugging Face hub
    (`hf://owner/name`). `file://./path` and `file://../path` start at the manifest's folder, in a local run. Pickled
    weights and remote code are never loaded."""
    revision: GitRevision | None = None
    """The commit of the hub repository, 40 hexadecimal digits. Required with `hf://`, meaningless elsewhere."""

    rules: ClassVar = (
        *_URI_RULES,
        Rule(
            cel="!self.uri.startsWith('hf://') || has(self.revision)",
            message="a model of the hub needs its commit, 40 hexadecimal digits, so that a retrain starts from the same"
            " weights; the page 'Files and versions' of the model shows it",
            holds=lambda model: not _is_hub(model.uri) or model.revision is not None,
            field="revision",
        ),
        Rule(
            cel="self.uri.startsWith('hf://') || !has(self.revision)",
            message="only hf:// models have a revision; remove it, or name the version in the path of the URI",
            holds=lambda model: _is_hub(model.uri) or model.revision is None,
            field="revision",
        ),
    )


class Task(ApiModel):
    """What the model learns to do."""

    type: Literal["SequenceClassification", "CausalLM"]
    """`SequenceClassification` puts a new softmax head on the model and trains it with cross-entropy on labelled texts.
    `CausalLM` continues a prompt with its completion; the loss counts the completion's tokens only."""
    labels: (
        Annotated[
            list[Label], Field(min_length=2, max_length=1000, json_schema_extra={"x-kubernetes-list-type": "set"})
        ]
        | None
    ) = None
    """The labels of a classification, in the order of the head's outputs. Unset: those found in the training split, in
    sorted order. Set: a row with any other label is a fault, unless `dataset.cleaning.dropOtherLabels` drops it."""
    max_length: Annotated[int, Field(ge=8, le=131072)] = 512
    """The longest sequence, in tokens; what is longer is cut, and the report counts how many were. The model's own
    limit applies as well."""

    rules: ClassVar = (
        Rule(
            cel="self.type == 'SequenceClassification' || !has(self.labels)",
            message="only SequenceClassification has labels; remove them, or change task.type",
            holds=lambda task: task.type == "SequenceClassification" or task.labels is None,
            field="labels",
        ),
        Rule(
            # A list of type `set` is judged by the API server without CEL, whose price grows with the square of 1000.
            cel=None,
            message="a label stands twice in the list; name each once",
            holds=lambda task: task.labels is None or len(set(task.labels)) == len(task.labels),
            field="labels",
        ),
    )


class Columns(ApiModel):
    """Which column of the data holds what."""

    text: ColumnName | None = None
    """The text to classify."""
    text_pair: ColumnName | None = None
    """A second text for tasks over pairs (premise and hypothesis, question and passage)."""
    label: ColumnName | None = None
    """The label of the text: a string, an integer or a boolean."""
    prompt: ColumnName | None = None
    """What the model is given."""
    completion: ColumnName | None = None
    """What the model learns to answer."""


class Cleaning(ApiModel):
    """What happens to the rows before they are split. The report counts what each step dropped or changed."""

    unicode_normalization: Literal["NFC", "NFKC", "None"] = "NFC"
    """The Unicode normal form that texts are brought to. Control characters other than tab and newline are removed
    with either form."""
    drop_empty: bool = True
    """Drops rows whose text (or prompt, completion, label) is missing or blank. False: such a row is a fault."""
    drop_duplicates: bool = True
    """Keeps the first of the rows with the same text (for CausalLM: the same prompt and completion)."""
    min_characters: Annotated[int, Field(ge=0, le=100000)] = 0
    """Drops rows whose text (for CausalLM: completion) is shorter than this, in characters."""
    drop_other_labels: bool = False
    """Drops rows whose label is not in `task.labels`. False: such a row is a fault."""


class DataSource(ApiModel):
    """A separate dataset for one split."""

    uri: DatasetUri
    """As `dataset.uri`; the columns are the same."""
    revision: GitRevision | None = None
    """As `dataset.revision`."""

    rules: ClassVar = (
        *_URI_RULES,
        Rule(
            cel="self.uri.startsWith('hf://') == has(self.revision)",
            message=_REVISION_OF_DATA,
            holds=lambda source: _is_hub(source.uri) == (source.revision is not None),
            field="revision",
        ),
    )


Fraction = Annotated[float, Field(ge=0.0, le=0.9)]


class Dataset(ApiModel):
    """The labelled data, and how it is cleaned and split."""

    uri: DatasetUri
    """Where the data is: one file, or a pattern with `*` (`s3://bucket/reviews/*.parquet`). The names tell the format:
    `.csv`, `.jsonl` (each also `.gz` or `.bz2`), `.parquet`. For the hub, `hf://datasets/owner/name/path/*.parquet`.
    `file://./path` and `file://../path` start at the manifest's folder, in a local run."""
    revision: GitRevision | None = None
    """The commit of the hub's dataset, 40 hexadecimal digits. Required with `hf://`, meaningless elsewhere."""
    columns: Columns
    """Which column holds what: `text` and `label` (and `textPair`) for SequenceClassification, `prompt` and
    `completion` for CausalLM."""
    cleaning: Cleaning = Cleaning()
    """What is cleaned before the split."""
    validation: DataSource | None = None
    """A dataset of its own for validation, instead of `validationFraction`."""
    test: DataSource | None = None
    """A dataset of its own for the final test, instead of `testFraction`."""
    validation_fraction: Fraction | None = None
    """The share of the rows, 0 to 0.9, held out to judge each epoch. Unset: 0.1, or 0 beside `validation`."""
    test_fraction: Fraction | None = None
    """The share of the rows, 0 to 0.9, held out for the final judgement. Unset: 0.1, or 0 beside `test`."""
    stratify: bool = True
    """Gives every split the same shares of the labels (SequenceClassification)."""
    split_seed: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """The seed of the split. Rows with the same text fall into the same split whatever the seed."""

    rules: ClassVar = (
        *_URI_RULES,
        Rule(
            cel="self.uri.startsWith('hf://') == has(self.revision)",
            message=_REVISION_OF_DATA,
            holds=lambda dataset: _is_hub(dataset.uri) == (dataset.revision is not None),
            field="revision",
        ),
        Rule(
            cel="!(has(self.validation) && has(self.validationFraction))",
            message="validation rows come either from `validation` or from a share of `uri`; remove one of the two",
            holds=lambda dataset: dataset.validation is None or dataset.validation_fraction is None,
            field="validationFraction",
        ),
        Rule(
            cel="!(has(self.test) && has(self.testFraction))",
            message="test rows come either from `test` or from a share of `uri`; remove one of the two",
            holds=lambda dataset: dataset.test is None or dataset.test_fraction is None,
            field="testFraction",
        ),
        Rule(
            cel="(has(self.validation) ? 0.0 : has(self.validationFraction) ? self.validationFraction : 0.1)"
            " + (has(self.test) ? 0.0 : has(self.testFraction) ? self.testFraction : 0.1) < 0.95",
            message="validationFraction and testFraction leave less than a twentieth of the rows for training;"
            " make them smaller",
            holds=lambda dataset: sum(dataset.held_out_fractions) < 0.95,
            field="testFraction",
        ),
    )

    @property
    def held_out_fractions(self) -> tuple[float, float]:
        """The shares of the rows of `uri` for validation and test."""
        return (
            _fraction(self.validation_fraction, separate=self.validation is not None),
            _fraction(self.test_fraction, separate=self.test is not None),
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that this dataset has."""
        validation, test = self.held_out_fractions
        has_validation, has_test = validation > 0 or self.validation is not None, test > 0 or self.test is not None
        return ("train", *["validation"] * has_validation, *["test"] * has_test)


def _fraction(value: float | None, *, separate: bool) -> float:
    if separate:
        return 0.0
    return DEFAULT_HELD_OUT if value is None else value


class Freeze(ApiModel):
    """Which parts of the pretrained model stay as they are."""

    embeddings: bool = False
    """Freezes the embeddings. In a decoder whose output layer shares them, the output layer stays as it is too."""
    bottom_layers: Annotated[int, Field(ge=0, le=1000)] = 0
    """Freezes this many transformer layers, counted from the input."""


class Method(ApiModel):
    """Which weights are trained."""

    type: Literal["Full"] = "Full"
    """`Full` trains every weight that is not frozen."""
    freeze: Freeze = Freeze()
    """Which parts stay as they are."""


class Schedule(ApiModel):
    """How the learning rate moves over the run."""

    type: Literal["Linear", "Cosine", "Constant"] = "Linear"
    """After the warm-up: `Linear` falls to 0 in a straight line, `Cosine` along half a cosine, `Constant` stays."""
    warmup_steps: Annotated[int, Field(ge=0, le=10000000)] | None = None
    """How long the rate rises from 0, in optimizer steps. Unset: see `warmupRatio`."""
    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """The same as a share of all steps, 0 to 1. Unset: 0."""

    rules: ClassVar = (
        Rule(
            cel="!(has(self.warmupSteps) && has(self.warmupRatio))",
            message="the warm-up is given either in steps or as a ratio; remove one of the two",
            holds=lambda schedule: schedule.warmup_steps is None or schedule.warmup_ratio is None,
            field="warmupRatio",
        ),
    )


class Training(ApiModel):
    """How the weights are trained: AdamW on the mean loss of each global batch."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """How often the training split is gone through, in whole passes."""
    max_steps: Annotated[int, Field(ge=1, le=100000000)] | None = None
    """Ends the run after this many optimizer steps, if the epochs have not ended it before. Unset: they end it."""
    global_batch_size: Annotated[int, Field(ge=1, le=1048576)] = 32
    """What one optimizer step takes in, over all workers, in examples. Gradient accumulation is worked out from
    it: but for the random numbers of dropout, the result does not depend on how many workers share a batch."""
    micro_batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    """What one worker takes through the model at a time, in examples. Smaller needs less memory, larger is faster;
    but for the random numbers of dropout, the result is the same. Unset: in a cluster what fits the accelerator's
    memory, where kubetune knows the model's shape; elsewhere 8."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-5
    """The highest learning rate of the schedule, per optimizer step."""
    schedule: Schedule = Schedule()
    """How the learning rate moves."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """AdamW's decoupled L2 decay, per step and learning rate. Biases and norms are exempt."""
    adam_beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """AdamW's decay of the mean of the gradients, per optimizer step."""
    adam_beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """AdamW's decay of the mean of the squared gradients, per optimizer step."""
    adam_epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-8
    """AdamW's guard against a division by zero, in units of the gradient."""
    max_gradient_norm: Annotated[float, Field(ge=0.0, le=1000000.0)] = 1.0
    """Scales the gradients of a step down to this Euclidean norm, in units of the gradient. 0 turns it off."""
    precision: Literal["Auto", "FP32", "BF16"] = "Auto"
    """The numbers that the model computes with; the optimizer keeps 32-bit weights either way. `Auto` is `BF16` on a
    GPU that has it and `FP32` elsewhere."""
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """The seed of the new head's weights, of dropout and of the order of the examples."""

    @property
    def micro_batch(self) -> int:
        """The micro-batch that is wanted, in examples; never more than a global batch."""
        return min(self.micro_batch_size or DEFAULT_MICRO_BATCH_SIZE, self.global_batch_size)


class Resources(ApiModel):
    """What the run may use."""

    profile: ProfileName | None = None
    """The `FineTuneProfile` that says what the job may use. Unset: the one named `default`, in a cluster. A local run
    obeys it when it stands in the same manifest, and says so when it does not."""
    workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """The number of workers (ranks), one accelerator each. Unset: one per accelerator present in a local run, else 1.
    A local run on a machine with fewer accelerators uses those that are there, with the same global batches."""


class Zero(ApiModel):
    """How DeepSpeed spreads the training state over the workers. The mathematics is the same for every
    stage."""

    stage: Annotated[int, Field(ge=0, le=3)] | None = None
    """0 keeps everything on every worker; 1 spreads the optimizer's state, 2 also the gradients, 3 also the weights.
    Unset: in a cluster the lowest stage that fits the accelerator's memory, where kubetune knows the model's shape;
    elsewhere 0 for one worker, 2 for more."""


class Requirement(ApiModel):
    """A metric that the final model must reach."""

    metric: MetricName
    """The full name of the metric: `validation/` or `test/`, then `loss`, `accuracy`, `precision_macro`,
    `recall_macro`, `f1_macro` (SequenceClassification) or `loss`, `perplexity` (CausalLM)."""
    min: float | None = None
    """The lowest value that is good enough."""
    max: float | None = None
    """The highest value that is good enough."""

    rules: ClassVar = (
        Rule(
            cel="has(self.min) || has(self.max)",
            message="a requirement needs `min`, `max` or both; give one",
            holds=lambda requirement: requirement.min is not None or requirement.max is not None,
            field="min",
        ),
        Rule(
            cel="!has(self.min) || !has(self.max) || self.min <= self.max",
            message="no value is at least `min` and at most `max`; swap them",
            holds=lambda requirement: (
                requirement.min is None or requirement.max is None or requirement.min <= requirement.max
            ),
            field="min",
        ),
    )


class Evaluation(ApiModel):
    """How the model is judged."""

    require: Annotated[list[Requirement], Field(max_length=16)] = Field([])
    """What the final model must reach for the run to succeed. A model that misses any of them is kept under
    `rejected/`, and the run ends Failed."""


class Output(ApiModel):
    """Where the result goes."""

    uri: OutputUri
    """The folder in object storage: `file:///path`, `s3://bucket/prefix`, `gs://…`, `az://…`. A run writes under
    `<uri>/<namespace>/<name>/<run>/`, never over another run's files. `file://./path` and `file://../path` start at the
    manifest's folder, in a local run."""

    rules: ClassVar = _URI_RULES


class Credentials(ApiModel):
    """The Secret that opens a part of object storage or of the hub."""

    prefix: Uri
    """The URIs that it opens: each that is this one or lies below it, after a `/`; `s3://` is all of S3. Where several
    fit, the longest counts."""
    secret_name: SecretName
    """A Secret in the job's namespace. Its keys are the standard variables of the store, as AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, or HF_TOKEN for the hub."""


class Retry(ApiModel):
    """How often a failed attempt is followed by another. Faults that would come again are never retried, and an attempt
    that lost its node or made room for another job costs none of the attempts."""

    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    """The most attempts that may fail; 1 never retries."""
    backoff_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """The wait before the second attempt, in seconds. It doubles with each further one, up to an hour."""


class FineTuneJobSpec(ApiModel):
    """What to train, on what, how, and where the result goes."""

    model: Model
    """The pretrained model to start from."""
    task: Task
    """What the model learns to do."""
    dataset: Dataset
    """The data it learns from."""
    method: Method = Method()
    """Which weights are trained."""
    training: Training = Training()
    """How they are trained."""
    resources: Resources = Resources()
    """What the run may use."""
    zero: Zero = Zero()
    """How the training state is spread over the workers."""
    evaluation: Evaluation = Evaluation()
    """How the model is judged."""
    output: Output
    """Where the result goes."""
    credentials: Annotated[list[Credentials], Field(max_length=16)] = Field([])
    """The Secrets for model, data and output, in a cluster; those of the profile count where none of these fits. A
    local run takes the standard environment variables instead, and says so."""
    queue: QueueName | None = None
    """The Kueue LocalQueue that the job waits in, in a cluster. Unset: it starts at once."""
    priority_class: QueueName | None = None
    """The Kueue WorkloadPriorityClass: who goes first in the queue, and who makes room."""
    retry: Retry = Retry()
    """How often a failed attempt is followed by another, in a cluster."""
    suspend: bool = False
    """True ends what runs and frees its hardware, in a cluster; false starts it again. May be changed at any time."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31536000)] | None = None
    """The longest that the attempts may run, all together, in seconds; what waits in a queue or is suspended does not
    run. Unset: no limit. In a cluster."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31536000)] | None = None
    """How long after its end what the job made in the cluster is kept, in seconds; the job itself and its model stay.
    Unset: until the job is deleted. May be changed at any time."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.priorityClass) || has(self.queue)",
            message="a priority class counts in a queue only; set `queue`, or remove `priorityClass`",
            holds=lambda spec: spec.priority_class is None or spec.queue is not None,
            field="priorityClass",
        ),
        Rule(
            cel="self.task.type != 'SequenceClassification' ||"
            " (has(self.dataset.columns.text) && has(self.dataset.columns.label))",
            message="SequenceClassification needs the columns `text` and `label`; name both",
            holds=lambda spec: (
                spec.task.type != "SequenceClassification"
                or (spec.dataset.columns.text is not None and spec.dataset.columns.label is not None)
            ),
            field="dataset.columns",
        ),
        Rule(
            cel="self.task.type != 'SequenceClassification' ||"
            " (!has(self.dataset.columns.prompt) && !has(self.dataset.columns.completion))",
            message="the columns `prompt` and `completion` belong to CausalLM; remove them, or change task.type",
            holds=lambda spec: (
                spec.task.type != "SequenceClassification"
                or (spec.dataset.columns.prompt is None and spec.dataset.columns.completion is None)
            ),
            field="dataset.columns",
        ),
        Rule(
            cel="self.task.type != 'CausalLM' ||"
            " (has(self.dataset.columns.prompt) && has(self.dataset.columns.completion))",
            message="CausalLM needs the columns `prompt` and `completion`; name both",
            holds=lambda spec: (
                spec.task.type != "CausalLM"
                or (spec.dataset.columns.prompt is not None and spec.dataset.columns.completion is not None)
            ),
            field="dataset.columns",
        ),
        Rule(
            cel="self.task.type != 'CausalLM' || (!has(self.dataset.columns.text) &&"
            " !has(self.dataset.columns.textPair) && !has(self.dataset.columns.label))",
            message="the columns `text`, `textPair` and `label` belong to SequenceClassification; remove them,"
            " or change task.type",
            holds=lambda spec: (
                spec.task.type != "CausalLM"
                or (
                    spec.dataset.columns.text is None
                    and spec.dataset.columns.text_pair is None
                    and spec.dataset.columns.label is None
                )
            ),
            field="dataset.columns",
        ),
        Rule(
            cel="!self.dataset.cleaning.dropOtherLabels || has(self.task.labels)",
            message="dataset.cleaning.dropOtherLabels needs task.labels to know which labels to keep; give task.labels",
            holds=lambda spec: not spec.dataset.cleaning.drop_other_labels or spec.task.labels is not None,
            field="dataset.cleaning.dropOtherLabels",
        ),
        Rule(
            cel="self.evaluation.require.all(r, r.metric.endsWith('/loss') ||"
            " r.metric.endsWith('/perplexity') == (self.task.type == 'CausalLM'))",
            message="a required metric does not exist for this task: SequenceClassification has loss, accuracy,"
            " precision_macro, recall_macro and f1_macro, CausalLM has loss and perplexity",
            holds=lambda spec: all(
                requirement.metric.endswith("/loss")
                or requirement.metric.endswith("/perplexity") == (spec.task.type == "CausalLM")
                for requirement in spec.evaluation.require
            ),
            field="evaluation.require",
        ),
        Rule(
            cel="self.evaluation.require.all(r, !r.metric.startsWith('test/') || has(self.dataset.test) ||"
            " !has(self.dataset.testFraction) || self.dataset.testFraction > 0.0)",
            message="a required metric is judged on the test split, and there is none; raise dataset.testFraction, set"
            " dataset.test, or require a validation metric",
            holds=lambda spec: _has_split_of_each_requirement(spec, "test"),
            field="evaluation.require",
        ),
        Rule(
            cel="self.evaluation.require.all(r, !r.metric.startsWith('validation/') || has(self.dataset.validation) ||"
            " !has(self.dataset.validationFraction) || self.dataset.validationFraction > 0.0)",
            message="a required metric is judged on the validation split, and there is none; raise"
            " dataset.validationFraction, set dataset.validation, or require a test metric",
            holds=lambda spec: _has_split_of_each_requirement(spec, "validation"),
            field="evaluation.require",
        ),
    )


CLUSTER_FIELDS = (
    "credentials",
    "queue",
    "priority_class",
    "retry",
    "suspend",
    "active_deadline_seconds",
    "ttl_seconds_after_finished",
)
"""The fields of a spec that speak to the operator; a local run has no use for them."""
CHANGEABLE_FIELDS = ("suspend", "ttl_seconds_after_finished")
"""The fields of a spec that may change once the run has started."""


def _has_split_of_each_requirement(spec: FineTuneJobSpec, split: str) -> bool:
    required = any(requirement.metric.startswith(f"{split}/") for requirement in spec.evaluation.require)
    return not required or split in spec.dataset.splits


class ObjectMeta(ApiModel):
    """The part of Kubernetes' object metadata that a manifest may hold."""

    # The API server owns the rest of this type: it may grow without us.
    model_config = ConfigDict(extra="ignore")

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$"),
        Field(json_schema_extra=words(f"at most {MAX_NAME_LENGTH} {_NAME_WORDS}, the first a letter")),
    ]
    """The name of the object: at most 37 lowercase letters, digits and `-`, the first a letter, the last no `-`."""
    namespace: Annotated[
        str,
        StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
        Field(json_schema_extra=words(f"at most 63 {_NAME_WORDS}")),
    ] = "default"
    """The namespace of a job; a local run uses it in the path of the output."""


class FineTuneJob(ApiModel):
    """One fine-tuning run: a pretrained model, a dataset, and the place in object storage for the verified result."""

    api_version: Literal["kubetune.dev/v1alpha1"]
    """The version of the API."""
    kind: Literal["FineTuneJob"]
    """The kind of the object."""
    metadata: ObjectMeta
    """The object's name, namespace, labels and annotations."""
    spec: FineTuneJobSpec
    """What to train, on what, how, and where the result goes. Fixed once the run has started, but for `suspend` and
    `ttlSecondsAfterFinished`."""
    status: FineTuneJobStatus | None = None
    """What has been seen of the run. Written by kubetune alone."""

    def uris(self) -> list[tuple[str, str]]:
        """Every URI that the run reads or writes, each with its path in the manifest."""
        spec = self.spec
        found = [("spec.model.uri", spec.model.uri), ("spec.dataset.uri", spec.dataset.uri)]
        if spec.dataset.validation is not None:
            found.append(("spec.dataset.validation.uri", spec.dataset.validation.uri))
        if spec.dataset.test is not None:
            found.append(("spec.dataset.test.uri", spec.dataset.test.uri))
        return [*found, ("spec.output.uri", spec.output.uri)]
