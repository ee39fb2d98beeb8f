"""`spec.model`: the pretrained model."""

from typing import ClassVar

from kubetune_api.base import ApiModel, Rule
from kubetune_api.job.names import URI_RULES, GitRevision, ModelUri, is_hub


class Model(ApiModel):
    """The pretrained model to start from."""

    uri: ModelUri
    """Where the model is: a folder (`file:///path`, `s3://bucket/path`, `gs://…`, `az://…`) that holds `config.json`,
    safetensors weights and a tokenizer, or one GGUF file; or a repository of the Hugging Face hub
    (`hf://owner/name`). `file://./path` and `file://../path` start at the manifest's folder, in a local run. Pickled
    weights and remote code are never loaded."""
    revision: GitRevision | None = None
    """The commit of the hub repository, 40 hexadecimal digits. Required with `hf://`, meaningless elsewhere."""

    rules: ClassVar = (
        *URI_RULES,
        Rule(
            cel="!self.uri.startsWith('hf://') || has(self.revision)",
            message="a model of the hub needs its commit, 40 hexadecimal digits, so that a retrain starts from the same"
            " weights; the page 'Files and versions' of the model shows it",
            holds=lambda model: not is_hub(model.uri) or model.revision is not None,
            field="revision",
        ),
        Rule(
            cel="self.uri.startsWith('hf://') || !has(self.revision)",
            message="only hf:// models have a revision; remove it, or name the version in the path of the URI",
            holds=lambda model: is_hub(model.uri) or model.revision is None,
            field="revision",
        ),
    )
