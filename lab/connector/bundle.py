"""Makes the stand-in's one executable file: a zip archive that any Python 3.9 or later runs.

It carries libraries of the development environment (locked; only the pure Python part of YAML), so
that a host needs nothing besides its own /usr/bin/python3.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

_LIBRARIES = ("async_timeout", "h2", "hpack", "hyperframe", "yaml")
_SHEBANG = b"#!/usr/bin/python3 -I\n"
_MAIN = "import sys\nfrom lab.connector.main import main\nsys.exit(main())\n"
_LAB = Path(__file__).resolve().parent.parent
# The archive's bytes depend only on its content, so that a role sees an unchanged binary.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(target: Path) -> None:
    """Write the executable to `target`, atomically."""
    content = {"__main__.py": _MAIN, "lab/__init__.py": '"""Part of the stand-in."""\n'}
    wire = _LAB / "wire"
    sources = [wire / "__init__.py", *wire.glob("h2*.py")]
    sources += (_LAB / "connector").glob("*.py")
    for source in sources:
        if source.name != Path(__file__).name:
            content[f"lab/{source.relative_to(_LAB)}"] = source.read_text()
    for library in _LIBRARIES:
        found = importlib.util.find_spec(library)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(f"{library} is missing: run tools/bootstrap")
        root = Path(found.origin).parent
        for source in root.rglob("*.py"):
            content[f"{library}/{source.relative_to(root)}"] = source.read_text()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in sorted(content):
            zipped.writestr(zipfile.ZipInfo(name, _EPOCH), content[name], zipfile.ZIP_DEFLATED)
    partial = target.with_name(f".{target.name}.new")
    partial.write_bytes(_SHEBANG + archive.getvalue())
    partial.chmod(0o755)
    partial.replace(target)
