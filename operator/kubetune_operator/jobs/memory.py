"""Whether a job's state fits its accelerators and its pods, where the model's shape is known before it is fetched."""

from kubetune_api.job import FineTuneJob
from kubetune_api.profile import FineTuneProfile
from kubetune_api.quantity import amount
from kubetune_planner.catalogue import shape_of
from kubetune_planner.host import too_small
from kubetune_planner.plan import AcceleratorSpec, Refusal, TrainingPlan, plan
from kubetune_planner.search import changed


def planned(job: FineTuneJob, profile: FineTuneProfile, workers: int) -> FineTuneJob | str:
    """The job with the stage, the micro-batch and the checkpointing of activations that fit, and the precision that
    they were planned for; or why none does.

    The reason says what would fit. A job stays as it is without an accelerator, or where the model is not known.
    """
    accelerator, shape = profile.spec.accelerator, shape_of(job.spec.model.uri)
    if accelerator is None or shape is None:
        return job
    each = AcceleratorSpec(accelerator.resource_name, int(amount(accelerator.memory)), accelerator.bf16)
    found = plan(job.spec, shape, each, workers, workers_per_pod=profile.spec.workers_per_pod)
    if isinstance(found, Refusal):
        return f"{found.sentence} {found.proposal}"
    return too_small(found.host, profile) or _with(job, found)


def _with(job: FineTuneJob, found: TrainingPlan) -> FineTuneJob:
    spec = changed(
        changed(job.spec, "zero", stage=found.stage),
        "training",
        micro_batch_size=found.micro_batch_size,
        precision=found.precision,
        activation_checkpointing=found.activation_checkpointing,
    )
    return job.model_copy(update={"spec": spec})
