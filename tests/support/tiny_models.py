"""Tiny models with random weights and made-up rows, for tests of the training."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic.alias_generators import to_camel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MBartConfig,
    MistralConfig,
    MixtralConfig,
    ModernBertConfig,
    MPNetConfig,
    MT5Config,
    Olmo2Config,
    PegasusConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    SmolLM3Config,
    T5Config,
    XLMRobertaConfig,
)

from kubetune_api.families import FAMILIES
from kubetune_api.job import FineTuneJob, FineTuneJobSpec, ObjectMeta
from kubetune_api.tasks import TASKS
from kubetune_trainer.data.prepared import EncodedSplit
from kubetune_trainer.tasks.base import IGNORED
from kubetune_trainer.tasks.causal import TokenTargets
from kubetune_trainer.tasks.classification import ClassTargets
from kubetune_trainer.tasks.embedding import TextNumbers
from kubetune_trainer.tasks.multi_label import SetTargets
from kubetune_trainer.tasks.number_metrics import ranks
from kubetune_trainer.tasks.preference import AnswerTargets
from kubetune_trainer.tasks.regression import ValueTargets
from kubetune_trainer.tasks.scored_pairs import ScoreTargets
from kubetune_trainer.tasks.seq2seq import SequenceTargets
from kubetune_trainer.tasks.tagging import TagTargets

VOCABULARY = 64
PAD = 0
_SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_DECODER = {**_SMALL, "intermediate_size": 32, "num_key_value_heads": 1, "max_position_embeddings": 64}

_ENDS = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": PAD}
_T5 = {
    "vocab_size": VOCABULARY, "d_model": 16, "d_kv": 12, "d_ff": 32, "num_layers": 3, "num_decoder_layers": 3,
    "num_heads": 2, "dropout_rate": 0.0, "decoder_start_token_id": PAD, "eos_token_id": 2,
}  # fmt: skip
_BART = {
    "vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    "dropout": 0.0, "pad_token_id": PAD, "bos_token_id": 2, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip

CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**_SMALL, **_NO_DROPOUT, intermediate_size=32, max_position_embeddings=64),
    "electra": ElectraConfig(
        **_SMALL, **_NO_DROPOUT, embedding_size=8, intermediate_size=32, max_position_embeddings=64
    ),
    # Groups of layers as many as layers: each has weights of its own.
    "albert": AlbertConfig(
        **_SMALL, **_NO_DROPOUT, embedding_size=8, intermediate_size=32, max_position_embeddings=64,
        num_hidden_groups=3, classifier_dropout_prob=0.0,
    ),
    # As the third version has it.
    "deberta-v2": DebertaV2Config(
        **_SMALL, **_NO_DROPOUT, intermediate_size=32, max_position_embeddings=64, relative_attention=True,
        position_buckets=8, pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm",
        position_biased_input=False, type_vocab_size=0,
    ),
    "modernbert": ModernBertConfig(
        **_SMALL, intermediate_size=32, max_position_embeddings=64, local_attention=16, bos_token_id=2, eos_token_id=2,
        cls_token_id=2, sep_token_id=2, pad_token_id=PAD,
    ),
    "mpnet": MPNetConfig(**_SMALL, **_NO_DROPOUT, intermediate_size=32, max_position_embeddings=66, pad_token_id=1),
    "roberta": RobertaConfig(**_SMALL, **_NO_DROPOUT, intermediate_size=32, max_position_embeddings=66, pad_token_id=1),
    "xlm-roberta": XLMRobertaConfig(
        **_SMALL, **_NO_DROPOUT, intermediate_size=32, max_position_embeddings=66, pad_token_id=1
    ),
    "distilbert": DistilBertConfig(
        vocab_size=VOCABULARY, dim=16, n_layers=3, n_heads=2, hidden_dim=32, dropout=0.0, attention_dropout=0.0,
        seq_classif_dropout=0.0, max_position_embeddings=64,
    ),
    "llama": LlamaConfig(**_DECODER),
    "mistral": MistralConfig(**_DECODER),
    "mixtral": MixtralConfig(**_DECODER, num_local_experts=4),
    "qwen2": Qwen2Config(**_DECODER),
    "qwen3": Qwen3Config(**_DECODER, head_dim=8),
    # A window shorter than the tests' texts, and a head as wide as the scale of the scores.
    "gemma2": Gemma2Config(**_DECODER, head_dim=16, query_pre_attn_scalar=16, sliding_window=8, **_ENDS),
    "gemma3_text": Gemma3TextConfig(
        **_DECODER, head_dim=16, query_pre_attn_scalar=16, sliding_window=8, sliding_window_pattern=2, **_ENDS
    ),
    "phi3": Phi3Config(**_DECODER, **_ENDS, original_max_position_embeddings=64),
    "smollm3": SmolLM3Config(**_DECODER, **_ENDS, no_rope_layer_interval=2),
    "olmo2": Olmo2Config(**_DECODER, **_ENDS),
    "gpt_neox": GPTNeoXConfig(**_SMALL, intermediate_size=32, max_position_embeddings=64, classifier_dropout=0.0),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=3, n_head=2, n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=2, eos_token_id=2,
    ),
    "t5": T5Config(**_T5),
    "mt5": MT5Config(**_T5),
    "bart": BartConfig(**_BART),
    "pegasus": PegasusConfig(**_BART, forced_eos_token_id=2, activation_function="relu"),
    "mbart": MBartConfig(**_BART),
}  # fmt: skip


def tiny_model(family: str, *, labels: int | None, seed: int = 0) -> Any:
    """A classifier with that many labels, a language model where there are none, or no head at all for 0; an encoder
    with a decoder is always one that writes."""
    config = CONFIGS[family].__class__.from_dict(CONFIGS[family].to_dict())
    config.pad_token_id = PAD
    config.use_cache = False
    torch.manual_seed(seed)
    if FAMILIES[family].encoder_decoder is not None:
        return AutoModelForSeq2SeqLM.from_config(config)
    if labels is None:
        return AutoModelForCausalLM.from_config(config)
    if not labels:
        return AutoModel.from_config(config)
    config.num_labels = labels
    return AutoModelForSequenceClassification.from_config(config)


def tiny_tagger(family: str, *, labels: int, seed: int = 0) -> Any:
    """A model that gives each token one of so many tags."""
    config = CONFIGS[family].__class__.from_dict(CONFIGS[family].to_dict())
    config.pad_token_id, config.use_cache, config.num_labels = PAD, False, labels
    torch.manual_seed(seed)
    return AutoModelForTokenClassification.from_config(config)


def tiny_tokenizer() -> Any:
    """One of no more words than the models know."""
    special = {"[PAD]": PAD, "[UNK]": 1, "[END]": 2, "a": 3}
    vocabulary = {**special, **{f"w{number}": number for number in range(len(special), VOCABULARY)}}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]", model_max_length=64
    )


def saved(model: Any, folder: Path) -> Path:
    """The model as a folder in Hugging Face format, with a tokenizer of no more words than the model knows."""
    model.save_pretrained(folder, save_original_format=False)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def classification_rows(rows: int, *, labels: int = 3, seed: int = 0) -> EncodedSplit:
    """Rows of 3 to 20 tokens whose label can be learned from them."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, labels, rows).astype(np.int32)
    texts = [
        np.concatenate([[1], random.integers(4 + 10 * label, 14 + 10 * label, random.integers(3, 20))])
        for label in classes
    ]
    return EncodedSplit(_flat(texts), None, _offsets(texts), ClassTargets(classes))


def completion_rows(rows: int, *, seed: int = 0) -> EncodedSplit:
    """Rows whose second part counts up from the last token of the first."""
    random = np.random.default_rng(seed)
    prompts = [random.integers(4, 40, random.integers(2, 9)) for _ in range(rows)]
    texts = [np.concatenate([prompt, prompt[-1] + 1 + np.arange(random.integers(1, 12))]) for prompt in prompts]
    marks = [np.arange(len(text)) >= len(prompt) for prompt, text in zip(prompts, texts, strict=True)]
    return EncodedSplit(_flat(texts), None, _offsets(texts), TokenTargets(np.concatenate(marks)))


def label_set_rows(rows: int, *, seed: int = 0) -> EncodedSplit:
    """Rows of three kinds, which their tokens tell: one has no label, one has the first, and one the two others."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 3, rows)
    texts = [
        np.concatenate([[1 + kind], random.integers(4 + 20 * kind, 7 + 20 * kind, random.integers(3, 9))])
        for kind in kinds
    ]
    sets = [np.array([[], [0], [1, 2]][kind]) for kind in kinds]
    starts = np.cumsum([0, *map(len, sets)])
    return EncodedSplit(_flat(texts), None, _offsets(texts), SetTargets(_flat(sets), starts, labels=3))


def tag_rows(rows: int, *, tags: int = 5, seed: int = 0) -> EncodedSplit:
    """Rows whose tokens tell their tags; every third token is none that begins a word."""
    random = np.random.default_rng(seed)
    texts = [random.integers(4, 60, random.integers(3, 16)) for _ in range(rows)]
    targets = [np.where(np.arange(len(text)) % 3 < 2, text % tags, IGNORED) for text in texts]
    return EncodedSplit(_flat(texts), None, _offsets(texts), TagTargets(_flat(targets)))


def value_rows(rows: int, *, numbers: int = 2, seed: int = 0) -> EncodedSplit:
    """Rows with numbers that can be learned from them: how large the tokens are, and how many."""
    random = np.random.default_rng(seed)
    texts = [random.integers(4, VOCABULARY, random.integers(3, 20)) for _ in range(rows)]
    values = np.array([[text.mean() / 20, len(text) / 10] for text in texts], dtype=np.float32)[:, :numbers]
    return EncodedSplit(_flat(texts), None, _offsets(texts), ValueTargets(values, ranks(values)))


def preference_rows(rows: int, *, seed: int = 0) -> EncodedSplit:
    """Two answers to each prompt, of which the chosen one counts up, with what a model thought of them."""
    random = np.random.default_rng(seed)
    texts, marks = [], []
    for _ in range(rows):
        prompt = random.integers(4, 40, random.integers(2, 6))
        for answer in (
            prompt[-1] + 1 + np.arange(random.integers(1, 6)),
            random.integers(4, 60, random.integers(1, 6)),
        ):
            texts.append(np.concatenate([prompt, answer]))
            marks.append(np.arange(len(texts[-1])) >= len(prompt))
    reference = random.normal(-20, 3, (rows, 2)).astype(np.float32)
    targets = AnswerTargets(np.concatenate(marks))
    return EncodedSplit(_flat(texts), None, _offsets(texts), targets, ("chosen", "rejected"), reference)


def pair_rows(rows: int, *, seed: int = 0, parts: tuple[str, ...] = ("anchor", "positive")) -> EncodedSplit:
    """Anchors whose own texts begin with the same token; a row has no text of another one."""
    random = np.random.default_rng(seed)
    topics = random.integers(4, VOCABULARY, rows)
    texts = [
        np.concatenate([[3 + part, topic], random.integers(4, VOCABULARY, random.integers(2, 12))])
        for topic in topics
        for part in range(len(parts))
    ]
    numbers = np.arange(rows * len(parts)).reshape(rows, len(parts))
    return EncodedSplit(_flat(texts), None, _offsets(texts), TextNumbers(numbers), parts, compares_rows=True)


def scored_rows(rows: int, *, seed: int = 0) -> EncodedSplit:
    """Pairs of texts, the more alike the more of the first one's tokens the second has."""
    random = np.random.default_rng(seed)
    texts, scores = [], []
    for _ in range(rows):
        first, kept = random.integers(4, VOCABULARY, 8), random.integers(0, 9)
        texts += [first, np.concatenate([first[:kept], random.integers(4, VOCABULARY, 8 - kept)])]
        scores.append(kept / 8)
    values = np.array(scores, dtype=np.float32)
    targets = ScoreTargets(values, ranks(values[:, np.newaxis])[:, 0])
    return EncodedSplit(_flat(texts), None, _offsets(texts), targets, ("sentence1", "sentence2"))


def written_rows(rows: int, *, seed: int = 0) -> EncodedSplit:
    """Sources whose target counts up from their last token, to the token that ends it."""
    random = np.random.default_rng(seed)
    sources = [random.integers(4, 40, random.integers(2, 15)) for _ in range(rows)]
    targets = [np.append(source[-1] + 1 + np.arange(random.integers(1, 9)), 2) for source in sources]
    return EncodedSplit(_flat(sources), None, _offsets(sources), SequenceTargets(_flat(targets), _offsets(targets)))


def _flat(texts: list[Any]) -> Any:
    return np.concatenate(texts).astype(np.int32)


def _offsets(texts: list[Any]) -> Any:
    return np.cumsum([0, *(len(text) for text in texts)]).astype(np.int64)


def task_for(family: str) -> str:
    """Encoders learn to classify, decoders to complete, both together to write."""
    known = FAMILIES[family]
    return "Seq2Seq" if known.encoder_decoder else "CausalLM" if known.decoder else "SequenceClassification"


def spec_for(task: str, folder: Path | str = "model", /, **parts: Any) -> FineTuneJobSpec:
    """A small valid spec; `parts` replace or add top-level fields, in the manifest's own form."""
    columns = {to_camel(column): to_camel(column) for column in TASKS[task].columns}
    return FineTuneJobSpec.model_validate(
        {
            "model": {"uri": f"file://{folder}"},
            "task": {"type": task},
            "dataset": {"uri": "file:///data.csv", "columns": columns},
            "output": {"uri": "file:///out"},
            **parts,
        }
    )


def job_for(task: str, folder: Path | str = "model", /, **parts: Any) -> FineTuneJob:
    """A job around `spec_for`."""
    return FineTuneJob(
        api_version="kubetune.dev/v1alpha1",
        kind="FineTuneJob",
        metadata=ObjectMeta(name="tiny"),
        spec=spec_for(task, folder, **parts),
    )
