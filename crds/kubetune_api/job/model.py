"""`spec.model`: the pretrained model."""

from typing import Annotated, ClassVar

from pydantic import Field

from kubetune_api.base import ApiModel
from kubetune_api.job.names import PINNED_MODEL, URI_RULES, GitRevision, SourceUri
from kubetune_api.schemes import folder_forms
from kubetune_api.tables import filled


class Model(ApiModel):
    """The pretrained model to start from."""

    uri: Annotated[SourceUri, Field(json_schema_extra=filled(folders=folder_forms))]
    """Where the model is: a folder ({folders}) that holds `config.json`,
    safetensors weights and a tokenizer, or one GGUF file; or a repository of the Hugging Face hub
    (`hf://owner/name`). Or an adapter in such a place, which `LoRA` trains on; its `adapter_config.json` says
    where its base model is. `file://./path` and `file://../path` start at the manifest's folder, in a local run.
    Pickled weights and remote code are never loaded."""
    revision: GitRevision | None = None
    """The commit of the hub repository, 40 hexadecimal digits. Required with `hf://`, not allowed elsewhere."""

    rules: ClassVar = (*URI_RULES, *PINNED_MODEL)
