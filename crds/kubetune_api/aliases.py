"""What people type who know other trainers, and what it is here: one row for each name. One with a dot is for the field
of that group alone.

The names are those of transformers, TRL, peft, axolotl and LLaMA-Factory. A test holds every row against the schema: a
field that a row names must exist, and a field that a row calls "not supported yet" must not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic.alias_generators import to_camel

from kubetune_api.metrics import METRICS
from kubetune_api.schemes import FILE, HUB
from kubetune_api.tasks import TASKS


@dataclass(frozen=True)
class Means:
    """The name is that of another field."""

    path: str
    """The field, below `spec`."""
    note: str = ""
    """What else its user has to know: a clause."""


@dataclass(frozen=True)
class NotYet:
    """What is meant is planned, and is not there."""

    path: str
    """The field that it will be, below `spec`; for a value the value."""
    what: str
    """What is not supported yet."""


@dataclass(frozen=True)
class Never:
    """What is meant is left out on purpose."""

    because: str
    """The reason, after "because"."""


Alias = Means | NotYet | Never
ValueAlias = Means | NotYet

_STEPS = "globalBatchSize = per-device batch size × accumulation steps × workers"

_ROWS: dict[str, Alias] = {
    # batches, length of the run
    "gradient_accumulation_steps": Means("training.globalBatchSize", _STEPS),
    "grad_accum": Means("training.globalBatchSize", _STEPS),
    "per_device_train_batch_size per_device_batch_size per_gpu_train_batch_size": Means(
        "training.microBatchSize", f"a step takes the whole batch: {_STEPS}"
    ),
    "batch_size train_batch_size": Means("training.globalBatchSize"),
    "num_train_epochs num_epochs n_epochs": Means("training.epochs"),
    "per_device_eval_batch_size eval_batch_size": Means("training.microBatchSize", "evaluation uses the same"),
    # optimizer, schedule
    "lr": Means("training.learningRate"),
    "lr_scheduler lr_scheduler_type scheduler": Means("training.schedule.type"),
    "warmup": Means("training.schedule.warmupRatio"),
    "min_lr_rate min_lr_ratio cosine_min_lr_ratio": Means("training.schedule.minimumRatio"),
    "neftune_noise_alpha": Means("training.neftuneAlpha"),
    "layerwise_lr_decay layer_decay layerwise_learning_rate_decay": Means("training.layerwiseDecay"),
    "hidden_dropout_prob attention_dropout": Means("training.dropout", "it is for every dropout of the model"),
    "l1_lambda l1_penalty": Means("training.l1"),
    "optim": Means("training.optimizer.type"),
    "beta1 adam_beta1": Means("training.optimizer.beta1"),
    "beta2 adam_beta2": Means("training.optimizer.beta2"),
    "momentum": Means("training.optimizer.momentum"),
    "epsilon eps adam_epsilon": Means("training.optimizer.epsilon"),
    "max_grad_norm gradient_clipping": Means("training.maxGradientNorm"),
    "label_smoothing label_smoothing_factor": Means("training.labelSmoothing"),
    "class_weight class_weights pos_weight": Means("task.sequenceClassification.classWeights"),
    "focal_loss": Means("task.sequenceClassification.loss"),
    "gamma focal_gamma": Means("task.sequenceClassification.focalGamma"),
    # model and task
    "base_model model_name model_name_or_path pretrained_model_name_or_path": Means("model.uri"),
    "max_seq_length max_seq_len sequence_len cutoff_len model_max_length block_size": Means("task.maxLength"),
    "max_target_length val_max_target_length": Means("task.seq2Seq.maxTargetLength"),
    "max_source_length": Means("task.maxLength"),
    "src_lang source_lang": Means("task.seq2Seq.sourceLanguage"),
    "tgt_lang target_lang forced_bos_token": Means("task.seq2Seq.targetLanguage"),
    "task_type training_type": Means("task.type"),
    "num_labels id2label label2id": Means("task.labels", "list the labels themselves"),
    "beta rl_beta dpo_beta pref_beta orpo_alpha": Means("task.preference.beta"),
    "loss_type pref_loss dpo_loss_type": Means("task.preference.loss"),
    "simpo_gamma": Means("task.preference.gamma"),
    "dpo_label_smoothing rl_label_smoothing": Means("task.preference.labelSmoothing"),
    "cpo_alpha simpo_alpha": Never("SimPO learns from the comparison alone; ORPO learns the chosen answer as well"),
    "rl rlhf": Means("task.type", "DPO is one of the tasks"),
    "embedding.scale similarity_scale": Means("task.embedding.temperature", "it is 1 / scale: 0.05 for a scale of 20"),
    "ref_model reference_model ref_model_path": Never(
        "the reference is the model itself, as it was before the training"
    ),
    "train_on_inputs train_on_prompt completion_only_loss assistant_only_loss roles_to_train mask_history": NotYet(
        "task.causalLM", "a choice of the tokens that the loss counts"
    ),
    # method
    "lora_r lora_rank r": Means("method.lora.rank"),
    "lora_alpha": Means("method.lora.alpha"),
    "lora_dropout": Means("method.lora.dropout"),
    "lora_target lora_target_modules target_modules": Means(
        "method.lora.targetModules", "or set method.lora.targets to AllLinear or Attention"
    ),
    "lora_target_linear": Means("method.lora.targets", "AllLinear is the default"),
    "use_dora use_rslora peft_use_dora peft_use_rslora": Means("method.lora.variant"),
    "lora_config peft_config use_peft": Means("method.lora", "set method.type to LoRA beside it"),
    "adapter_name_or_path lora_model_dir": Means("model.uri", "an adapter names its base model itself"),
    "merge_lora merge_adapter": Means("method.lora.publish", "Merged publishes a whole model"),
    "modules_to_save lora_modules_to_save additional_target": Never(
        "a new head is trained whole beside the adapter, and everything else stays as it was"
    ),
    "spec.adapter": Means("model.uri", "an adapter to train on is the model; method.type: LoRA begins a new one"),
    "adapter finetuning_type": Means("method.type"),
    "load_in_4bit load_in_8bit quantization_bit quantization_method bnb_4bit_quant_type": Means(
        "method.quantization.type", "NF4 has 4 bits, Int8 has 8"
    ),
    "bnb_4bit_use_double_quant": Means("method.quantization.doubleQuantization"),
    "bnb_4bit_compute_dtype": Means("training.precision", "quantized layers compute in it"),
    # computing
    "bf16 fp16 tf32 torch_dtype dtype mixed_precision": Means("training.precision"),
    "gradient_checkpointing use_gradient_checkpointing disable_gradient_checkpointing": Means(
        "training.activationCheckpointing", "Full turns it on, None off"
    ),
    "packing sample_packing padding_free": Never(
        "examples are joined without padding by themselves where the model can"
    ),
    "deepspeed zero_stage": Means("zero.stage"),
    "fsdp fsdp_config": Means("zero.stage", "stage 3 shards weights, gradients and optimizer as FSDP does"),
    "offload_optimizer optimizer_offload cpu_offload": Means("zero.offload.optimizer", "set it to CPU"),
    "offload_param param_offload offload_params": Means("zero.offload.weights", "set it to CPU"),
    "num_gpus n_gpus gpus num_processes nproc_per_node world_size": Means("resources.workers"),
    # data
    "datasets dataset_name dataset_path train_file data_files data_path": Means("dataset.uri"),
    "eval_dataset validation_file": Means("dataset.validation.uri"),
    "test_dataset test_file": Means("dataset.test.uri"),
    "val_set_size val_size eval_split_ratio": Means("dataset.validationFraction"),
    "test_size test_split_ratio": Means("dataset.testFraction"),
    "dataset_text_field text_column": Means("dataset.columns.text"),
    "label_column": Means("dataset.columns.label"),
    "text_column_name tokens_column words_column": Means("dataset.columns.tokens"),
    "label_column_name tags_column ner_tags": Means("dataset.columns.tags"),
    "entities entities_column": Means("dataset.columns.spans", "a list of {start, end, label}, beside `text`"),
    "prompt_column": Means("dataset.columns.prompt"),
    "response_column completion_column": Means("dataset.columns.completion"),
    "similarity_score similarity": Means("dataset.columns.score", "beside sentence1 and sentence2"),
    "source_column article_column document_column": Means("dataset.columns.source"),
    "target_column summary_column": Means("dataset.columns.target"),
    "source_prefix": Never("what stands before each source is written into the data, as it is when the model is asked"),
    "conversations conversation messages_column field_messages chat_column": Means("dataset.columns.messages"),
    "role_tag content_tag user_tag assistant_tag message_property_mappings message_field_role": Never(
        "a turn has the keys role and content, or those of ShareGPT: from and value"
    ),
    "tools tools_column": NotYet("dataset.columns.tools", "the definitions of tools in a conversation"),
    # evaluation, saving, result
    "save_steps saves_per_epoch": Means("training.checkpoints.everySteps", "it counts optimizer steps"),
    "save_strategy": Means("training.checkpoints", "everySteps, everySeconds or both say when, else its cost"),
    "save_total_limit": Means("training.checkpoints.retain"),
    "resume_from_checkpoint": Never(
        "`kubetune run --resume RUN` goes on with a run, and each attempt in a cluster with the one before"
    ),
    "eval_steps evals_per_epoch": Means("evaluation.everySteps", "it counts optimizer steps"),
    "eval_strategy evaluation_strategy": Means("evaluation.everySteps", "unset, each epoch is evaluated"),
    "load_best_model_at_end": Means("training.keep", "set it to Best"),
    "predict_with_generate": Means("evaluation.generation"),
    "max_new_tokens generation_max_length eval_max_new_tokens": Means("evaluation.generation.maxNewTokens"),
    "compute_metrics": Means("evaluation.metrics", "it names functions that a package of the image offers"),
    "metric_for_best_model earlyStopping.metric": Means("evaluation.primaryMetric"),
    "greater_is_better": Never("the metric itself says whether higher or lower is better"),
    "early_stopping_patience": Means("training.earlyStopping.patience"),
    "early_stopping_threshold earlyStopping.threshold": Means("training.earlyStopping.minDelta"),
    "output_dir": Means("output.uri"),
    "hf_token hub_token aws_access_key_id": Means("credentials[0].secretName", "a token is kept in a Secret"),
    # what will not come
    "trust_remote_code": Never("kubetune never runs code that comes with a model"),
    "report_to wandb_project wandb use_wandb": Never(
        "a run publishes report.html and metrics.jsonl beside the model, and Prometheus reads its metrics in a cluster"
    ),
    "attn_implementation flash_attention": Never("the attention that transformers chooses for the model is used"),
    "logging_steps": Never("every step is recorded"),
    "push_to_hub hub_model_id push_to_hub_token": Never("models are published to object storage only"),
    "template chat_template": Never("the tokenizer's own chat template is used"),
    "tokenizer_name tokenizer_type tokenizer_name_or_path": Never("the model's own tokenizer is used"),
    "dataloader_num_workers preprocessing_num_workers dataset_num_proc": Never("the data is prepared once, in memory"),
    "group_by_length": Never("the order of the examples depends on the seed only"),
}
_TASK = "task.type"
_VALUES: dict[str, dict[str, ValueAlias]] = {
    _TASK: {
        "kto rm reward": NotYet("Reward", "training with KTO or a model of rewards"),
    },
    "task.preference.loss": {"dpo": Means("Sigmoid")},
    "task.embedding.loss": {
        "CosineSimilarityLoss": Means("CosineSimilarity"),
        "MultipleNegativesRankingLoss MNRL InfoNCE": Means("MultipleNegatives"),
    },
    "method.type": {
        "fft full_finetuning none": Means("Full"),
        "dora rslora": Means("LoRA", "set method.lora.variant beside it"),
        "qlora": Means("LoRA", "set method.quantization beside it"),
        "freeze": Means("Full", "set method.freeze beside it"),
    },
    "training.schedule.type": {
        "constant_with_warmup": Means("Constant", "set warmupSteps or warmupRatio beside it"),
        "cosine_with_restarts": Means("Cosine"),
        "cosine_with_min_lr": Means("CosineWithMinimum"),
        "warmup_stable_decay": Means("WSD"),
        "inverse_sqrt rsqrt": Means("InverseSqrt"),
    },
    "training.optimizer.type": {
        "adamw_torch adamw_torch_fused adamw_hf adamw_apex_fused": Means("AdamW"),
        "adamw_8bit adamw_bnb_8bit paged_adamw_8bit paged_adamw_32bit": Means(
            "AdamW", "its states have 32 bits; ZeRO shards them over the workers"
        ),
        "lion_32bit lion_8bit paged_lion_32bit paged_lion_8bit": Means("Lion", "its state has 32 bits"),
    },
    "training.precision": {
        "bfloat16": Means("BF16"),
        "float16 half": Means("FP16"),
        "float32 float": Means("FP32"),
    },
}


def field_alias(name: str, group: str) -> Alias | None:
    """What an unknown name of a field of a group means, in whichever spelling: `loraR`, `lora_r`, `lora-r`."""
    return _FIELDS.get(_plain(f"{group}.{name}")) or _FIELDS.get(_plain(name))


def value_alias(path: str, value: str) -> ValueAlias | None:
    """What a word means that the field at `path` (below `spec`) does not know."""
    wanted = _plain(value)
    return next(
        (alias for at, names, alias in value_rows() if at == path and wanted in map(_plain, names.split())), None
    )


def rows() -> Iterator[tuple[str, Alias]]:
    """Every row of the fields: the names as others write them, and what they mean."""
    yield from _ROWS.items()


def value_rows() -> Iterator[tuple[str, str, ValueAlias]]:
    """Every row of the values: the path of the field, the names, and what they mean."""
    yield from ((_TASK, " ".join(row.also), Means(name)) for name, row in TASKS.items())
    for name, row in TASKS.items():
        if row.also_losses:
            beside = f"set task.{to_camel(row.settings or '')}.loss beside it"
            yield _TASK, " ".join(row.also_losses), Means(name, beside)
    yield from ((path, names, alias) for path, words in _VALUES.items() for names, alias in words.items())


def fitting(value: str, pattern: str, *, dataset: bool, split: str) -> str | None:
    """The value as it was probably meant, where a common slip keeps it from matching the pattern of its field.

    `dataset` says whether the field is one of the data's, `split` whose metric is meant where none is named.
    """
    better = _rewritten(value, dataset=dataset, split=split)
    return next((found for found in better if re.search(pattern, found)), None)


def _rewritten(value: str, *, dataset: bool, split: str) -> Iterator[str]:
    if value.startswith(("/", "./", "../")):
        yield f"{FILE}://{value}"
    elif _FILE_NAME.fullmatch(value):
        yield f"{FILE}://./{value}"
    elif _HUB_NAME.fullmatch(value):
        yield f"{HUB}://datasets/{value}/*.parquet" if dataset else f"{HUB}://{value}"
    if size := _SIZE.fullmatch(value):
        yield f"{size[1]}{size[2].upper()}i"
    if value.startswith("eval_"):
        yield f"validation/{value.removeprefix('eval_')}"
    named, _, other = value.rpartition("/")
    yield from (f"{named or split}/{name}" for name, metric in METRICS.items() if other in (name, *metric.also))


_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_NAME = re.compile(r"[\w/-]+[.](csv|jsonl?|parquet|txt|tsv|gguf|safetensors)([.]gz)?")
_SIZE = re.compile(r"([0-9]+(?:[.][0-9]+)?) ?([KMGTkmgt])i?[Bb]")


def _plain(name: str) -> str:
    return re.sub(r"[_.\- ]", "", name).lower()


_FIELDS = {_plain(name): alias for names, alias in _ROWS.items() for name in names.split()}
