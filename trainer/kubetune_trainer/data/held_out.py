"""Where the held-out rows come from: a share of the data, or files of their own; never a text that is trained on."""

import math
from collections.abc import Mapping, Sequence

from kubetune_api.job import Dataset
from kubetune_api.text import plural
from kubetune_trainer.data.clean import LEAKED, LEAKED_VALIDATION, Counts
from kubetune_trainer.data.rows import Row
from kubetune_trainer.data.split import Key, split
from kubetune_trainer.data.task import DataTask
from kubetune_trainer.errors import RunError, invalid_data

FIELDS = {"train": "spec.dataset.uri", "validation": "spec.dataset.validation.uri", "test": "spec.dataset.test.uri"}
"""The field of the manifest that names the files of each source."""
MAX_FRACTION = 0.9
"""What the API allows for `validationFraction` and `testFraction`."""


def make_splits(
    task: DataTask, dataset: Dataset, sources: Mapping[str, Sequence[Row]], counts: Counts
) -> dict[str, list[Row]]:
    """The rows of each split that the job has, no group in two of them. Adds the dropped rows to `counts`.

    Separate data keeps the order of its files; what is split is in an order that its texts alone decide."""
    separate = _without_leaks({name: list(rows) for name, rows in sources.items()}, task.group, counts)
    validation, test = dataset.held_out_fractions
    parts = split(
        separate["train"],
        validation=validation,
        test=test,
        seed=dataset.split_seed,
        key=task.group,
        stratum=task.stratum if dataset.stratify else lambda _: None,
    )
    for name, share in (("validation", validation), ("test", test)):
        if share > 0 and not parts[name]:
            raise _empty(name, share, len(separate["train"]))
    return {name: separate[name] if name in separate and name != "train" else parts[name] for name in dataset.splits}


def _without_leaks(sources: dict[str, list[Row]], key: Key, counts: Counts) -> dict[str, list[Row]]:
    """The test data stays whole; the others give up what they share with data that judges them."""
    if "test" in sources and "validation" in sources:
        _drop_shared(sources, "validation", ("test",), key, counts, LEAKED_VALIDATION)
    if len(sources) > 1:
        _drop_shared(sources, "train", ("validation", "test"), key, counts, LEAKED)
    return sources


def _drop_shared(
    sources: dict[str, list[Row]], source: str, judges: Sequence[str], key: Key, counts: Counts, step: str
) -> None:
    taken = {key(row) for judge in judges for row in sources.get(judge, ())}
    kept = [row for row in sources[source] if key(row) not in taken]
    counts[step] += len(sources[source]) - len(kept)
    if not kept:
        raise invalid_data(
            f"{FIELDS[source]}: no row is left: the text of each of its {plural(len(sources[source]), 'row')} is in the"
            f" {' or '.join(judge for judge in judges if judge in sources)} data as well; name different files"
        )
    sources[source] = kept


def _empty(name: str, share: float, rows: int) -> RunError:
    field = f"spec.dataset.{name}Fraction"
    least = math.ceil(100 / rows) / 100
    if math.floor(rows * share + 0.5) == 0 and least <= MAX_FRACTION:
        return invalid_data(
            f"{field}: the {name} split is empty: {share:g} of {plural(rows, 'row')} is less than half a row;"
            f" raise it to {least:g} or more, or add rows"
        )
    return invalid_data(
        f"{field}: the {name} split is empty: {plural(rows, 'row')} are too few to hold any out, since rows with the"
        " same text stay together and every label keeps one in training; add rows, or set the fraction to 0"
    )
