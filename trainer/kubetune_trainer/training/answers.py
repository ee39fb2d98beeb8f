"""What the answers come to that a model writes to the first rows of a split, over all of them and on each slice, and
how sure that is. A sum over rows and ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from kubetune_api.tasks import TASKS
from kubetune_trainer.figures import Interval, SliceRecord
from kubetune_trainer.records import EvaluationRecord
from kubetune_trainer.shown_rows import WorstRow, WrittenAnswer
from kubetune_trainer.tasks.text_metrics import metrics_of, nothing, sums_of
from kubetune_trainer.training.bootstrap import REPLICATES, draws, intervals
from kubetune_trainer.training.custom import Numbered
from kubetune_trainer.training.exchange import of_all_ranks, sum_over_ranks
from kubetune_trainer.training.write import Asking, write

_SHOWN, _CHARACTERS = 8, 2000
"""Answers that the report shows, and the longest text of one."""
_WHOLE = ""

Figures = tuple[dict[str, float], dict[str, Interval]]
"""Metrics, and where they lie."""


def judge_answers(asking: Asking, found: EvaluationRecord, *, final: bool) -> tuple[EvaluationRecord, Numbered]:
    """The evaluation with what the model writes; every rank takes a share and gets the whole result, and its own share
    of the answers with those expected.

    `final`: the report shows it, with intervals and slices, and also what is written to the worst rows.
    """
    first = range(min(asking.wanted.max_rows, asking.split.rows))
    own = write(asking, first)
    masks = {_WHOLE: np.ones(asking.split.rows, dtype=np.bool_), **(asking.split.slices if final else {})}
    figures = _figures(asking, own, masks, sure=final)
    metrics, sureness = figures[_WHOLE]
    shown = _of_all([answer for answer in own if answer.row < _SHOWN])
    judged = replace(
        found,
        metrics={**found.metrics, **metrics},
        intervals={**found.intervals, **sureness},
        slices=tuple(_with(one, *figures[one.name]) for one in found.slices),
        worst=_answered(asking, found.worst, own, len(first)),
        written=tuple(sorted(shown, key=lambda answer: answer.row)),
    )
    return judged, [(answer.row, (answer.written, answer.expected)) for answer in own]


def _figures(
    asking: Asking, own: Sequence[WrittenAnswer], masks: Mapping[str, NDArray[np.bool_]], *, sure: bool
) -> dict[str, Figures]:
    """By the mask's name, of its rows that were written to; nothing where there are none."""
    names = TASKS[asking.task.name].generated_metrics
    rows = np.array([answer.row for answer in own], dtype=np.int64)
    each = np.stack([nothing(), *(sums_of(answer.expected, answer.written) for answer in own)])[1:]
    drawn = draws(rows) if sure and len(rows) else np.zeros((REPLICATES, len(rows)))
    sums: dict[str, NDArray[np.float64]] = {}
    for name, mask in masks.items():
        counted = each * mask[rows, np.newaxis]
        sums |= {name: counted.sum(axis=0)} | ({f"{name}/": drawn @ counted} if sure else {})
    device = asking.engine.device
    total = sum_over_ranks({name: torch.from_numpy(of_rank).to(device) for name, of_rank in sums.items()})
    return {
        name: (metrics_of(total[name], names), _sureness(total.get(f"{name}/"), names)) if total[name][0] else ({}, {})
        for name in masks
    }


def _sureness(replicates: NDArray[np.float64] | None, names: Sequence[str]) -> dict[str, Interval]:
    if replicates is None:
        return {}
    return intervals({"": replicates}, replicates[:, 0], lambda sums: metrics_of(sums[""], names))


def _with(one: SliceRecord, metrics: Mapping[str, float], sureness: Mapping[str, Interval]) -> SliceRecord:
    return replace(one, metrics={**one.metrics, **metrics}, intervals={**one.intervals, **sureness})


def _answered(
    asking: Asking, worst: Sequence[WorstRow], own: Sequence[WrittenAnswer], first: int
) -> tuple[WorstRow, ...]:
    """The worst rows with what is written to them: as many as `maxRows`, whether they are among the first or not."""
    rows = [one.row for one in worst][: asking.wanted.max_rows]
    others = [row for row in rows if row >= first]
    written = [*(answer for answer in own if answer.row in rows), *(write(asking, others) if others else ())]
    texts = {answer.row: answer.written for answer in _of_all(written)}
    return tuple(replace(one, answer=texts.get(one.row)) for one in worst)


def _of_all(own: Sequence[WrittenAnswer]) -> list[WrittenAnswer]:
    """Those of every rank, none too long to be looked at."""
    return of_all_ranks(
        [
            WrittenAnswer(one.row, *(text[:_CHARACTERS] for text in (one.question, one.expected, one.written)))
            for one in own
        ]
    )
