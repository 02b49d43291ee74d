"""The objects of the role awx as a run would give them to AWX, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = Path(__file__).resolve().parents[2] / "roles/awx"
DATA = sorted((ROLE / "vars/main").glob("*.yml"))


def objects(**variables: Any) -> dict[str, list[dict[str, Any]]]:
    """All lists, with the role's defaults and these variables."""
    loader = DataLoader()
    known: dict[str, Any] = {}
    for path in [ROLE / "defaults/main.yml", *DATA]:
        known.update(loader.load_from_file(str(path), trusted_as_template=True))
    names = [name for name in known if name.startswith("controller_")]
    known.update(variables)
    templar = Templar(loader=loader, variables=known)
    return {name: templar.template(known[name]) for name in names}
