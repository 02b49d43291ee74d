"""Reads the tables of cases in this directory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import DOMAIN

_PLACEHOLDERS = {"HOST": f"echo.{DOMAIN}", "VICTIM": f"victim.{DOMAIN}"}


@dataclass(frozen=True)
class Case:
    """One line of a table: bytes, and the expectation of their readers."""

    data: bytes
    expected: dict[str, Any] = field(default_factory=dict)


def cases(name: str) -> list[Any]:
    """The cases of the table *name*, which have a ``send``, as parameters of a test."""
    found = []
    for ident, case in rows(name):
        text = case.pop("send")
        data = as_bytes("\r\n".join(text) if isinstance(text, list) else text)
        found.append(pytest.param(Case(data, case), id=ident))
    return found


def rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names and entries of the table *name*, one for each variant of a group."""
    path = Path(__file__).with_name(f"{name}.yaml")
    for group_name, group in yaml.safe_load(path.read_text()).items():
        for variant_name, variant in group.pop("variants", {"": {}}).items():
            own = variant if isinstance(variant, dict) else {"with": variant}
            case = {**group, **own}
            with_ = case.pop("with", "")
            ident = f"{group_name}/{variant_name}" if variant_name else group_name
            yield ident, {key: _filled(value, with_) for key, value in case.items()}


def _filled(value: Any, variant: str) -> Any:
    if isinstance(value, list):
        return [_filled(item, variant) for item in value]
    return value.replace("VARIANT", variant) if isinstance(value, str) else value


def as_bytes(text: str) -> bytes:
    """The bytes that *text* of a table stands for."""
    for name, value in _PLACEHOLDERS.items():
        text = text.replace(name, value)
    data = text.encode("latin-1")
    # Text that is too long to be written out: REPEAT(times,text)
    while (at := data.find(b"REPEAT(")) >= 0:
        times, _, rest = data[at + 7 :].partition(b",")
        unit, _, after = rest.partition(b")")
        data = data[:at] + unit * int(times) + after
    return data
