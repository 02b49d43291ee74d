"""ansible-playbook with modules that stay packed: the same runs for half of the processor time.

Ansible packs each module with all that it imports, anew in each run. Here the packed modules stay
in the directory of the variable ``KEPT_MODULES``, each under a hash of everything that can be in
it; without the variable, nothing is kept. Python's garbage collector is off: in the process that
Ansible forks for each task of each host, it would visit, and so copy, all memory of the parent.

Run as a program, with the arguments of ansible-playbook.
"""

from __future__ import annotations

import gc
import hashlib
import os
import sys
from pathlib import Path

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


def main() -> None:
    """Run the playbook; see the module."""
    gc.disable()
    # Else the files beside this one would be modules for everybody.
    sys.path.pop(0)
    if directory := os.environ.get("KEPT_MODULES"):
        keep_modules(Path(directory))
    from ansible.cli.playbook import main as ansible_playbook

    ansible_playbook()


if __name__ == "__main__":
    main()
