"""The object: metadata, spec and status of a `FineTuneJob`."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints

from kubetune_api.base import ApiModel, words
from kubetune_api.job.names import MAX_NAME_LENGTH, NAME_WORDS
from kubetune_api.job.spec import FineTuneJobSpec
from kubetune_api.status import FineTuneJobStatus

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""The label by which Kueue queues the kinds that it knows itself; of our job it would hear nothing."""


class ObjectMeta(ApiModel):
    """The part of Kubernetes' object metadata that a manifest may hold."""

    # The API server owns the rest of this type: it may grow without us.
    model_config = ConfigDict(extra="ignore")

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_NAME_LENGTH, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$"),
        Field(
            json_schema_extra=words(
                f"at most {MAX_NAME_LENGTH} lowercase letters, digits and `-`; it must start with a letter and must not"
                " end with `-`"
            )
        ),
    ]
    """The name of the object: at most 37 lowercase letters, digits and `-`. It must start with a letter and must not
    end with `-`."""
    namespace: Annotated[
        str,
        StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
        Field(json_schema_extra=words(f"at most 63 {NAME_WORDS}")),
    ] = "default"
    """The namespace of a job; a local run uses it in the path of the output."""


class FineTuneJob(ApiModel):
    """One fine-tuning run: a pretrained model, a dataset, and the place in object storage for the verified result."""

    api_version: Literal["kubetune.dev/v1alpha1"]
    """The version of the API."""
    kind: Literal["FineTuneJob"]
    """The kind of the object."""
    metadata: ObjectMeta
    """The object's name, namespace, labels and annotations."""
    spec: FineTuneJobSpec
    """What to train, on what, how, and where the result goes. Fixed once the run has started, but for `suspend` and
    `ttlSecondsAfterFinished`."""
    status: FineTuneJobStatus | None = None
    """What has been seen of the run. Written by kubetune alone."""

    @property
    def resolved(self) -> Self:
        """The same with every default filled in that depends on a task, a method or another type."""
        return self.model_copy(update={"spec": self.spec.resolved})


def queue_label_error(label: str | None, queue_name: str | None) -> str | None:
    """Why the queue that a job names by Kueue's label, if it does, is not the one that it waits in.

    Judged beside the models: labels change at any time, and a job that runs must stay readable.
    """
    if label in (None, queue_name):
        return None
    return f"Kueue does not see the label {QUEUE_LABEL} of a FineTuneJob; set spec.queueName, or remove the label"
