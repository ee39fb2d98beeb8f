"""Configurations of other trainers, recognised by their fields, so that pasting one is answered with a translation."""

from collections.abc import Mapping
from typing import Any

PAGE = "docs/migrating.md"
"""The page that translates the names."""
_ENOUGH = 2
"""Fields of one trainer that make a file its own."""
_FIELDS = {
    "axolotl": "base_model tokenizer_type datasets dataset_prepared_path val_set_size sequence_len sample_packing"
    " adapter micro_batch_size lora_r lora_target_linear flash_attention saves_per_epoch",
    "LLaMA-Factory": "stage do_train finetuning_type template cutoff_len dataset_dir lora_target lora_rank"
    " overwrite_cache val_size plot_loss",
    "transformers or TRL": "output_dir per_device_train_batch_size per_device_eval_batch_size num_train_epochs"
    " gradient_accumulation_steps learning_rate lr_scheduler_type warmup_steps warmup_ratio weight_decay logging_steps"
    " save_strategy save_steps eval_strategy eval_steps report_to bf16 fp16 model_name_or_path max_seq_length"
    " dataset_name optim packing use_peft load_best_model_at_end gradient_checkpointing",
}
"""What is typical of each. The last row's fields are common to many, so it is asked last."""


def trainer_of(value: Mapping[str, Any]) -> str | None:
    """The trainer whose configuration this is; None for an object of Kubernetes, and for what is not known."""
    if "apiVersion" in value or "kind" in value:
        return None
    return next((name for name, known in _FIELDS.items() if len(value.keys() & set(known.split())) >= _ENOUGH), None)


def answer(trainer: str) -> str:
    """The sentence for a file of this trainer."""
    return f"this is a configuration of {trainer}, not a FineTuneJob; {PAGE} translates it, name by name"
