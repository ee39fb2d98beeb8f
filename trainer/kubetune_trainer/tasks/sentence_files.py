"""The files that sentence-transformers reads beside those of transformers: it opens the published folder as it is.

They are in the form that its releases since 2.0 read, newer ones too.
"""

import json
from collections.abc import Mapping

_MODULES = "sentence_transformers.models"


def sentence_files(size: int, pooling: str, max_length: int) -> Mapping[str, str]:
    """By their names; `size` is that of the vectors, `max_length` the longest text in tokens."""
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    contents = {
        "modules.json": [
            {"idx": place, "name": str(place), "path": path, "type": f"{_MODULES}.{kind}"}
            for place, (kind, path) in enumerate(modules)
        ],
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": {
            "word_embedding_dimension": size,
            "pooling_mode_cls_token": pooling == "CLS",
            "pooling_mode_mean_tokens": pooling == "Mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
        "2_Normalize/config.json": {},
    }
    return {name: json.dumps(content, indent=2) + "\n" for name, content in contents.items()}
