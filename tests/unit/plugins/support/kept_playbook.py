"""ansible-playbook with modules that stay packed: the same runs for half of the processor time.

Ansible packs each module with all that it imports, and compiles each file of a collection, anew in
each run. Here the packed modules stay in the directory of the variable ``KEPT_MODULES``, each under
a hash of everything that can be in it, and so does compiled code, under a hash of its source;
without the variable, nothing is kept. Python's garbage collector is off: in the process that
Ansible forks for each task of each host, it would visit, and so copy, all memory of the parent.

Run as a program, with the arguments of ansible-playbook.
"""

from __future__ import annotations

import builtins
import gc
import hashlib
import importlib.util
import marshal
import os
import sys
from pathlib import Path
from types import CodeType
from typing import Any

_COLLECTION = "ansible_collections/mcp_tunnels/stack"
#: What Ansible packs of a collection, and what says where that is.
_PARTS = ("plugins/modules", "plugins/module_utils", "meta")


def content(collections: list[str]) -> str:
    """A hash of Ansible, of Python, and of the files that can be in a packed module.

    :param collections: the directories in which Ansible looks for collections, in that order.
    """
    from ansible import release

    digest = hashlib.sha256()
    ansible = Path(release.__file__).parent
    places = [ansible / "module_utils", ansible / "modules"]
    found = [Path(place, _COLLECTION) for place in collections]
    places += [place / part for place in found for part in _PARTS]
    # Of Ansible itself, which nobody writes to, the version, the place and the times are enough.
    digest.update(f"{sys.version} {release.__version__} {ansible}".encode())
    for place in places:
        for path in sorted(place.rglob("*")):
            if path.suffix not in (".py", ".yml"):
                continue
            is_ours = ansible not in path.parents
            known = path.read_bytes() if is_ours else str(path.stat().st_mtime_ns).encode()
            digest.update(f"\0{path}\0{len(known)}\0".encode() + known)
    return digest.hexdigest()


def keep_modules(directory: Path) -> None:
    """Let Ansible find its packed modules below the directory."""
    from ansible import constants

    place = directory / content(constants.COLLECTIONS_PATHS)
    place.mkdir(parents=True, exist_ok=True)
    Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(place)


def keep_code(directory: Path) -> None:
    """Let Ansible's loader of collections find compiled code below the directory."""
    from ansible.utils.collection_loader import _collection_finder

    place = directory / "code"
    place.mkdir(exist_ok=True)

    def compiled(source: str | bytes, filename: str, **how: Any) -> CodeType:
        text = source if isinstance(source, bytes) else source.encode()
        named = b"\0".join([importlib.util.MAGIC_NUMBER, filename.encode(), text])
        path = place / hashlib.sha256(named).hexdigest()
        if path.exists():
            kept: CodeType = marshal.loads(path.read_bytes())
            return kept
        code: CodeType = builtins.compile(source, filename, **how)
        # Other runs read and write at the same time: a file is there whole, or not at all.
        whole = path.with_suffix(f".{os.getpid()}")
        whole.write_bytes(marshal.dumps(code))
        whole.replace(path)
        return code

    _collection_finder.compile = compiled


def main() -> None:
    """Run the playbook; see the module."""
    gc.disable()
    # Else the files beside this one would be modules for everybody.
    sys.path.pop(0)
    if directory := os.environ.get("KEPT_MODULES"):
        keep_modules(Path(directory))
        keep_code(Path(directory))
    from ansible.cli.playbook import main as ansible_playbook

    ansible_playbook()


if __name__ == "__main__":
    main()
