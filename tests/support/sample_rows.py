"""Rows with a value for every column that a task may read: whatever the task, it finds its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from support.tiny_tokenizers import WORDS

LABELS = ("bad", "good")
TAGS = ("O", "B-PER", "I-PER", "B-LOC")


def sample_rows(rows: int, labels: Sequence[str] = LABELS) -> Iterator[dict[str, Any]]:
    """Each row by the names that `dataset.columns` has in a manifest; they repeat themselves no more than they must."""
    random = np.random.default_rng(0)
    for number in range(rows):
        words = [str(word) for word in random.choice(WORDS, 6)]
        text, answer, other = " ".join(words), " ".join(words[:3]), " ".join(words[3:])
        yield {
            "text": text,
            "textPair": other,
            "label": labels[number % len(labels)],
            "labels": list(labels[: number % (len(labels) + 1)]),
            "value": float(number % 5),
            "tokens": words,
            "spans": [{"start": 0, "end": len(words[0]), "label": "PER"}],
            "tags": [TAGS[0], TAGS[3], TAGS[1], TAGS[2], TAGS[0], TAGS[number % 2]],
            "prompt": text,
            "completion": answer,
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}],
            "source": text,
            "target": answer,
            "chosen": answer,
            "rejected": other,
            "anchor": text,
            "positive": answer,
            "negative": other,
            "sentence1": text,
            "sentence2": other,
            "score": (number % 5) / 4,
        }
