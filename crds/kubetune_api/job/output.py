"""`spec.output`: where the result goes."""

from typing import ClassVar

from kubetune_api.base import ApiModel
from kubetune_api.job.names import URI_RULES, OutputUri


class Output(ApiModel):
    """Where the result goes."""

    uri: OutputUri
    """The folder in object storage: `file:///path`, `s3://bucket/prefix`, `gs://…`, `az://…`. A run writes under
    `<uri>/<namespace>/<name>/<run>/`, never over another run's files. `file://./path` and `file://../path` start at the
    manifest's folder, in a local run."""

    rules: ClassVar = URI_RULES
