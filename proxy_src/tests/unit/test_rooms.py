"""The rooms of the package, their maps, docs/architecture.md and the import rules say the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import tomllib

PROXY = Path(__file__).parents[2]
PACKAGE = PROXY / "src/mcp_proxy"
PAGE = (PROXY.parent / "docs/architecture.md").read_text()
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def rows() -> dict[str, list[str]]:
    """The table of the rooms: name to the other cells."""
    part = PAGE[PAGE.index("## The proxy") : PAGE.index("## The laboratory")]
    found = re.findall(r"^\| `(\w+)/` \|(.*)\|$", part, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in found}


def imported(path: Path) -> set[str]:
    """The rooms that the module at *path* imports from."""
    package = ("mcp_proxy", *path.relative_to(PACKAGE).parts[:-1])
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            full = (*base, *(node.module or "").split("."))
            rooms |= {full[1]} if full[1] else {alias.name for alias in node.names}
    return rooms & set(ROOMS) - {package[-1]}


def test_the_page_has_a_row_for_each_room() -> None:
    assert sorted(rows()) == ROOMS
    assert all(len(cells) == 3 and all(cells) for cells in rows().values())


def test_the_page_names_those_who_import_a_room() -> None:
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in PACKAGE.rglob("*.py"):
        for room in imported(path):
            found[room].add(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    assert {room: set(re.findall(r"`(\w+)`", rows()[room][1])) for room in ROOMS} == found


def test_the_rules_have_the_order_of_the_page() -> None:
    rules = tomllib.loads((PROXY / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (one["layers"] for one in rules["contracts"] if one["type"] == "layers")
    assert [name for layer in layers for name in layer.split(" | ")] == ["cli", *rows()]


@pytest.mark.parametrize("room", ROOMS)
def test_a_map_names_every_module_of_its_room(room: str) -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    modules = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    assert {name for name in modules if f"``{name}``" not in str(text)} == set()


def test_the_map_of_the_package_names_every_room() -> None:
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text()))
    assert sorted(re.findall(r"^``(\w+)`` ", str(text), re.MULTILINE)) == ROOMS


def test_no_folder_has_more_files_than_a_reader_takes_in() -> None:
    crowded = {
        folder.relative_to(PROXY): len(files)
        for folder in (
            path for place in ("src", "tests", "fuzz") for path in (PROXY / place).rglob("*")
        )
        if folder.is_dir() and len(files := list(folder.glob("*.py"))) > 15
    }
    assert crowded == {}
