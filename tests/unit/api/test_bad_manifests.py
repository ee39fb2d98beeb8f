"""Every error that an author can make, with the exact words that come back."""

from dataclasses import dataclass

import pytest

from kubetune_api.job import Dataset
from kubetune_api.manifest import MAX_BYTES, read_manifest
from kubetune_api.metrics import METRICS
from kubetune_api.schema import structural_schema
from kubetune_api.tables import listed
from kubetune_api.tasks import TASKS

GOOD = """\
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneJob
metadata:
  name: reviews
spec:
  model:
    uri: file:///models/minilm
  task:
    type: SequenceClassification
  dataset:
    uri: s3://data/reviews.csv
    columns: {text: body, label: verdict}
  training:
    epochs: 2
    learningRate: 2e-5
  evaluation:
    require:
    - {metric: test/accuracy, min: 0.8}
  output:
    uri: s3://models/team-a
"""
WHAT_COLUMNS = structural_schema(Dataset)["properties"]["columns"]["description"]
"""What the field says it is, by the tasks that there are."""
REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Case:
    """A good manifest with one text replaced, and the errors that come back."""

    what: str
    old: str
    new: str
    errors: tuple[str, ...]


def case(what: str, old: str, new: str, *errors: str) -> Case:
    assert old in GOOD, old
    return Case(what, old, new, tuple(f"job.yaml:{error}" for error in errors))


TRAINING_FIELDS = (
    "epochs, maxSteps, globalBatchSize, microBatchSize, learningRate, schedule, optimizer,"
    " l1, dropout, layerwiseDecay, neftuneAlpha, earlyStopping, keep, checkpoints, watchdog, labelSmoothing,"
    " maxGradientNorm, precision, activationCheckpointing, seed"
)
COLUMNS = "columns: {text: body, label: verdict}"
TASK = "type: SequenceClassification"
MODEL = "uri: file:///models/minilm"
REQUIRE = "- {metric: test/accuracy, min: 0.8}"
OUTPUT = "uri: s3://models/team-a"

FIELDS = [
    case(
        "a misspelt field is refused with the field that was meant",
        "epochs: 2",
        "epoch: 2",
        "14: spec.training.epoch: unknown field; did you mean `epochs`?",
    ),
    case(
        "a field in snake_case is refused with its name in camelCase",
        "learningRate: 2e-5",
        "learning_rate: 2e-5",
        "15: spec.training.learning_rate: unknown field; did you mean `learningRate`?",
    ),
    case(
        "a field in the wrong group is refused with its right place",
        "  training:",
        "  globalBatchSize: 8\n  training:",
        "13: spec.globalBatchSize: unknown field here; did you mean `spec.training.globalBatchSize`?",
    ),
    case(
        "a field that nothing resembles is refused with the fields that are there",
        "epochs: 2",
        "xyz: 2",
        f"14: spec.training.xyz: unknown field; the fields here are {TRAINING_FIELDS}",
    ),
    case(
        "a group that stands outside of spec is refused with its right place",
        "spec:\n",
        "zero: {stage: 1}\nspec:\n",
        "5: zero: unknown field here; did you mean `spec.zero`?",
    ),
    case(
        "a required group that is missing is named with what it is for",
        f"  output:\n    {OUTPUT}\n",
        "",
        "5: spec.output: missing; add `output`: where the result goes",
    ),
    case(
        "a required group that is left empty is missing",
        f"  output:\n    {OUTPUT}\n",
        "  output:\n",
        "19: spec.output: missing; add `output`: where the result goes",
    ),
    case(
        "a required field that is missing is reported at the group",
        f"    {COLUMNS}\n",
        "",
        f"10: spec.dataset.columns: missing; add `columns`: {WHAT_COLUMNS[0].lower()}{WHAT_COLUMNS[1:].rstrip('.')}",
    ),
    case(
        "a manifest without a name is refused",
        "metadata:\n  name: reviews\n",
        "",
        "1: metadata: missing; add `metadata`: the object's name, namespace, labels and annotations",
    ),
]

TYPES = [
    case(
        "a word where a whole number is wanted is refused with the range",
        "epochs: 2",
        "epochs: three",
        '14: spec.training.epochs: "three" is not a whole number; give 1 to 1000',
    ),
    case(
        "a fraction where a whole number is wanted is refused with the range",
        "epochs: 2",
        "epochs: 2.5",
        "14: spec.training.epochs: 2.5 is not a whole number; give 1 to 1000",
    ),
    case(
        "a boolean is no whole number, and is shown as it was written",
        "epochs: 2",
        "epochs: yes",
        "14: spec.training.epochs: yes is not a whole number; give 1 to 1000",
    ),
    case(
        "a quoted number is refused with the quotes to remove",
        "epochs: 2",
        'epochs: "2"',
        '14: spec.training.epochs: "2" is a text, because it is quoted; remove the quotes',
    ),
    case(
        "a quoted boolean is refused with the quotes to remove",
        COLUMNS,
        COLUMNS + '\n    stratify: "true"',
        '13: spec.dataset.stratify: "true" is a text, because it is quoted; remove the quotes',
    ),
    case(
        "a number is no boolean",
        COLUMNS,
        COLUMNS + "\n    stratify: 1",
        "13: spec.dataset.stratify: 1 is neither true nor false; give one of the two",
    ),
    case(
        "a text where a group is wanted is refused with the group's fields",
        f"  model:\n    {MODEL}",
        "  model: hf://bert",
        '6: spec.model: "hf://bert" is not a group of fields; indent its fields below it: uri, revision',
    ),
    case(
        "a text where a list is wanted is refused with the list to write",
        TASK,
        TASK + "\n    labels: fresh",
        '10: spec.task.labels: "fresh" is not a list; put it into one: ["fresh"]',
    ),
    case(
        "a group where a list is wanted is refused with how a list looks",
        f"    {REQUIRE}",
        "      metric: test/accuracy",
        "17: spec.evaluation.require: a group of fields is not a list; put `- ` before each item",
    ),
    case(
        "an empty list item is refused",
        REQUIRE,
        "-",
        "18: spec.evaluation.require[0]: nothing is not a group of fields;"
        " indent its fields below it: metric, min, max",
    ),
    case(
        "a list where a text is wanted is refused",
        OUTPUT,
        "uri: [s3://a, s3://b]",
        "20: spec.output.uri: a list is not a text; give a text",
    ),
    case(
        "unquoted y and no among labels are booleans to kubectl",
        TASK,
        TASK + "\n    labels: [y, no, maybe]",
        '10: spec.task.labels[0]: without quotes, y is read as the boolean true; quote it: "y"',
        '10: spec.task.labels[1]: without quotes, no is read as the boolean false; quote it: "no"',
    ),
    case(
        "unquoted numbers and null among labels are no texts",
        TASK,
        TASK + "\n    labels: [1, ~, 0x10]",
        '10: spec.task.labels[0]: without quotes, 1 is read as the number 1; quote it: "1"',
        '10: spec.task.labels[1]: without quotes, ~ is read as null; quote it: "~"',
        '10: spec.task.labels[2]: without quotes, 0x10 is read as the number 16; quote it: "0x10"',
    ),
    case(
        "a commit that happens to look like a number is to be quoted",
        MODEL,
        "uri: hf://a/b\n    revision: 12345678901234567890123456789012345678e1",
        "8: spec.model.revision: without quotes, 12345678901234567890123456789012345678e1 is read as the number"
        ' 1.2345678901234568e+38; quote it: "12345678901234567890123456789012345678e1"',
    ),
    case(
        "an unquoted yes as a label of the object is to be quoted",
        "name: reviews",
        "name: reviews\n  labels: {team.example.com/paid: yes, cost: 3}",
        '5: metadata.labels.team.example.com/paid: without quotes, yes is read as the boolean true; quote it: "yes"',
        '5: metadata.labels.cost: without quotes, 3 is read as the number 3; quote it: "3"',
    ),
    case(
        "infinity is not a number in JSON",
        "learningRate: 2e-5",
        "learningRate: .inf",
        "15: spec.training.learningRate: .inf is not a number in JSON; give a finite number, or quote it",
    ),
]

VALUES = [
    case(
        "a number below its bound is refused with the range",
        "epochs: 2",
        "epochs: 0",
        "14: spec.training.epochs: 0 is less than 1; give 1 to 1000",
    ),
    case(
        "a number above its bound is refused with the range",
        "learningRate: 2e-5",
        "learningRate: 20",
        "15: spec.training.learningRate: 20 is greater than 1; give more than 0 and at most 1",
    ),
    case(
        "a learning rate of zero is refused",
        "learningRate: 2e-5",
        "learningRate: 0",
        "15: spec.training.learningRate: 0 is not greater than 0; give more than 0 and at most 1",
    ),
    case(
        "a decay of one is refused",
        "learningRate: 2e-5",
        "optimizer: {beta2: 1}",
        "15: spec.training.optimizer.beta2: 1 is not less than 1; give at least 0 and less than 1",
    ),
    case(
        "a whole number too large for any machine is refused, not wrapped",
        "epochs: 2",
        "epochs: 99999999999999999999999999",
        "14: spec.training.epochs: 99999999999999999999999999 does not fit into 64 bits; give 1 to 1000",
    ),
    case(
        "a task that is nearly one is refused with the one that was meant",
        TASK,
        "type: Classification",
        '9: spec.task.type: "Classification" is not known; did you mean `SequenceClassification`?',
    ),
    case(
        "a precision that does not exist is refused with those that do",
        "epochs: 2",
        "precision: INT4",
        '14: spec.training.precision: "INT4" is not known; give one of Auto, FP32, BF16, FP16',
    ),
    case(
        "a revision that is a branch is refused",
        MODEL,
        "uri: hf://google-bert/bert-base-uncased\n    revision: main",
        '8: spec.model.revision: "main" does not fit; give the full commit, 40 hexadecimal digits in lower case',
    ),
    case(
        "a URI without a scheme is refused with the schemes",
        OUTPUT,
        "uri: models",
        '20: spec.output.uri: "models" does not fit; give a URI that starts with file://, s3://, gs:// or az://,'
        " then the path",
    ),
    case(
        "a path in place of a URI is refused with the URI",
        OUTPUT,
        "uri: /models/team-a",
        '20: spec.output.uri: "/models/team-a" does not fit; did you mean `file:///models/team-a`?',
    ),
    case(
        "the hub is no place for output",
        OUTPUT,
        "uri: hf://me/model",
        '20: spec.output.uri: "hf://me/model" does not fit; give a URI that starts with file://, s3://, gs:// or az://,'
        " then the path",
    ),
    case(
        "a name with capitals is refused with the letters that it may have",
        "name: reviews",
        "name: Film_Reviews",
        '4: metadata.name: "Film_Reviews" does not fit; give at most 37 lowercase letters, digits and `-`; it must'
        " start with a letter and must not end with `-`",
    ),
    case(
        "a profile's name with capitals is refused with the letters that it may have",
        "  training:",
        "  profileRef: {name: Big_One}\n  training:",
        '13: spec.profileRef.name: "Big_One" does not fit; give the name of a FineTuneProfile: at most 63 lowercase'
        " letters, digits and `-`; it must not start or end with `-`",
    ),
    case(
        "a name longer than KubeRay allows is refused",
        "name: reviews",
        "name: " + "r" * 38,
        f'4: metadata.name: "{"r" * 38}" has 38 characters and may have 37; shorten it',
    ),
    case(
        "an empty column name is refused",
        COLUMNS,
        'columns: {text: "", label: verdict}',
        "12: spec.dataset.columns.text: the text is empty; give one",
    ),
    case(
        "a metric without its split is answered with that of the test split",
        REQUIRE,
        "- {metric: accuracy, min: 0.8}",
        '18: spec.evaluation.require[0].metric: "accuracy" does not fit; did you mean `test/accuracy`?',
    ),
    case(
        "a metric that nobody knows is refused with all that there are",
        REQUIRE,
        "- {metric: luck, min: 0.8}",
        '18: spec.evaluation.require[0].metric: "luck" does not fit; give `validation/` or `test/`, then'
        f" {listed((*METRICS, 'custom.<name>'), 'or')}",
    ),
    case(
        "a single label is no classification",
        TASK,
        TASK + "\n    labels: [fresh]",
        "10: spec.task.labels: the list has 1 item; give at least 2",
    ),
    case(
        "too many requirements are refused",
        REQUIRE,
        "\n    ".join([REQUIRE] * 17),
        "17: spec.evaluation.require: the list has 17 items and may have 16; shorten it",
    ),
    case(
        "a long value is cut, and control characters cannot reach the terminal",
        TASK,
        'type: "\\e[31m' + "x" * 100 + '"',
        f'9: spec.task.type: "\\u001b[31m{"x" * 48}… is not known; give one of {", ".join(TASKS)}',
    ),
]

RULES = [
    case(
        "a model of the hub needs its commit",
        MODEL,
        "uri: hf://google-bert/bert-base-uncased",
        "6: spec.model.revision: a model of the hub needs its commit, 40 hexadecimal digits, so that a retrain starts"
        " from the same weights; the page 'Files and versions' of the model shows it",
    ),
    case(
        "a model in a folder has no commit",
        MODEL,
        f"{MODEL}\n    revision: {REVISION}",
        "8: spec.model.revision: only hf:// models have a revision; remove it, or name the version in the path of the"
        f' URI (given: "{REVISION}")',
    ),
    case(
        "a dataset of the hub needs its commit",
        "uri: s3://data/reviews.csv",
        "uri: hf://datasets/a/b/*.parquet",
        "10: spec.dataset.revision: a revision, 40 hexadecimal digits, goes with an hf:// dataset and with no other",
    ),
    case(
        "a dataset of a format that is not read is refused with what to convert it to",
        "uri: s3://data/reviews.csv",
        "uri: s3://data/reviews.tsv",
        "11: spec.dataset.uri: the end of the name must tell the format: .csv, .jsonl (each also .gz or .bz2) or"
        " .parquet; convert .tsv and .txt to .csv, and .json to .jsonl, with one object on each line; for a folder add"
        ' a pattern, such as /*.parquet (given: "s3://data/reviews.tsv")',
    ),
    case(
        "credentials in a URI are refused and not repeated",
        OUTPUT,
        "uri: s3://key:secret@models/team-a",
        "20: spec.output.uri: a URI must not contain credentials, so its first part may have no `@` and no `:`; use"
        " the standard environment variables",
    ),
    case(
        "a URI without a bucket is refused",
        "uri: s3://data/reviews.csv",
        "uri: s3:///reviews.csv",
        "11: spec.dataset.uri: the URI has no first part; name the bucket there, such as s3://bucket/path"
        ' (given: "s3:///reviews.csv")',
    ),
    case(
        "a path that climbs is refused",
        MODEL,
        "uri: s3://models/../minilm",
        "7: spec.model.uri: the path of the URI contains an empty part, `.` or `..`; write the path in full"
        ' (given: "s3://models/../minilm")',
    ),
    case(
        "a label that stands twice is refused",
        TASK,
        TASK + "\n    labels: [fresh, rotten, fresh]",
        "10: spec.task.labels: a label is in the list twice; name each one once",
    ),
    case(
        "classification needs its two columns",
        COLUMNS,
        "columns: {text: body}",
        "12: spec.dataset.columns: SequenceClassification needs the columns `text` and `label` (`labels` is of other"
        " tasks); name both",
    ),
    case(
        "the columns of another task are refused",
        COLUMNS,
        "columns: {text: body, label: verdict, prompt: question}",
        "12: spec.dataset.columns: SequenceClassification reads the columns `text`, `label` and `textPair` only; remove"
        " the others, or change task.type",
    ),
    case(
        "both errors of a CausalLM job over labelled texts are reported together",
        TASK,
        "type: CausalLM",
        "12: spec.dataset.columns: CausalLM reads the columns `prompt`, `completion`, `messages` and `text` only;"
        " remove the others, or change task.type",
        "17: spec.evaluation.require: a required metric does not exist for CausalLM, which has loss, perplexity,"
        " exact_match, token_f1 and rouge_l; require one of these",
    ),
    case(
        "validation rows come from one place only",
        COLUMNS,
        COLUMNS + "\n    validation: {uri: s3://data/v.csv}\n    validationFraction: 0.2",
        "14: spec.dataset.validationFraction: validation rows come either from `validation` or from a share of `uri`;"
        " remove one of the two (given: 0.2)",
    ),
    case(
        "splits that leave nothing to train on are refused",
        COLUMNS,
        COLUMNS + "\n    validationFraction: 0.5\n    testFraction: 0.5",
        "14: spec.dataset.testFraction: validationFraction and testFraction leave less than a twentieth of the rows for"
        " training; make them smaller (given: 0.5)",
    ),
    case(
        "a requirement on a split that does not exist is refused",
        COLUMNS,
        COLUMNS + "\n    testFraction: 0",
        "18: spec.evaluation.require: a required metric needs the test split, and there is none; raise"
        " dataset.testFraction, set dataset.test, or require a validation metric",
    ),
    case(
        "a requirement without a bound is refused",
        REQUIRE,
        "- {metric: test/accuracy}",
        "18: spec.evaluation.require[0].min: a requirement needs `min`, `max` or both; give one",
    ),
    case(
        "a requirement that nothing can meet is refused",
        REQUIRE,
        "- {metric: test/accuracy, min: 0.9, max: 0.8}",
        "18: spec.evaluation.require[0].min: no value is at least `min` and at most `max`; swap them (given: 0.9)",
    ),
    case(
        "a warm-up is given once",
        "epochs: 2",
        "schedule: {warmupSteps: 10, warmupRatio: 0.1}",
        "14: spec.training.schedule.warmupRatio: the warm-up is given either in steps or as a ratio; remove one of the"
        " two (given: 0.1)",
    ),
    case(
        "other labels cannot be dropped where none are named",
        COLUMNS,
        COLUMNS + "\n    cleaning: {dropOtherLabels: true}",
        "13: spec.dataset.cleaning.dropOtherLabels: dataset.cleaning.dropOtherLabels needs task.labels to know which"
        " labels to keep; give task.labels (given: true)",
    ),
]

DOCUMENTS = [
    case(
        "another version of the API is refused",
        "kubetune.dev/v1alpha1",
        "kubetune.dev/v1",
        '1: apiVersion: "kubetune.dev/v1" is not known; did you mean `kubetune.dev/v1alpha1`?',
    ),
    case(
        "the error of a manifest without a version names the line to add",
        "apiVersion: kubetune.dev/v1alpha1\n",
        "",
        "1: apiVersion: missing; add `apiVersion: kubetune.dev/v1alpha1`",
    ),
    case(
        "a kind that is nearly one is refused with the one that was meant",
        "kind: FineTuneJob",
        "kind: FinetuningJob",
        '2: kind: "FinetuningJob" is not known; did you mean `FineTuneJob`?',
    ),
    case(
        "the error of a manifest without a kind names the line to add",
        "kind: FineTuneJob\n",
        "",
        "1: kind: missing; add `kind: FineTuneJob or FineTuneProfile`",
    ),
    case(
        "an object that is not ours is refused",
        "apiVersion: kubetune.dev/v1alpha1\nkind: FineTuneJob",
        "apiVersion: v1\nkind: Secret",
        '2: kind: kubetune does not read a "Secret"; keep it in a file of its own',
    ),
    case(
        "the beginning of a generated name has the letters of a name",
        "name: reviews",
        "generateName: Film_Reviews-",
        '4: metadata.generateName: "Film_Reviews-" does not fit; give at most 32 lowercase letters, digits and `-`, the'
        " first a letter, to which the API server adds 5 more",
    ),
    case(
        "a list of objects that is no list is refused",
        GOOD,
        "apiVersion: v1\nkind: List\nitems: {a: 1}\n",
        "3: items: a group of fields is not a list; put `- ` before each object",
    ),
    case(
        "a second job of the same name would replace the first",
        GOOD,
        GOOD + "---\n" + GOOD,
        '25: metadata.name: "reviews" is here and on line 4; the later one replaces the earlier one; rename one',
    ),
    case(
        "the errors of all documents come together, each with its own line",
        GOOD,
        GOOD.replace("epochs: 2", "epochs: 0") + "---\na: [\n---\n- a\n---\n" + GOOD.replace("type: Seq", "type: Foo"),
        "14: spec.training.epochs: 0 is less than 1; give 1 to 1000",
        "22: the text ends inside brackets; close them",
        "24: a list is not an object; start with `apiVersion: kubetune.dev/v1alpha1`",
        '34: spec.task.type: "FoouenceClassification" is not known; did you mean `SequenceClassification`?',
    ),
    case(
        "a profile's ceilings and prefixes bind the job beside it",
        "  training:",
        "  profileRef: {name: small}\n  resources: {workers: 8}\n  training:",
        "14: spec.resources.workers: 8: profile small (limits.maxWorkers) allows 4 workers at most; ask for 4 or fewer",
        '22: spec.output.uri: "s3://models/team-a": profile small (allowedUriPrefixes) allows only URIs under'
        " s3://data/, file:///models/",
    ),
]
PROFILE = """\
---
apiVersion: kubetune.dev/v1alpha1
kind: FineTuneProfile
metadata: {name: small}
spec:
  allowedUriPrefixes: [s3://data/, file:///models/]
  limits: {maxWorkers: 4}
"""

SYNTAX = [
    case(
        "a name that stands twice is refused with both lines",
        "epochs: 2",
        "epochs: 2\n    epochs: 4",
        "15: spec.training.epochs: the name is in this group twice, first on line 14; keep one of the two",
    ),
    case(
        "a tab is no indentation",
        "    epochs: 2",
        "\tepochs: 2",
        "14: a tab is not allowed here; indent with spaces",
    ),
    case(
        "a line that is indented too little is refused",
        "    epochs: 2",
        "   epochs: 2",
        "15: a `:` is not allowed here; check the indentation of this line and the one above, and quote a"
        " text that contains `: `",
    ),
    case(
        "a text with a colon is to be quoted",
        "epochs: 2",
        "epochs: a: b",
        "14: a `:` is not allowed here; check the indentation of this line and the one above, and quote a"
        " text that contains `: `",
    ),
    case(
        "quotes that are not closed are refused",
        OUTPUT,
        'uri: "s3://models',
        "20: the text ends inside the quotes that open here; close them",
    ),
    case(
        "an alias without an anchor is refused",
        "uri: s3://data/reviews.csv",
        "uri: *.csv",
        "11: an alias or anchor needs a name; quote a text that starts with `*` or `&`",
    ),
    case(
        "a value that holds itself is refused",
        "epochs: 2",
        "epochs: &a [*a]",
        "14: an alias is inside the value that it repeats; remove it",
    ),
    case(
        "aliases that multiply are refused",
        "epochs: 2",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"    {b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "14: the document contains more than 50000 values; its aliases multiply",
    ),
    case(
        "nesting without an end is refused",
        "epochs: 2",
        "epochs: " + "[" * 5000,
        "14: more than 64 levels of nesting; make it flatter",
    ),
    case(
        "a merge that would replace what stands above it is refused",
        "    epochs: 2\n",
        "    epochs: 2\n    <<: {epochs: 5}\n",
        "14: spec.training.epochs: `<<` below replaces this value; put `<<` first in the group",
    ),
    case(
        "a merge of something else than groups is refused",
        "epochs: 2",
        "<<: 5",
        "14: spec.training: `<<` takes a group of fields, or a list of such groups",
    ),
    case(
        "a tag is refused",
        "epochs: 2",
        "epochs: !python/name 2",
        "14: spec.training.epochs: the tag !python/name has no meaning here; remove it",
    ),
    case(
        "an unquoted y as a name is to be quoted",
        "epochs: 2",
        "y: 2",
        '14: spec.training: the name "y" is not a text but true without quotes; quote it',
    ),
    case(
        "a control character is refused",
        "epochs: 2",
        "epochs: \x07",
        "14: the character U+0007 is not allowed in YAML; remove it",
    ),
    case(
        "a directive is refused, as kubectl does",
        "apiVersion: kubetune.dev/v1alpha1\n",
        "%YAML 1.1\n---\napiVersion: kubetune.dev/v1alpha1\n",
        "1: kubectl does not support directives; remove the lines that start with `%`",
    ),
    case(
        "a separator holds nothing else, as kubectl has it",
        "apiVersion: kubetune.dev/v1alpha1\n",
        "--- apiVersion: kubetune.dev/v1alpha1\n",
        "1: a line that starts with `---` separates documents and must contain nothing else; put the rest below it",
    ),
    case(
        "a document that kubectl would drop without a word is refused",
        GOOD,
        f"{GOOD}...\n{GOOD}",
        "22: a second document starts here; put a line of `---` before it",
    ),
]
ALL = [*FIELDS, *TYPES, *VALUES, *RULES, *DOCUMENTS, *SYNTAX]


def test_the_manifest_that_the_cases_start_from_is_right() -> None:
    assert read_manifest(GOOD, "job.yaml").errors == ()


@pytest.mark.parametrize("case", [pytest.param(each, id=each.what) for each in ALL])
def test_a_bad_manifest_is_told_exactly_what_is_wrong(case: Case) -> None:
    text = GOOD.replace(case.old, case.new, 1)
    if "profileRef: {name: small}" in text:
        text += PROFILE
    assert [str(error) for error in read_manifest(text, "job.yaml").errors] == list(case.errors)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(
            b"", "job.yaml: the file contains no object; write a FineTuneJob into it", id="an empty file is refused"
        ),
        pytest.param(
            b"# nothing\n---\n---\n",
            "job.yaml: the file contains no object; write a FineTuneJob into it",
            id="a file of comments is refused",
        ),
        pytest.param(
            b"a: 1\nb: caf\xe9\n",
            "job.yaml:2: byte 0xE9 is not UTF-8; save the file as UTF-8",
            id="Latin-1 is refused with its line",
        ),
        pytest.param(
            "a: 1".encode("utf-16"),
            "job.yaml:1: byte 0xFF is not UTF-8; save the file as UTF-8",
            id="UTF-16 is refused",
        ),
        pytest.param(
            b"a" * (MAX_BYTES + 1),
            f"job.yaml: the file has more than {MAX_BYTES} bytes, too many for a manifest; name another file",
            id="a file that is too large is refused unread",
        ),
        pytest.param(
            b"5", "job.yaml:1: 5 is not an object; start with `apiVersion: kubetune.dev/v1alpha1`", id="a number"
        ),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(data: bytes, error: str) -> None:
    assert [str(each) for each in read_manifest(data, "job.yaml").errors] == [error]


def test_an_error_carries_its_parts() -> None:
    (error,) = read_manifest(GOOD.replace("epochs: 2", "epochs: 0"), "job.yaml").errors
    assert (error.file, error.line, error.path, error.value) == ("job.yaml", 14, "spec.training.epochs", 0)


@pytest.mark.parametrize(
    ("edits", "errors"),
    [
        pytest.param(
            {"epochs: 2": "epochs: 0\n    epoch: 3"},
            ["14: spec.training.epochs: 0 is less", "15: spec.training.epoch: unknown field; did you mean `epochs`?"],
            id="a misspelt field and a bad value",
        ),
        pytest.param(
            {"epochs: 2": "epochs: 2\n    epoch: 3", "type: SequenceClassification": "type: CausalLM"},
            [
                "12: spec.dataset.columns: CausalLM reads",
                "15: spec.training.epoch: unknown field; did you mean `epochs`?",
                "18: spec.evaluation.require: a required metric does not exist for CausalLM",
            ],
            id="a misspelt field and broken rules elsewhere",
        ),
        pytest.param(
            {"label: verdict": "labl: verdict"},
            ["12: spec.dataset.columns.labl: unknown field; did you mean `label`?"],
            id="a misspelt field is not missing as well",
        ),
    ],
)
def test_a_typo_hides_no_other_error(edits: dict[str, str], errors: list[str]) -> None:
    """Row N4: kubectl shows the typo alone."""
    text = GOOD
    for old, new in edits.items():
        text = text.replace(old, new, 1)
    said = [str(error) for error in read_manifest(text, "job.yaml").errors]
    assert len(said) == len(errors)
    assert [line for line, start in zip(said, errors, strict=True) if not line.startswith(f"job.yaml:{start}")] == []


def test_a_good_document_is_read_beside_a_bad_one() -> None:
    manifest = read_manifest(GOOD + "---\n" + GOOD.replace("epochs: 2", "epochs: 0"), "job.yaml")
    assert [job.metadata.name for job in manifest.jobs] == ["reviews"]
    assert len(manifest.errors) == 1


def test_every_case_is_a_sentence_of_its_own() -> None:
    assert len({each.what for each in ALL}) == len(ALL) >= 30
