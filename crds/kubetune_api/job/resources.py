"""What a run may use and how often it is tried: `spec.profileRef`, `resources`, `zero`, `credentials`, `retry`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kubetune_api.base import ApiModel, Rule, Uri
from kubetune_api.job.names import ProfileName, SecretName
from kubetune_api.schemes import keys_in_words
from kubetune_api.tables import filled


class ProfileRef(ApiModel):
    """The `FineTuneProfile` that says what the job may use. A local run applies it if it is in the same manifest, and
    prints a note if it is not."""

    name: ProfileName | None = None
    """The name of the profile. Unset: `default`, in a cluster."""


class Resources(ApiModel):
    """What the run may use."""

    workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """The number of workers (ranks), one accelerator each. Unset: one per accelerator present in a local run, else 1.
    A local run on a machine with fewer accelerators uses those that are there, with the same global batches."""
    min_workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """The fewest workers that the run goes on with. Where some pods of an attempt find no node for ten minutes, and at
    least so many workers have one, the next attempt has as many as that, with the same global batches; the one after it
    has all again. Unset: it waits for all. A local run ignores it."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.minWorkers) || (has(self.workers) && self.minWorkers <= self.workers)",
            message="the fewest workers are no more than resources.workers, which must be set beside it; lower it, or"
            " set resources.workers",
            holds=lambda each: each.min_workers is None or each.min_workers <= (each.workers or 0),
            field="minWorkers",
        ),
    )


class Offload(ApiModel):
    """What lies in the main memory of the nodes, for a model that the accelerators have no room for. The losses are the
    same, and steps take longer."""

    optimizer: Literal["None", "CPU"] = "None"
    """The optimizer's state and its 32-bit weights, with AdamW 12 bytes a trained parameter, each worker's share on its
    node, where CPUs take the steps. From stage 1 on."""
    weights: Literal["None", "CPU"] = "None"
    """The weights that the model computes with: each layer is fetched when it is needed. At stage 3."""

    @property
    def lowest_stage(self) -> int:
        """The lowest ZeRO stage at which DeepSpeed does so."""
        return 3 if self.weights == "CPU" else 1 if self.optimizer == "CPU" else 0


NOTHING = Offload()
"""All stays in the accelerators' memory."""


class Zero(ApiModel):
    """How DeepSpeed shards the training state over the workers. The losses are the same at every stage."""

    stage: Annotated[int, Field(ge=0, le=3)] | None = None
    """0 keeps everything on every worker; 1 shards the optimizer's state, 2 also the gradients, 3 also the weights.
    Unset: the lowest stage that fits the accelerator's memory, or on CPUs a worker's share of main memory; 0 with an
    optimizer that needs whole matrices, 3 with `offload.weights`."""
    offload: Offload = NOTHING
    """What lies in the main memory of the nodes."""

    rules: ClassVar = (
        Rule(
            # The API server judges the default {} of the group before it fills it in.
            cel="!has(self.stage) || self.stage > 0 || !has(self.offload) || !has(self.offload.optimizer) ||"
            " self.offload.optimizer == 'None'",
            message="DeepSpeed offloads the optimizer from stage 1 on; raise stage, leave it out, or remove"
            " offload.optimizer",
            holds=lambda zero: zero.stage != 0 or zero.offload.optimizer == "None",
            field="offload.optimizer",
        ),
        Rule(
            cel="!has(self.stage) || self.stage == 3 || !has(self.offload) || !has(self.offload.weights) ||"
            " self.offload.weights == 'None'",
            message="DeepSpeed offloads weights at stage 3, where each worker holds a share of them; set stage to 3,"
            " leave it out, or remove offload.weights",
            holds=lambda zero: zero.stage in (None, 3) or zero.offload.weights == "None",
            field="offload.weights",
        ),
    )


class Credentials(ApiModel):
    """The Secret with the credentials for a part of object storage or of the hub."""

    prefix: Uri
    """The URIs that it is for: this one and those below it, after a `/`; `s3://` is all of S3. Where several prefixes
    match a URI, the longest one counts."""
    secret_name: Annotated[SecretName, Field(json_schema_extra=filled(keys=keys_in_words))]
    """A Secret in the job's namespace. Its keys: {keys}."""


class Retry(ApiModel):
    """How often a failed attempt is followed by another. Errors that would come again are never retried, and an attempt
    that lost its node or made room for another job costs none of the attempts."""

    max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    """The most attempts that may fail; 1 never retries."""
    backoff_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """The wait before the second attempt, in seconds. It doubles with each further one, up to an hour."""
