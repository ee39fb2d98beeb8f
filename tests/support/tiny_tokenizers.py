"""Real tokenizers, trained in a moment on a few words: no download, no vocabulary file."""

import inspect
import json
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

WORDS = ["the", "film", "was", "a", "great", "dull", "moving", "story", "cast", "is", "not", "what", "good", "bad"]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def bert_like() -> Any:
    """WordPiece with `[CLS] text [SEP] pair [SEP]` and token types."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    vocabulary = [*special, *WORDS, *(c for c in characters if c not in WORDS), *(f"##{c}" for c in characters)]
    ids = {token: index for index, token in enumerate(vocabulary)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def gpt_like(chat_template: str | None = None, *, add_prefix_space: bool = False) -> Any:
    """Byte-level BPE that ends texts with `<|endoftext|>` and, with a template, turns with `<|im_end|>`."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    backend.train_from_iterator(
        [" ".join(WORDS)] * 3,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>" if chat_template else "<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special,
        chat_template=chat_template,
    )


def llama_like(chat_template: str | None = None) -> Any:
    """A word vocabulary with `▁` for spaces, one of them put before the first word, and `<s>` before every text."""
    special = ["<unk>", "<s>", "</s>"]
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*special, "▁", "\n", *letters, *(f"▁{letter}" for letter in letters), *(f"▁{word}" for word in WORDS)]
    backend = Tokenizer(
        models.Unigram([(piece, -1.0 if len(piece) > 2 else -9.0) for piece in dict.fromkeys(pieces)], unk_id=0)
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=chat_template
    )


def llama_2_like(chat_template: str | None = None) -> Any:
    """BPE that falls back to bytes, converted from SentencePiece: a normalizer puts a space before each text."""
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=["▁", *(chr(code) for code in range(33, 127))],
        show_progress=False,
    )
    learner = Tokenizer(models.BPE())
    learner.train_from_iterator(["▁" + "▁".join(WORDS)] * 3, trainer)
    learned = json.loads(learner.to_str())["model"]
    backend = Tokenizer(
        models.BPE(
            learned["vocab"],
            [tuple(pair) for pair in learned["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = _from_sentence_pieces()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=chat_template
    )


def t5_like(chat_template: str | None = None) -> Any:
    """Unigram that drops every space and puts one before each word; bytes stand for what it has no piece of."""
    special = ["<pad>", "</s>", "<unk>"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *(chr(code) for code in range(33, 127))]
    scored = [(piece, -1.0 if len(piece) > 2 else -9.0) for piece in [*pieces, *(f"▁{word}" for word in WORDS)]]
    backend = Tokenizer(models.Unigram(scored, unk_id=2, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    backend.decoder = _from_sentence_pieces()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", chat_template=chat_template
    )


def mbart_like(kind: Any) -> Any:
    """MBartTokenizer or MBart50Tokenizer, with the languages that they know."""
    languages = inspect.getmodule(kind).FAIRSEQ_LANGUAGE_CODES  # type: ignore[union-attr]
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = ["▁", *(chr(code) for code in range(33, 127)), *(f"▁{word}" for word in WORDS)]
    scored = [(piece, -1.0 if len(piece) > 2 else -9.0) for piece in pieces]
    marks = [(token, 0.0) for token in (*languages, "<mask>")]
    return kind(vocab=[*((token, 0.0) for token in special), *scored, *marks])


def _from_sentence_pieces() -> Any:
    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
