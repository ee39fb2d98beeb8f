"""The object: metadata, spec and status of a `FineTuneJob`."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

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

    @model_validator(mode="wrap")
    @classmethod
    def _judge_queue_label(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Labels are the API server's to judge, but for this one, by which people mean `spec.queueName`."""
        job = handler(given)
        metadata = given.get("metadata") if isinstance(given, dict) else None
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        queue = labels.get(QUEUE_LABEL) if isinstance(labels, dict) else None
        if queue is not None and queue != job.spec.queue_name:
            message = f"Kueue does not see the label {QUEUE_LABEL} of a FineTuneJob; set spec.queueName, or remove it"
            error = PydanticCustomError("rule", "{error}", {"error": message})
            where = InitErrorDetails(type=error, loc=("metadata", "labels", QUEUE_LABEL), input=queue)
            raise ValidationError.from_exception_data(cls.__name__, [where])
        return job

    @property
    def resolved(self) -> Self:
        """The same with every default filled in that depends on a task, a method or another type."""
        return self.model_copy(update={"spec": self.spec.resolved})
