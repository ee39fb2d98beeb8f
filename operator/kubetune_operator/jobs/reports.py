"""What a job's head wrote into its ConfigMap, read as data from a tenant who may write anything there."""

import json
import re
from math import isfinite

from pydantic import ValidationError

from kubetune_api.run_report import KEY, MAX_BYTES, RunReport
from kubetune_api.times import moment
from kubetune_operator.jobs import names
from kubetune_operator.machinery.kinds import CONFIG_MAP, Object
from kubetune_operator.machinery.questions import Question

_UNCHANGED_SECONDS = 600.0
_TIME = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})")


def own_report(config_map: Object) -> RunReport | None:
    """The report of a job; None where the ConfigMap has not the name that the job's heads report to."""
    labels = config_map["metadata"].get("labels") or {}
    wanted = names.reports(labels.get(names.JOB, ""), labels.get(names.JOB_UID, ""))
    return report_in(config_map) if config_map["metadata"]["name"] == wanted else None


def report_question(job: str, uid: str) -> Question:
    """What asks for a job's report. The watch tells of the next one, which is read."""
    return Question(CONFIG_MAP, own_report, name=names.reports(job, uid), holds_seconds=_UNCHANGED_SECONDS)


def report_in(config_map: Object) -> RunReport | None:
    """The report; None where there is none, or where what stands there is none."""
    data = config_map.get("data")
    text = data.get(KEY) if isinstance(data, dict) else None
    if not isinstance(text, str) or len(text.encode(errors="replace")) > MAX_BYTES:
        return None
    try:
        found = json.loads(text, parse_constant=_no_number, parse_float=_number)
        report = RunReport.model_validate(found)
    except (ValueError, RecursionError, ValidationError):
        return None
    return report if all(map(_is_time, _times_of(report))) else None


def _times_of(report: RunReport) -> list[str]:
    """Those that go into the status, and are counted from."""
    known = (report.checkpoint, report.finished.checkpoint if report.finished else None)
    return [one.time for one in known if one is not None and one.time is not None]


def _is_time(text: str) -> bool:
    """Whether it is one that the API server takes, too: Python takes others."""
    try:
        return _TIME.fullmatch(text) is not None and moment(text).tzinfo is not None
    except ValueError:
        return False


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number that JSON has")


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is beyond all numbers")
    return value
