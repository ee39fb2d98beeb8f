"""`spec.dataset`: the data, its columns, cleaning and splits."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from kubetune_api.base import ApiModel, ColumnName, Rule
from kubetune_api.formats import endings_in_words, pattern
from kubetune_api.job.names import PINNED_DATA, URI_RULES, GitRevision, SourceUri
from kubetune_api.schemes import HUB, scheme_of
from kubetune_api.tables import filled, listed
from kubetune_api.tasks import TASKS, TaskRow

DEFAULT_HELD_OUT = 0.1
"""The share of the rows that each held-out split gets when the manifest does not say."""


def _of_each_task() -> str:
    return ", ".join(f"{_columns_of(task)} for {name}" for name, task in TASKS.items())


def _columns_of(task: TaskRow) -> str:
    optional = listed(map(to_camel, task.optional_columns), code=True)
    others = "".join(f", or {listed(map(to_camel, shape), code=True)}" for shape in task.other_shapes)
    more = (f" (and {optional})" if optional else "") + (f" ({others.removeprefix(', ')})" if others else "")
    return listed(map(to_camel, task.columns), code=True) + more


class Columns(ApiModel):
    """Which column of the data holds what."""

    text: ColumnName | None = None
    """The text that is judged; beside `spans`, the text that they are of; in the place of `prompt` and `completion`, a
    text whose every token is learned."""
    text_pair: ColumnName | None = None
    """A second text for tasks over pairs (premise and hypothesis, question and passage)."""
    label: ColumnName | None = None
    """The label of the text: a string, an integer or a boolean."""
    labels: ColumnName | None = None
    """Any number of labels of the text: a list, the JSON of one, or a text with a separator between them. An empty list
    or text has none; null is a missing value."""
    tokens: ColumnName | None = None
    """The words of a text: a list of strings, or a string with spaces between them."""
    tags: ColumnName | None = None
    """The tag of each word, as many as there are words: `B-PER I-PER O`, strings or the numbers of named classes."""
    spans: ColumnName | None = None
    """The entities of `text`, in the place of `tokens` and `tags`: a list of `{start, end, label}`, in characters from
    0; `end` is that of the character behind. An empty list where there are none."""
    value: ColumnName | None = None
    """The number of the text, or a list of several numbers, as many in every row; in CSV the JSON of the list."""
    prompt: ColumnName | None = None
    """What the model is given."""
    completion: ColumnName | None = None
    """What the model learns to answer."""
    messages: ColumnName | None = None
    """A conversation, in the place of `prompt` and `completion`: a list of `{role, content}`. Roles are `system`,
    `user`, `assistant` and `tool`; the model learns what the assistant says, each time."""
    chosen: ColumnName | None = None
    """The answer to the prompt that is preferred."""
    rejected: ColumnName | None = None
    """The answer to the same prompt that is not."""
    source: ColumnName | None = None
    """What the encoder reads: the text to summarise or to translate."""
    target: ColumnName | None = None
    """What the decoder learns to write."""
    anchor: ColumnName | None = None
    """What is searched for: a question, a title."""
    positive: ColumnName | None = None
    """The text that belongs to the anchor."""
    negative: ColumnName | None = None
    """A text that looks as if it belonged to the anchor and does not."""
    sentence1: ColumnName | None = None
    """The first text of a pair with a score, in the place of `anchor` and `positive`."""
    sentence2: ColumnName | None = None
    """The second text of the pair; which is the first does not matter."""
    score: ColumnName | None = None
    """How alike the two are: the cosine that their vectors are to have, -1 to 1."""


class Cleaning(ApiModel):
    """What happens to the rows before they are split. The report counts what each step dropped or changed."""

    unicode_normalization: Literal["NFC", "NFKC", "None"] = "NFC"
    """The Unicode normal form that texts are brought to. Control characters other than tab and newline are removed
    with either form."""
    drop_empty: bool = True
    """Drops rows whose text (or prompt, completion, source, target, label, a turn of a conversation) is missing or
    blank. False: such a row is an error."""
    drop_duplicates: bool = True
    """Keeps the first of the rows with the same text, with the same prompt and completion, with the same source and
    target, or with the same messages."""
    min_characters: Annotated[int, Field(ge=0, le=100000)] = 0
    """Drops rows whose text (or completion, target, or all that the assistant says) is shorter than this, in
    characters."""
    drop_other_labels: bool = False
    """Drops rows whose label is not in `task.labels`. False: such a row is an error."""


def _format_rule() -> Iterator[Rule]:
    name = pattern()
    yield Rule(
        cel=f"self.uri.matches('{name}')",
        message=f"the end of the name must tell the format: {endings_in_words()}; convert .tsv and .txt to .csv, and"
        " .json to .jsonl, with one object on each line; for a folder add a pattern, such as /*.parquet",
        holds=lambda data: re.search(name, data.uri) is not None,
        field="uri",
    )


_STARS_IN_A_NAME = "[^/][*][*]|[*][*][^/]"

DATA_RULES = (
    *URI_RULES,
    Rule(
        cel=f"!self.uri.matches('{_STARS_IN_A_NAME}')",
        message="`**` stands for any folders, between slashes: write data/**/*.csv for the files of a folder and of all"
        " below it; within a name `*` stands for any characters",
        holds=lambda data: re.search(_STARS_IN_A_NAME, data.uri) is None,
        field="uri",
    ),
    Rule(
        cel=f"!self.uri.startsWith('{HUB}://') || self.uri.startsWith('{HUB}://datasets/')",
        message=f"this is a model of the hub; a dataset is {HUB}://datasets/owner/name/path, so add `datasets/`",
        holds=lambda data: scheme_of(data.uri) != HUB or data.uri.startswith(f"{HUB}://datasets/"),
        field="uri",
    ),
    _format_rule,
    PINNED_DATA,
)


class DataSource(ApiModel):
    """A separate dataset for one split."""

    uri: SourceUri
    """As `dataset.uri`; the columns are the same."""
    revision: GitRevision | None = None
    """As `dataset.revision`."""

    rules: ClassVar = DATA_RULES


Fraction = Annotated[float, Field(ge=0.0, le=0.9)]


class Dataset(ApiModel):
    """The labelled data, and how it is cleaned and split."""

    uri: Annotated[SourceUri, Field(json_schema_extra=filled(endings=partial(endings_in_words, code=True)))]
    """Where the data is: one file, or a pattern (`s3://bucket/reviews/*.parquet`) in which `*` stands for any part of a
    name, and `**` between slashes for any folders. Neither stands for a name that begins with a dot. The names tell the
    format: {endings}. For the hub, `hf://datasets/owner/name/path/*.parquet`.
    `file://./path` and `file://../path` start at the manifest's folder, in a local run."""
    revision: GitRevision | None = None
    """The commit of the hub's dataset, 40 hexadecimal digits. Required with `hf://`, not allowed elsewhere."""
    columns: Annotated[Columns, Field(json_schema_extra=filled(tasks=_of_each_task))]
    """Which column holds what: {tasks}."""
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
    """Gives every split the same shares of the labels, for a task that has labels."""
    split_seed: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """The seed of the split. Rows with the same text fall into the same split whatever the seed."""

    rules: ClassVar = (
        *DATA_RULES,
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
