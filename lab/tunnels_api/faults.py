"""Faults that are injected into calls."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..core.errors import LabError

#: Name of a call -> whether it stands for one on tunnels (the other one is the exchange).
CALLS = (
    *("exchange", "create", "get", "list", "archive", "reveal_token", "rotate_token"),
    *("add_certificate", "list_certificates", "get_certificate", "archive_certificate"),
)
#: Errors that are answered before any effect.
STATUSES = ("429", "500", "504", "529")
FAULTS = (
    *STATUSES,
    *("timeout_before", "timeout_after", "reset_before", "reset_after", "truncated", "slow"),
)


@dataclass
class Fault:
    """A fault for the next `times` calls named `call`.

    `retry_after` (seconds) goes with a status; `seconds` is how long a timeout stays silent and
    how slow "slow" is. "…_before" means without effect, "…_after" with it, as is "truncated".
    """

    call: str
    fault: str
    times: int = 1
    retry_after: int | None = None
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.call not in CALLS:
            raise LabError(f"call {self.call!r}: one of {', '.join(CALLS)}")
        if self.fault not in FAULTS:
            raise LabError(f"fault {self.fault!r}: one of {', '.join(FAULTS)}")


@dataclass
class Faults:
    """The waiting faults, in the order in which they were added."""

    waiting: list[Fault] = field(default_factory=list)

    def add(self, **options: Any) -> list[dict[str, Any]]:
        """Add a fault; return all. Raises LabError, TypeError."""
        self.waiting.append(Fault(**options))
        return self.facts()

    def clear(self) -> list[dict[str, Any]]:
        self.waiting.clear()
        return self.facts()

    def facts(self) -> list[dict[str, Any]]:
        return [asdict(each) for each in self.waiting]

    def take(self, call: str) -> Fault | None:
        """Return the fault for this call, if one waits, and count it."""
        for fault in self.waiting:
            if fault.call == call:
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                return fault
        return None
