"""`examples/reviews.yaml` as a script with `transformers.Trainer`: read, tokenize, train, evaluate, save.

`start.py` runs it: `trainer_script.py ASSETS OUTPUT STEPS`.
"""

import bz2
import csv
import sys
from pathlib import Path
from typing import Any

from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

LABELS = ("fresh", "rotten")


class Tells(TrainerCallback):  # type: ignore[misc]
    """Says when a step has ended."""

    def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
        """Called by the Trainer."""
        print(f"  step {state.global_step}/{state.max_steps}  ", flush=True)


def main(assets: Path, output: str, steps: int) -> None:
    """Trains, evaluates and saves."""
    with bz2.open(assets / "data" / "reviews.csv.bz2", "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] in LABELS and len(row["text"]) >= 8]
    tokenizer = AutoTokenizer.from_pretrained(assets / "models" / "minilm")
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=128)["input_ids"]
    examples = [
        {"input_ids": tokens, "labels": LABELS.index(row["category"])}
        for tokens, row in zip(encoded, rows, strict=True)
    ]
    # A twentieth to validate on and a tenth to test, as in the example.
    held_out = len(examples) // 20
    model = AutoModelForSequenceClassification.from_pretrained(assets / "models" / "minilm", num_labels=2)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=output,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            max_steps=steps,
            learning_rate=2e-4,
            weight_decay=0.01,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=examples[3 * held_out :],
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[Tells()],
    )
    trainer.train()
    for split in (examples[:held_out], examples[held_out : 3 * held_out]):
        trainer.evaluate(split)
    trainer.save_model()
    tokenizer.save_pretrained(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
