"""Metrics of answers that a model wrote, against those of the data: sums over rows, and what follows from them."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_WORD = re.compile(r"[^\W_]+")
_MEANS = ("exact_match", "token_f1", "rouge_1", "rouge_2", "rouge_l")
_ORDERS = 4
"""The longest runs of words that BLEU compares."""
_LETTERS = 6
"""The longest runs of characters that chrF compares."""
_RECALL = 2
"""How many times as much as precision recall weighs in chrF."""
_BLEU_COUNTS, _CHRF_COUNTS = 2 + 2 * _ORDERS, 3 * _LETTERS


def sums_of(expected: str, written: str) -> NDArray[np.float64]:
    """What one answer adds: 1 for the row, its means, and the counts of BLEU and chrF."""
    counts = (*_bleu_counts(expected, written), *_chrf_counts(expected, written))
    return np.array([1.0, *_scores(expected, written), *counts])


def nothing() -> NDArray[np.float64]:
    """The sum over no rows."""
    return np.zeros(1 + len(_MEANS) + _BLEU_COUNTS + _CHRF_COUNTS)


def metrics_of(sums: NDArray[np.float64], names: Sequence[str]) -> dict[str, float]:
    """The metrics of those names; NaN of no rows."""
    rows, counts = sums[0], sums[1 + len(_MEANS) :]
    known = {name: float(total / rows) if rows else float("nan") for name, total in zip(_MEANS, sums[1:], strict=False)}
    known |= {"bleu": _bleu(counts[:_BLEU_COUNTS]), "chrf": _chrf(counts[_BLEU_COUNTS:])}
    return {name: known[name] for name in names}


def token_f1(expected: str, written: str) -> float:
    """The harmonic mean of precision and recall of the words, as SQuAD counts them: without case, articles and
    punctuation (Rajpurkar et al. 2016, arXiv:1606.05250)."""
    there, said = _squad_words(expected), _squad_words(written)
    if not there or not said:
        return float(there == said)
    shared = sum((Counter(there) & Counter(said)).values())
    return 2 * shared / (len(there) + len(said))


def _scores(expected: str, written: str) -> Sequence[float]:
    rouge = _rouge().score(expected, written)
    alike = " ".join(expected.split()) == " ".join(written.split())
    return (float(alike), token_f1(expected, written), *(rouge[f"rouge{kind}"].fmeasure for kind in ("1", "2", "L")))


def _squad_words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", _PUNCTUATION.sub("", text.lower())).split()


class _Words:
    """Words of any script; rouge-score's own are those of a to z alone."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Words())


@cache
def _sacrebleu() -> Any:
    from sacrebleu.metrics import BLEU

    return BLEU()


def _bleu_counts(expected: str, written: str) -> Sequence[float]:
    score = _sacrebleu().corpus_score([written], [[expected]])
    return (score.sys_len, score.ref_len, *score.counts, *score.totals)


def _bleu(counts: NDArray[np.float64]) -> float:
    """Of the corpus, 0 to 100, as sacrebleu gives it."""
    lengths, right, all_of = counts[:2].astype(int), counts[2 : 2 + _ORDERS], counts[2 + _ORDERS :]
    score = _sacrebleu().compute_bleu(
        right.astype(int).tolist(), all_of.astype(int).tolist(), int(lengths[0]), int(lengths[1])
    )
    return float(score.score)


def _chrf_counts(expected: str, written: str) -> Sequence[int]:
    """For each length of a run: how many there are in what was written, in what was expected, and in both."""
    return [count for length in range(1, _LETTERS + 1) for count in _shared_runs(expected, written, length)]


def _shared_runs(expected: str, written: str, length: int) -> Sequence[int]:
    there, said = _runs(expected, length), _runs(written, length)
    # What is too short for a run of this length says nothing of such runs.
    return (said.total() if there else 0, there.total(), (there & said).total())


def _runs(text: str, length: int) -> Counter[str]:
    letters = "".join(text.split())
    return Counter(letters[start : start + length] for start in range(len(letters) - length + 1))


def _chrf(counts: NDArray[np.float64]) -> float:
    """Of the corpus, 0 to 100, as sacrebleu gives it: the mean precision and recall of the lengths that are there, and
    their F with recall before precision (Popović 2015, aclanthology.org/W15-3049)."""
    said, there, shared = (counts[place::3] for place in range(3))
    known = (said > 0) & (there > 0)
    if not shared.any():
        return 0.0
    precision, recall = (shared[known] / said[known]).mean(), (shared[known] / there[known]).mean()
    return float(100 * (1 + _RECALL**2) * precision * recall / (_RECALL**2 * precision + recall))
