"""The copy of the counters that root's timer makes; nft prints what a test has it print."""

from __future__ import annotations

import importlib.util
import json
import pwd
import re
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / "roles/firewall/files/mcp-tunnel-counters.py"
COUNTER = {"counter": {"name": "proxy/refused", "packets": 3, "bytes": 180}}
ACCOUNT = {"set": {"name": "account/root", "elem": [pwd.getpwnam("root").pw_uid]}}
LISTING = json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, COUNTER, ACCOUNT]})


class Host:
    """The program, its copy, and an nft that notes the kind of its standard output."""

    def __init__(self, directory, monkeypatch):
        self.copy = directory / "counters.json"
        self._nft = directory / "nft"
        self._kind = directory / "kind"
        spec = importlib.util.spec_from_file_location("counters", PROGRAM)
        self.program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.program)
        monkeypatch.setattr(self.program, "LIST", (str(self._nft),))
        monkeypatch.setattr(self.program, "COPY", str(self.copy))

    def run(self, listing, status=0):
        """Have nft print *listing* and exit with *status*; return the program's exit status."""
        (self._nft.parent / "listing").write_text(listing)
        self._nft.write_text(
            f"#!/bin/sh\nexec 3>&1\nstat -L -c %F /proc/self/fd/3 >{self._kind}\n"
            f"cat {self._nft.parent}/listing\nexit {status}\n"
        )
        self._nft.chmod(0o755)
        return self.program.main()

    def names(self):
        items = json.loads(self.copy.read_text())["nftables"]
        return [item["counter"]["name"] for item in items if "counter" in item]

    def kind(self):
        """Return the kind of file that nft's standard output was."""
        return self._kind.read_text().strip()


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def test_the_counters_are_copied(host):
    assert host.run(LISTING) == 0
    assert host.names() == ["proxy/refused", "accounts/wrong"]


def test_a_slow_host_has_time_for_a_copy_and_a_pause_after_it():
    """With less, all copies of such a host failed, and each began at once after the one before."""
    unit, timer = (
        PROGRAM.with_name(f"mcp-tunnel-firewall-counters.{kind}").read_text()
        for kind in ("service", "timer")
    )
    (limit,) = re.findall(r"(?m)^TimeoutStartSec=([0-9]+)$", unit)
    assert int(limit) >= 30
    assert re.findall(r"(?m)^OnUnit(.*)$", timer) == ["InactiveSec=15"]


def test_nft_itself_opens_no_file(host):
    """Under SELinux, nft has a domain of its own, which may not write the services' files."""
    host.run(LISTING)
    assert host.kind() == "fifo"


@pytest.mark.parametrize("listing", ["", "{", "{}", "[]", '{"nftables": null}'])
def test_an_nft_that_says_nothing_and_reports_success(host, capsys, listing):
    """An nft whose output is denied behaves like this."""
    assert host.run(LISTING) == 0
    before = host.copy.read_bytes()
    assert host.run(listing) == 1
    assert host.copy.read_bytes() == before
    said = capsys.readouterr().err
    assert said.startswith("firewall: ")
    assert "nft" in said
    assert said.count("\n") == 1


def test_an_nft_that_fails(host):
    assert host.run(LISTING, status=3) == 3
    assert not host.copy.exists()


def test_a_copy_that_cannot_be_written(host, capsys):
    host.copy.with_name(f"{host.copy.name}.new").mkdir()
    assert host.run(LISTING) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"firewall: {host.copy}")
    assert said.count("\n") == 1
