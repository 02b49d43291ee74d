"""The files that only one host has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.core.credentials import issue
from lab.hosts import specs
from lab.hosts.specs import HostSpec
from lab.hosts.ssh import HostKey


@pytest.mark.parametrize(
    "store",
    [
        ("-no-CApath", "-CAfile", "etc/ssl/certs/ca-certificates.crt"),
        # OpenSSL of Debian 11 reads nothing else.
        ("-no-CAfile", "-CApath", "etc/ssl/certs"),
    ],
)
def test_the_authorities_of_a_laboratory_are_trusted(
    store: tuple[str, ...], tmp_path: Path
) -> None:
    tree, root = tmp_path / "tree", tmp_path / "root"
    bundle = tree / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    bundle.touch()
    issued = [issue(authority, ("x.example.net",)) for authority in ("first", "second")]
    spec = HostSpec("host1", 0, "11", tree)
    key = HostKey("private", "public")
    for name, file in specs.own_files(spec, [each.ca for each in issued], key, "").items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.text)
    for each in issued:
        (root / "server.crt").write_text(each.certificate)
        subprocess.run(["openssl", "verify", *store, "server.crt"], cwd=root, check=True)
