"""Reads the tables of cases in this directory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import DOMAIN

_PLACEHOLDERS = {"HOST": f"echo.{DOMAIN}", "VICTIM": f"victim.{DOMAIN}"}


@dataclass(frozen=True)
class Case:
    """One line of a table: bytes, and what is expected of whoever reads them."""

    data: bytes
    expected: dict[str, Any] = field(default_factory=dict)


def cases(name: str) -> list[Any]:
    """The cases of the table *name* as parameters of a test."""
    path = Path(__file__).with_name(f"{name}.yaml")
    groups = yaml.safe_load(path.read_text())
    found = []
    for group_name, group in groups.items():
        variants = group.pop("variants", {"": {}})
        for variant_name, variant in variants.items():
            own = dict(variant) if isinstance(variant, dict) else {"with": variant}
            merged = {**group, **own}
            text = merged.pop("send")
            if isinstance(text, list):
                text = "\r\n".join(text)
            data = _bytes(text.replace("VARIANT", merged.pop("with", "")))
            ident = f"{group_name}/{variant_name}" if variant_name else group_name
            found.append(pytest.param(Case(data, merged), id=ident))
    return found


def _bytes(text: str) -> bytes:
    for name, value in _PLACEHOLDERS.items():
        text = text.replace(name, value)
    data = text.encode("latin-1")
    # What is too long to be written out: REPEAT(times,text)
    while (at := data.find(b"REPEAT(")) >= 0:
        times, _, rest = data[at + 7 :].partition(b",")
        unit, _, after = rest.partition(b")")
        data = data[:at] + unit * int(times) + after
    return data
