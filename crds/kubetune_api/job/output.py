"""`spec.output`: where the result goes."""

from typing import Annotated, ClassVar

from pydantic import Field

from kubetune_api.base import ApiModel
from kubetune_api.job.names import URI_RULES, OutputUri
from kubetune_api.schemes import folder_forms
from kubetune_api.tables import filled


class Output(ApiModel):
    """Where the result goes."""

    uri: Annotated[OutputUri, Field(json_schema_extra=filled(folders=folder_forms))]
    """The folder in object storage: {folders}. A run writes under
    `<uri>/<namespace>/<name>/<run>/`, never over another run's files. `file://./path` and `file://../path` start at the
    manifest's folder, in a local run."""

    rules: ClassVar = URI_RULES
