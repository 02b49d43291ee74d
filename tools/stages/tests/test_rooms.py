"""The rooms of the plugins' code: docs/architecture.md names each room, and none is full."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[3]
PLUGINS = ROOT / "plugins"
LARGEST = 15


def homes() -> list[Path]:
    return [PLUGINS / "module_utils", PLUGINS / "plugin_utils"]


def rooms() -> dict[str, Path]:
    """Each folder that has code, by its name from ``plugins`` on."""
    folders = {path.parent for home in homes() for path in home.rglob("*.py")} - set(homes())
    return {folder.relative_to(PLUGINS).as_posix(): folder for folder in folders}


def rows() -> list[list[str]]:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    part = text.partition("## Rooms of the plugins")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (`.*) \|$", part, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_the_page_has_a_whole_row_for_each_room() -> None:
    assert all(len(row) == 4 and all(row) for row in rows())
    assert sorted(row[0].strip("`") for row in rows()) == sorted(rooms())


def test_no_file_is_without_a_room_and_no_room_is_full() -> None:
    flat = [path.name for home in homes() for path in home.glob("*.py")]
    assert set(flat) == {"__init__.py"}
    sizes = {name: len(list(room.glob("*.py"))) - 1 for name, room in rooms().items()}
    assert [name for name, size in sizes.items() if not 0 < size <= LARGEST] == []


def test_the_docstring_of_each_package_is_its_map() -> None:
    for room in [*homes(), *rooms().values()]:
        text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert text, room
        assert re.search(r"[Ii]mport", text), room


def test_the_page_has_the_rooms_in_the_order_of_the_rules() -> None:
    """A higher room may import a lower one: import-linter holds the code to it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shown = [row[0].strip("`") for row in rows()]
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] != "layers" or "_utils" not in contract["containers"][0]:
            continue
        home = contract["containers"][0].rpartition(".")[2]
        floors = [[name.strip() for name in floor.split("|")] for floor in contract["layers"]]
        floor_of = {f"{home}/{name}": at for at, floor in enumerate(floors) for name in floor}
        found = [floor_of[name] for name in shown if name.startswith(f"{home}/")]
        assert sorted(found) == found
        assert len(found) == len(floor_of)
