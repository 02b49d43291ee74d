"""The specification that `lab up` hands to the keeper and the supervisor: one JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..hosts.specs import HostSpec


@dataclass(frozen=True)
class LabSpec:
    """A lab as asked for.

    Attributes:
        name: the lab's name.
        hosts: in the order of their indexes.
    """

    name: str
    hosts: tuple[HostSpec, ...]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def read(cls, path: Path) -> LabSpec:
        data = json.loads(path.read_text())
        hosts = [
            HostSpec(**{**host, "tree": Path(host["tree"]), "layers": _paths(host["layers"])})
            for host in data["hosts"]
        ]
        return cls(data["name"], tuple(hosts))


def _paths(names: list[str]) -> tuple[Path, ...]:
    return tuple(Path(name) for name in names)
