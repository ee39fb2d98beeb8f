"""The same data, model and settings in `transformers.Trainer`: the same losses, step by step, and the same weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from torch.utils.data import SequentialSampler
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)

from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.tasks.causal import TokenTargets
from kubetune_trainer.tasks.classification import ClassTargets
from kubetune_trainer.tasks.multi_label import SetTargets
from kubetune_trainer.tasks.regression import ValueTargets
from kubetune_trainer.tasks.seq2seq import SequenceTargets
from kubetune_trainer.tasks.tagging import TagTargets
from support.training_cases import BATCH, BESIDE_PEFT, LONG, Case, Trained

TOLERANCE = 1e-3


class InOrder:
    """A trainer of transformers, told in which order the rows come, and asked for every loss."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.losses: list[float] = []

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(train_dataset or self.train_dataset)

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **more: Any) -> Any:
        loss = super().compute_loss(model, inputs, *arguments, **more)
        self.losses.append(float(loss))
        return loss


class Plain(InOrder, Trainer):
    pass


class Written(InOrder, Seq2SeqTrainer):
    pass


def rows_in_order(case: Case) -> list[dict[str, Any]]:
    """The rows of all epochs, in the order in which the job's seed takes them."""
    split, epochs = case.splits["train"], case.steps * BATCH // case.rows
    orders = [np.random.default_rng([case.training.seed, epoch]).permutation(case.rows) for epoch in range(epochs)]
    return [row(split, int(number)) for number in np.concatenate(orders)]


def row(split: EncodedSplit, number: int) -> dict[str, Any]:
    tokens = split.tokens[split.offsets[number] : split.offsets[number + 1]].tolist()
    if isinstance(split.targets, ClassTargets):
        return {"tokens": tokens, "labels": int(split.targets.classes[number])}
    if isinstance(split.targets, TagTargets):
        return {
            "tokens": tokens,
            "labels": split.targets.tags[split.offsets[number] : split.offsets[number + 1]].tolist(),
        }
    if isinstance(split.targets, SetTargets):
        return {"tokens": tokens, "labels": split.targets.padded(split, np.array([number]), len(tokens))[0]}
    if isinstance(split.targets, ValueTargets):
        return {"tokens": tokens, "labels": split.targets.values[number]}
    if isinstance(split.targets, SequenceTargets):
        return {"tokens": tokens, "labels": split.targets.of(number).tolist()}
    assert isinstance(split.targets, TokenTargets)
    learned = split.targets.learned(split, number, ())
    return {"tokens": tokens, "labels": [token if told else -100 for token, told in zip(tokens, learned, strict=True)]}


def padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    def filled(each: list[list[int]], filler: int) -> torch.Tensor:
        longest = max(map(len, each))
        return torch.tensor([values + [filler] * (longest - len(values)) for values in each])

    labels = [row["labels"] for row in rows]
    return {
        "input_ids": filled([row["tokens"] for row in rows], 0),
        "attention_mask": filled([[1] * len(row["tokens"]) for row in rows], 0),
        "labels": filled(labels, -100) if isinstance(labels[0], list) else torch.from_numpy(np.array(labels)),
    }


def theirs(case: Case, folder: Path, model: Any = None) -> Any:
    training = case.training
    settings = training.optimizer.settings
    written = case.learned.task.name == "Seq2Seq"
    trainer = (Written if written else Plain)(
        model=model or case.model,
        args=(Seq2SeqTrainingArguments if written else TrainingArguments)(
            output_dir=str(folder),
            per_device_train_batch_size=training.global_batch_size,
            num_train_epochs=1,
            learning_rate=training.peak_learning_rate,
            weight_decay=settings["weight_decay"],
            adam_beta1=settings["beta1"],
            adam_beta2=settings["beta2"],
            adam_epsilon=settings["epsilon"],
            max_grad_norm=training.max_gradient_norm,
            lr_scheduler_type="linear",
            warmup_steps=training.schedule.warmup_steps or 0,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        ),
        train_dataset=rows_in_order(case),
        data_collator=padded,
    )
    trainer.train()
    return trainer


@pytest.mark.filterwarnings("ignore")  # transformers' own
@pytest.mark.parametrize("case", LONG, ids=lambda case: case.task or case.family)
def test_every_loss_and_the_weights_are_those_of_transformers_trainer(
    case: Case, one_worker: list[dict[Case, Trained]], tmp_path: Path
) -> None:
    ours, peer = one_worker[0][case], theirs(case, tmp_path)
    assert len(peer.losses) == case.steps
    assert ours.losses == pytest.approx(peer.losses, abs=TOLERANCE)
    assert ours.losses[-1] < (0.2 if case.steps == 50 else 0.8) * ours.losses[0]
    for name, values in peer.model.state_dict().items():
        # A bias of the keys moves no softmax: its gradient is rounding, and Adam makes steps of it.
        if not name.endswith(("key.bias", "k_proj.bias")):
            assert np.abs(ours.weights[name] - values.numpy()).max() < TOLERANCE, name


def adapted_by_peft(case: Case, folder: Path) -> Any:
    """The pretrained model, or as transformers quantizes it, with an adapter of peft's, whose first values are drawn as
    ours are."""
    model = _quantized(case, folder) if case.quantization else case.model
    torch.manual_seed(0)
    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))


def _quantized(case: Case, folder: Path) -> Any:
    case.model.save_pretrained(folder)
    four = case.quantization == "NF4"
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=four, load_in_8bit=not four, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        ),
    )
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


@pytest.mark.filterwarnings("ignore")  # transformers' own
@pytest.mark.parametrize("case", BESIDE_PEFT, ids=lambda case: case.quantization or case.lora)
def test_an_adapter_is_that_of_peft_beside_plain_and_quantized_weights(
    case: Case, one_worker: list[dict[Case, Trained]], tmp_path: Path
) -> None:
    ours = one_worker[0][case]
    peer = theirs(case, tmp_path, adapted_by_peft(case, tmp_path / "base"))
    assert len(peer.losses) == case.steps
    assert ours.losses == pytest.approx(peer.losses, abs=TOLERANCE)
    assert ours.losses[-1] < 0.99 * ours.losses[0]
    theirs_by_name = dict(peer.model.base_model.model.named_parameters())
    for name, values in ours.weights.items():
        assert np.abs(values - theirs_by_name[name].detach().numpy()).max() < TOLERANCE, name
