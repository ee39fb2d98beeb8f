"""What a job's head wrote into its ConfigMap, read as data from a tenant who may write anything there."""

import json
from math import isfinite

from pydantic import ValidationError

from kubetune_api.run_report import KEY, MAX_BYTES, RunReport
from kubetune_operator.machinery.kinds import Object


def report_in(config_map: Object) -> RunReport | None:
    """The report; None where there is none, or where what stands there is none."""
    data = config_map.get("data")
    text = data.get(KEY) if isinstance(data, dict) else None
    if not isinstance(text, str) or len(text.encode(errors="replace")) > MAX_BYTES:
        return None
    try:
        found = json.loads(text, parse_constant=_no_number, parse_float=_number)
        return RunReport.model_validate(found)
    except (ValueError, RecursionError, ValidationError):
        return None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number that JSON has")


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is beyond all numbers")
    return value
