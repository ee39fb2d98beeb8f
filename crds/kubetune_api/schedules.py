"""How the learning rate moves over a run: one row for each schedule."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ScheduleRow:
    """One schedule."""

    does: str
    """What the rate does after the warm-up, for the API's page."""
    defaults: Mapping[str, float] = field(default_factory=dict)
    """Its settings, by their attributes in `training.schedule`, with the values where the manifest does not say."""


SCHEDULES: dict[str, ScheduleRow] = {
    "Linear": ScheduleRow("falls to 0 in a straight line"),
    "Cosine": ScheduleRow("falls to 0 along half a cosine"),
    "CosineWithMinimum": ScheduleRow("falls to `minimumRatio` along half a cosine", {"minimum_ratio": 0.1}),
    "Constant": ScheduleRow("stays"),
    "WSD": ScheduleRow(
        "stays, and falls to `minimumRatio` along half a cosine over the last `decayRatio` of all steps",
        {"minimum_ratio": 0.0, "decay_ratio": 0.1},
    ),
    "InverseSqrt": ScheduleRow("falls with the square root of the steps"),
}
"""By the name that `training.schedule.type` has."""
