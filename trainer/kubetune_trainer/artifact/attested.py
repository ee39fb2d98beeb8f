"""What a run says of its model for others to check: where it came from, and, with a key, whose it is."""

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from kubetune_api.reasons import Reason
from kubetune_api.run import MODEL, Run
from kubetune_trainer.artifact.provenance import PROVENANCE, provenance
from kubetune_trainer.artifact.publish import canonical_json
from kubetune_trainer.artifact.signature import SIGNATURE, key_in, private_key, signed
from kubetune_trainer.errors import RunError
from kubetune_trainer.records import RunRecord, StoredFile


def signing_key(run: Run) -> EllipticCurvePrivateKey | None:
    """The key that signs the run's model, if there is one; RunError if it cannot be used."""
    if run.signing_key is None:
        return None
    try:
        return key_in(Path(run.signing_key), private_key)
    except ValueError as error:
        why = f"The key {run.signing_key} cannot sign the model: {error}."
        raise RunError(Reason.CREDENTIALS_REFUSED, why) from None


def attested(
    run: Run, record: RunRecord, model: Sequence[StoredFile], key: EllipticCurvePrivateKey | None
) -> dict[str, str]:
    """The texts of the files, by their names below the folder of the execution.

    A rejected model is not signed: of all that was published, the signature alone cannot be changed to say otherwise.
    """
    folder = f"{run.folder}/{MODEL}"
    texts = {PROVENANCE: canonical_json(provenance(record, model, folder=folder))}
    if key is not None and not record.rejected:
        files = [StoredFile(file.name.removeprefix(f"{folder}/"), file.size, file.sha256) for file in model]
        texts[f"{MODEL}/{SIGNATURE}"] = signed(run.job.metadata.name, files, key)
    return {name: text.decode() for name, text in texts.items()}
