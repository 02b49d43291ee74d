from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import nft_support

TEMPLATES = Path(__file__).resolve().parents[5] / "roles/firewall/templates"
# nft 1.0.6 writes these: about `queue num 1` to a kernel without CONFIG_NFT_QUEUE, about a word
# that it does not know, and without CAP_NET_ADMIN.
LACKING = """\
/dev/stdin:{line}:9-13: Error: Could not process rule: No such file or directory
        queue num 1
        ^^^^^
"""
UNKNOWN = """\
/dev/stdin:{line}:16-24: Error: syntax error, unexpected string, expecting transparent or wildcard
        socket wildcard2 0
               ^^^^^^^^^
"""
FORBIDDEN = "netlink: Error: cache initialization failed: Operation not permitted\n"


def words(text):
    """Return the words of nft's language in rules or their template, without names and texts."""
    for pattern in (
        r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}",
        r"(?m)^\s*#[^\n]*$",
        r'"[^"]*"',
        r"\$\w+",
        r"(?<=add set inet )[\w/-]+ [\w/-]+",
        r"(?:(?<=table inet )|(?<=set )|(?<=counter name )|(?<=counter )|(?<=chain )|(?<=jump )"
        r"|(?<=goto )|@)[\w/-]+",
    ):
        text = re.sub(f"(?s){pattern}", "", text)
    return set(re.findall(r"(?<![\w/-])[a-z][\w-]*", text)) - {"include", "add"}


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.nft.j2")), ids=lambda path: path.name)
def test_all_that_the_rules_are_made_of_is_asked_for(template):
    used = words(template.read_text())
    assert {"chain", "accept"} <= used
    assert used - words(nft_support.PROBE) == set()


def answering(monkeypatch, version="nftables v1.0.6 (Lester Gooch #5)\n", error=""):
    """Have nft print that version, and that error about any rules."""
    commands = []

    def run(command, **options):
        commands.append((command[1:], options["input"]))
        if command[1:] == ["--version"]:
            return subprocess.CompletedProcess(command, 0, version, "")
        return subprocess.CompletedProcess(command, 1 if error else 0, "", error)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def line_of(words_of_rule):
    return next(
        number
        for number, line in enumerate(nft_support.PROBE.splitlines(), 1)
        if words_of_rule in line
    )


def test_a_host_that_lacks_nothing(monkeypatch):
    commands = answering(monkeypatch)
    assert nft_support.lacks() == []
    # -c keeps nft from changing anything.
    assert commands == [(["--version"], ""), (["-c", "-f", "-"], nft_support.PROBE)]


def test_no_nft(monkeypatch):
    monkeypatch.setattr(nft_support, "NFT", "/nowhere/nft")
    assert nft_support.lacks() == [
        "nftables: there is no /nowhere/nft. Install the distribution's package nftables"
    ]


@pytest.mark.parametrize("version", ["v0.9.3 (Topsy)", "v0.9 (Fearless Fosdick)", "v0.8.2 (Joe)"])
def test_an_nft_that_is_too_old(monkeypatch, version):
    answering(monkeypatch, f"nftables {version}\n")
    (problem,) = nft_support.lacks()
    assert problem.startswith("nftables: 0.9.4 or later is needed, found is 0.")
    assert "Upgrade the package nftables" in problem


@pytest.mark.parametrize("version", ["v0.9.4 (Jive at Five)", "v1.0 (Fearless)", "v1.1.3 (Commo)"])
def test_an_nft_that_is_new_enough(monkeypatch, version):
    answering(monkeypatch, f"nftables {version}\n")
    assert nft_support.lacks() == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LACKING, "Could not process rule: No such file or directory"),
        (UNKNOWN, "syntax error, unexpected string, expecting transparent or wildcard"),
    ],
)
def test_a_kernel_or_an_nft_that_lacks_an_expression(monkeypatch, error, reason):
    answering(monkeypatch, error=error.format(line=line_of("admin-prohibited")))
    monkeypatch.setattr("platform.release", lambda: "6.1.0-lean")
    (problem,) = nft_support.lacks()
    assert problem.startswith("nftables: the kernel, 6.1.0-lean, or nft lacks what the")
    assert f"'reject with icmpx type admin-prohibited' ({reason})" in problem
    assert "Boot the distribution's own kernel" in problem


def test_a_container_that_may_not_ask(monkeypatch):
    answering(monkeypatch, error=FORBIDDEN)
    (problem,) = nft_support.lacks()
    assert "cache initialization failed: Operation not permitted" in problem
    assert "CAP_NET_ADMIN" in problem
