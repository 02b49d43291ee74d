"""Rooms of the plugins' and the laboratory's code: the page names each, and no folder is full."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[3]
LARGEST = 15
#: Ansible's own layout: a module in a folder below would have another name for every operator.
ANSIBLES = {"plugins/action", "plugins/modules"}


@dataclass(frozen=True)
class House:
    """Code that lies in rooms.

    Attributes:
        top: the folder from which rooms have their names.
        homes: folders whose only code is in rooms.
        section: the page's section with a row for each room.
        flat: files of a home that are in no room.
    """

    top: Path
    homes: tuple[Path, ...]
    section: str
    flat: frozenset[str] = frozenset({"__init__.py"})

    def folders(self) -> list[Path]:
        """Each folder that has code, below the homes; tests are in no room."""
        found = {path.parent for home in self.homes for path in home.rglob("*.py")}
        return sorted(path for path in found - {*self.homes} if "tests" not in path.parts)

    def rooms(self) -> list[str]:
        """The names of the rooms. A folder inside of one is its own affair."""
        rooms = [path for path in self.folders() if path.parent in self.homes]
        return [room.relative_to(self.top).as_posix() for room in rooms]

    def rows(self) -> list[list[str]]:
        """The cells of each row of the page."""
        text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
        part = text.partition(f"\n## {self.section}\n")[2].partition("\n## ")[0]
        lines = re.findall(r"^\| (`.*) \|$", part, re.MULTILINE)
        return [[cell.strip() for cell in line.split(" | ")] for line in lines]

    def shown(self) -> list[str]:
        """The names of the rooms on the page, in its order."""
        return [row[0].strip("`") for row in self.rows()]


PLUGINS = House(
    ROOT / "plugins",
    (ROOT / "plugins/module_utils", ROOT / "plugins/plugin_utils"),
    "Rooms of the plugins",
)
LABORATORY = House(
    ROOT / "lab", (ROOT / "lab",), "The laboratory", frozenset({"__init__.py", "__main__.py"})
)
each_house = pytest.mark.parametrize(
    "house", [pytest.param(PLUGINS, id="plugins"), pytest.param(LABORATORY, id="laboratory")]
)


@each_house
def test_the_page_has_a_whole_row_for_each_room(house: House) -> None:
    assert house.rows()
    assert all(len(row) == 4 and all(row) for row in house.rows())
    assert sorted(house.shown()) == sorted(house.rooms())


@each_house
def test_no_file_is_without_a_room(house: House) -> None:
    for home in house.homes:
        assert {path.name for path in home.glob("*.py")} == house.flat


@each_house
def test_the_docstring_of_each_package_is_its_map(house: House) -> None:
    for room in [*house.homes, *house.folders()]:
        text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert text, room
        assert re.search(r"[Ii]mport", text), room


@each_house
def test_the_page_has_the_rooms_in_the_order_of_the_rules(house: House) -> None:
    """A higher room may import a lower one: import-linter holds the code to it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    homes = {home.relative_to(ROOT).as_posix().replace("/", "."): home for home in house.homes}
    checked = 0
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] != "layers":
            continue
        container = contract["containers"][0].removeprefix("ansible_collections.mcp_tunnels.stack.")
        if container not in homes:
            continue
        floors = [[name.strip() for name in floor.split("|")] for floor in contract["layers"]]
        home = homes[container]
        floor_of = {
            (home / name).relative_to(house.top).as_posix(): at
            for at, floor in enumerate(floors)
            for name in floor
        }
        found = [floor_of[name] for name in house.shown() if name in floor_of]
        assert sorted(found) == found
        assert len(found) == len(floor_of)
        checked += 1
    assert checked == len(homes)


def test_no_folder_is_full() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    sizes = Counter(path.parent.as_posix() for path in files if path.name != "__init__.py")
    assert {name for name, size in sizes.items() if size > LARGEST} == ANSIBLES
