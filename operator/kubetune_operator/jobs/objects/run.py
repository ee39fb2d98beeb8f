"""The ConfigMap with the resolved run of an attempt, as the trainer reads it."""

from dataclasses import dataclass

from kubetune_api.job import FineTuneJob
from kubetune_api.profile import within
from kubetune_api.quantity import amount
from kubetune_api.run import MountedSecret, ReportTo, Run
from kubetune_operator.jobs import names
from kubetune_operator.jobs.history import mean_seconds_between_interruptions
from kubetune_operator.jobs.objects.meta import owned, with_inherited
from kubetune_operator.jobs.observed import JobView
from kubetune_operator.jobs.resolve import Resolved
from kubetune_operator.machinery.kinds import CONFIG_MAP, Object

RUN_FOLDER = "/etc/kubetune/run"
RUN_KEY = "run.json"
_SECRETS_FOLDER = "/etc/kubetune/secrets"
SIGNING_FOLDER, SIGNING_FILE = "/etc/kubetune/signing", "key.pem"
"""Where the head, and no other pod, has the key that signs models."""


@dataclass(frozen=True)
class SecretMount:
    """A Secret in the pods of a job."""

    volume: str
    secret: str
    folder: str


def secret_mounts(resolved: Resolved) -> list[SecretMount]:
    """One for each Secret that the run needs."""
    secrets = dict.fromkeys(credentials.secret_name for credentials in resolved.credentials)
    return [
        SecretMount(f"secret-{number}", secret, f"{_SECRETS_FOLDER}/{number}")
        for number, secret in enumerate(secrets, start=1)
    ]


def run_config(job: JobView, resolved: Resolved, attempt: int) -> Object:
    """Immutable: what an attempt runs is what its plan said, whoever may write ConfigMaps in the namespace."""
    config = owned(CONFIG_MAP, job, names.ray_job(job.name, job.uid, attempt), {names.ATTEMPT: str(attempt)})
    config = with_inherited(config, resolved)
    return {**config, "immutable": True, "data": {RUN_KEY: run_text(job, resolved, attempt)}}


def run_text(job: JobView, resolved: Resolved, attempt: int) -> str:
    """The run as the trainer reads it."""
    run = run_of(job, resolved, attempt)
    return run.model_dump_json(by_alias=True, exclude_none=True, exclude={"job": {"status"}}, indent=1)


def run_of(job: JobView, resolved: Resolved, attempt: int) -> Run:
    """The run of an attempt."""
    profile = resolved.profile.spec
    folders = {mount.secret: mount.folder for mount in secret_mounts(resolved)}
    return Run(
        job=_saved(resolved.job),
        saves_by_default=resolved.job.spec.training.checkpoints is None,
        run_id=job.uid,
        attempt=attempt,
        workers=resolved.workers,
        needs_gpu=profile.accelerator is not None,
        scratch_bytes=int(amount(profile.scratch_size)),
        credentials=[
            MountedSecret(prefix=credentials.prefix, folder=folders[credentials.secret_name])
            for credentials in resolved.credentials
        ],
        allowed_storage_accounts=profile.allowed_storage_accounts,
        allowed_uri_prefixes=[within(prefix, job.namespace) for prefix in profile.allowed_uri_prefixes],
        # The machine's own identity is nobody's to use: it is asked for only where the pods have one of theirs.
        ambient_credentials=profile.service_account_name is not None,
        mean_seconds_between_interruptions=mean_seconds_between_interruptions(job.status),
        signing_key=f"{SIGNING_FOLDER}/{SIGNING_FILE}" if profile.signing else None,
        report_to=ReportTo(namespace=job.namespace, name=names.reports(job.name, job.uid)),
    )


def _saved(job: FineTuneJob) -> FineTuneJob:
    """With the checkpoints that it has in a cluster, and without its status."""
    training = job.spec.training.model_copy(update={"checkpoints": job.spec.checkpoints_in_a_cluster})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"training": training}), "status": None})
