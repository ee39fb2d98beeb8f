"""The CustomResourceDefinitions, made from the models: `python -m kubetune_api.crd [--check]`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from kubetune_api.base import GROUP, KEYS_KEY, RULES_KEY, VERSION, WORDS_KEY
from kubetune_api.job import CHANGEABLE_FIELDS, MAX_NAME_LENGTH, FineTuneJobSpec
from kubetune_api.kinds import JOB, KINDS, PROFILE, KindRow
from kubetune_api.schema import Schema, structural_schema

FOLDER = Path(__file__).parents[1]
"""`crds/` of the repository."""
_HEADER = "# Made from the models by `make crds` (python -m kubetune_api.crd). Change those, not this file.\n"
_WIDTH = 120


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    path: str
    type: str
    description: str
    wide: bool = False
    """Only with `-o wide`."""


NAME_RULE = {
    "rule": f"self.metadata.name.size() <= {MAX_NAME_LENGTH}"
    " && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "message": f"metadata.name is at most {MAX_NAME_LENGTH} lowercase letters, digits and `-`, the first a letter and"
    " the last no `-`; choose another name",
}
"""Names of children are made from the job's, and KubeRay bounds those."""


def _stays(field: FieldInfo) -> str:
    new, old = f"self.spec.{field.alias}", f"oldSelf.spec.{field.alias}"
    if field.is_required() or field.default is not None:  # always there: the API server fills defaults in
        return f"{new} == {old}"
    return f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"


FIXED_ONCE_STARTED = {
    "rule": "!has(oldSelf.status) || !has(oldSelf.status.startTime) || ("
    + " && ".join(
        _stays(field) for name, field in FineTuneJobSpec.model_fields.items() if name not in CHANGEABLE_FIELDS
    )
    + ")",
    "message": "spec is fixed once the run has started, but for `suspend` and `ttlSecondsAfterFinished`; create a new"
    " job, under another name, with the changed spec",
    "fieldPath": ".spec",
}
"""On the root, where the rule sees `status`, and where no optional field that comes or goes can switch it off."""


_AGE = Column("Age", ".metadata.creationTimestamp", "date", "The time since its creation.")
COLUMNS: dict[str, tuple[Column, ...]] = {
    JOB.name: (
        Column("Phase", ".status.phase", "string", "Where the run is."),
        Column("Reason", ".status.reason", "string", "Why it is in its phase."),
        Column("Progress", ".status.summary.progress", "string", "Optimizer steps done, of all."),
        Column("Metric", ".status.summary.metric", "string", "The primary metric and its final value."),
        Column("Workers", ".status.summary.workers", "string", "The workers that are ready, of those that are needed."),
        _AGE,
        Column("Loss", ".status.progress.loss", "number", "The training loss of the last step.", wide=True),
        Column("Attempt", ".status.attempts[-1:].number", "integer", "The attempt that counts.", wide=True),
        Column("Artifact", ".status.artifact.uri", "string", "Where the model is.", wide=True),
        Column("Message", ".status.message", "string", "The reason as a sentence.", wide=True),
    ),
    PROFILE.name: (
        Column("Accelerator", ".spec.accelerator.resourceName", "string", "What each worker gets one of."),
        Column("Memory", ".spec.accelerator.memory", "string", "The memory of one accelerator."),
        Column("MaxWorkers", ".spec.limits.maxWorkers", "integer", "The most workers of one job."),
        Column("Description", ".spec.description", "string", "What the profile is for."),
        _AGE,
    ),
}
"""By the name of the kind."""
RULES: dict[str, tuple[Schema, ...]] = {JOB.name: (NAME_RULE, FIXED_ONCE_STARTED), PROFILE.name: (NAME_RULE,)}
"""The rules on the root of each kind, where a rule may look at `metadata` and `status`."""


def definition(kind: KindRow) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": list(kind.categories),
            },
            "scope": kind.scope,
            "versions": [_version(kind)],
        },
    }


def _version(kind: KindRow) -> dict[str, Any]:
    schema = _for_server(structural_schema(kind.model))
    # The server judges these three itself; of `metadata` it lets nothing be said but the type.
    for name in ("apiVersion", "kind"):
        schema["properties"][name].pop("enum")
    schema["properties"]["metadata"] = {"type": "object"}
    schema[RULES_KEY] = list(RULES[kind.name])
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in COLUMNS[kind.name]],
        "schema": {"openAPIV3Schema": schema},
    }
    if "status" in schema["properties"]:
        version["subresources"] = {"status": {}}
    return version


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
        **({"priority": 1} if column.wide else {}),
    }


def _for_server(schema: Schema) -> Schema:
    """A copy without what only our own sentences need."""
    copy = {key: value for key, value in schema.items() if key not in (WORDS_KEY, KEYS_KEY)}
    if "properties" in schema:
        copy["properties"] = {name: _for_server(below) for name, below in schema["properties"].items()}
    for part in ("items", "additionalProperties"):
        if part in schema:
            copy[part] = _for_server(schema[part])
    return copy


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - every definition is written out in full
        return True


def text(kind: KindRow) -> str:
    """The file that holds the definition of a kind."""
    body: str = yaml.dump(definition(kind), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return _HEADER + body


def write_or_check(wanted: dict[Path, str], arguments: Sequence[str] | None, what: str) -> int:
    """Writes generated files, or with `--check` compares them: 0, or 1 if one differs."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not what it should be")
    check = parser.parse_args(arguments).check
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text("utf-8") != content]
    for path in stale:
        if check:
            sys.stderr.write(f"{path} is not what the models say; run `make crds`\n")
        else:
            path.write_text(wanted[path], "utf-8")
    return 1 if check and stale else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the YAML of every kind."""
    return write_or_check({FOLDER / kind.file: text(kind) for kind in KINDS.values()}, arguments, "Makes the CRDs.")


if __name__ == "__main__":
    sys.exit(main())
