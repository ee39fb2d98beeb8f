"""What a run read, for people: the counts, alike for a local run and a job of a cluster, and some rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubetune_api.data_counts import DataCounts
from kubetune_api.text import ends_of
from kubetune_cli.text import printable

_NAME_WIDTH, _MOST_CHARACTERS = 9, 240
_LINE_END, _BETWEEN = "⏎", "\n     "


def counts_in_words(counts: DataCounts) -> Iterator[tuple[str, str]]:
    """Names and values, a line each."""
    used = sum(split.rows for split in counts.splits)
    splits = ", ".join(f"{split.name} {split.rows:,}" for split in counts.splits)
    yield "rows", f"{counts.rows_read:,} read, {used:,} used: {splits}"
    for name, dropped in (("dropped", True), ("changed", False)):
        steps = [step for step in counts.cleaning if step.dropped is dropped and step.rows]
        if steps or dropped:
            yield name, ", ".join(f"{step.rows:,} {step.name}" for step in steps) or "none"
    cut = sum(split.truncated for split in counts.splits)
    yield "cut", f"{cut:,} of {used:,} rows{', at task.maxLength or the longest that the model takes' if cut else ''}"
    if counts.labels:
        names = ", ".join(f"{label.name!r} {label.rows:,}" for label in counts.labels)
        some = f" (the most frequent and the rarest of {counts.label_count:,})"
        yield "labels", f"{names}{some if counts.label_count > len(counts.labels) else ''}"


def data_text(data: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> str:
    """The lines of the event that tells what was read."""
    lines = [
        f"  {name:{_NAME_WIDTH}} {printable(value)}" for name, value in counts_in_words(DataCounts.model_validate(data))
    ]
    if samples:
        lines.append("  rows as the model sees them, ⟦what the loss counts⟧ marked so:")
    lines += [f"  {number}  {_row(sample)}" for number, sample in enumerate(samples, start=1)]
    return "\n".join(lines)


def _row(sample: Mapping[str, Any]) -> str:
    shown = [_piece(piece) for piece in sample["pieces"]]
    answer = "" if sample["answer"] is None else f" → ⟦{printable(sample['answer'])}⟧"
    return "".join(shown).lstrip() + answer


def _piece(piece: Mapping[str, Any]) -> str:
    text = ends_of(printable(piece["text"].replace("\n", _LINE_END)), _MOST_CHARACTERS)
    name = f"{_BETWEEN}{piece['begins']}: " if piece.get("begins") else ""
    return name + (f"⟦{text}⟧" if piece["counted"] else text)
