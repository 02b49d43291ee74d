"""Collections of others, for the tests: they are on no package index by themselves.

awx.awx judges the objects of the role awx, and community.hashi_vault reads from Vault. The package
``ansible`` brings them along, pinned in ``tools/other-collections-requirements.txt``. It is
downloaded once (54 MB) into the cache; only the files of these collections (2.2 MB) are kept.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lab.core.paths import cache_root

REQUIREMENTS = Path(__file__).resolve().parents[1] / "other-collections-requirements.txt"
_FOLDERS = ("ansible_collections/awx/awx/", "ansible_collections/community/hashi_vault/")


def path() -> Path:
    """The directory for ``ANSIBLE_COLLECTIONS_PATH`` with the collections in it.

    :raises subprocess.CalledProcessError: if pip cannot get the pinned package.
    """
    pinned = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    target = cache_root() / f"other-collections-{pinned}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".other-collections-") as scratch:
        _unpack(_download(Path(scratch)), Path(scratch) / "unpacked")
        try:
            os.rename(Path(scratch) / "unpacked", target)
        except OSError:
            # Another run was faster.
            if not target.is_dir():
                raise
    return target


def _download(directory: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(directory)]
    subprocess.run([*pip, *options, "-r", str(REQUIREMENTS)], check=True)
    (wheel,) = directory.glob("ansible-*.whl")
    return wheel


def _unpack(wheel: Path, directory: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory, [n for n in archive.namelist() if n.startswith(_FOLDERS)])


if __name__ == "__main__":
    print(path())
