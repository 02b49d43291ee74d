"""Numbers out of rounds: medians, percentiles, paired ratios. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median


@dataclass(frozen=True)
class Sample:
    """One round of one chain.

    :param value: the row's figure, in the row's unit
    :param parts: the same figure per process of the chain, where it can be divided
    :param rate: operations per second of wall time; 0 where that means nothing
    """

    value: float
    parts: dict[str, float] = field(default_factory=dict)
    rate: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """One row of the table: medians over all rounds.

    ``ratio`` is the median of the rounds' own ratios (ours / rival), so that a
    change of the machine's pace between two rounds does not enter it;
    ``low`` and ``high`` are the least and the greatest of them.
    """

    unit: str
    ours: float
    rival: float
    ratio: float
    low: float
    high: float
    ours_rate: float
    rival_rate: float
    rival_parts: dict[str, float]

    def as_json(self) -> dict[str, object]:
        """The row as it stands in a results file, rounded to its meaningful digits."""
        return {
            key: round_significant(value) if isinstance(value, float) else value
            for key, value in asdict(self).items()
            if key != "rival_parts"
        } | {"rival_parts": {k: round_significant(v) for k, v in self.rival_parts.items()}}


def compare(unit: str, pairs: Sequence[tuple[Sample, Sample]]) -> Comparison:
    """Sums up the rounds of one row.

    :param pairs: (ours, rival) of each round
    :raises ValueError: no rounds, or a figure that is not positive
    """
    if not pairs:
        raise ValueError("no rounds to compare")
    if any(one.value <= 0 for pair in pairs for one in pair):
        raise ValueError(f"a figure is not positive: {pairs}")
    ratios = [ours.value / rival.value for ours, rival in pairs]
    rivals = [rival for _, rival in pairs]
    return Comparison(
        unit=unit,
        ours=median(ours.value for ours, _ in pairs),
        rival=median(rival.value for rival in rivals),
        ratio=median(ratios),
        low=min(ratios),
        high=max(ratios),
        ours_rate=median(ours.rate for ours, _ in pairs),
        rival_rate=median(rival.rate for rival in rivals),
        rival_parts={name: median(one.parts[name] for one in rivals) for name in rivals[0].parts},
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` % of the values do not exceed.

    :raises ValueError: no values, or a percentage outside ]0, 100]
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no {percent} % of {len(values)} values")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def round_significant(value: float, digits: int = 4) -> float:
    """``value`` with that many significant digits."""
    return float(f"{value:.{digits}g}")
