"""`spec.model`: the pretrained model."""

from typing import ClassVar

from kubetune_api.base import ApiModel
from kubetune_api.job.names import PINNED_MODEL, URI_RULES, GitRevision, SourceUri


class Model(ApiModel):
    """The pretrained model to start from."""

    uri: SourceUri
    """Where the model is: a folder (`file:///path`, `s3://bucket/path`, `gs://…`, `az://…`) that holds `config.json`,
    safetensors weights and a tokenizer, or one GGUF file; or a repository of the Hugging Face hub
    (`hf://owner/name`). `file://./path` and `file://../path` start at the manifest's folder, in a local run. Pickled
    weights and remote code are never loaded."""
    revision: GitRevision | None = None
    """The commit of the hub repository, 40 hexadecimal digits. Required with `hf://`, meaningless elsewhere."""

    rules: ClassVar = (*URI_RULES, *PINNED_MODEL)
