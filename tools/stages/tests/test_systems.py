"""What systems publish, against what our code, units and paths need of them."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from stages import systems

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / ".build/collections"))
_ROOM = "ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check"
host = importlib.import_module(f"{_ROOM}.facts")
nft_support = importlib.import_module(f"{_ROOM}.nft_support")

FACTS = systems.data()
SYSTEMS = {f"{each['name']} {each['version']}": each for each in FACTS["systems"]}
TLS = ROOT / "proxy_src/src/mcp_proxy/tls"
UNITS = {path.name: path.read_text() for path in ROOT.glob("roles/*/files/*.service")}
#: How sure we are, and README's words for it.
PHRASES = (
    ("proven", "proven on"),
    ("on demand", "on demand on"),
    ("on paper", "checked on paper for"),
)
POLICIES = [name for name in FACTS["policies"] if name != "sources"]


def number(version: str, parts: int) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:parts])


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = SYSTEMS[request.param]
    return found


def test_the_page_is_made_of_the_facts() -> None:
    assert systems.PAGE.read_text("utf-8") == systems.page(), "run: python -m stages.systems"


def test_a_system_that_ci_boots_is_proven_and_no_other_one() -> None:
    proven = [name for name, each in SYSTEMS.items() if systems.proof(each).startswith("proven")]
    assert proven == [f"Debian {release}" for release in systems.in_ci()] != []


def test_a_system_that_is_booted_on_demand_has_all_tests_of_its_life() -> None:
    done = subprocess.run(
        ["pytest", "-q", "--collect-only", "-m", "exhaustive", "tests/systems"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    found = re.findall(r"(?m)^tests/systems/\S+::(\w+)\[(\w+)\]$", done.stdout)
    tests = {test for test, _ in found}
    assert len(tests) >= 8
    on_demand = {n for n, e in SYSTEMS.items() if systems.proof(e).startswith("on demand")}
    assert on_demand == {f"Debian {release}" for _, release in found} != set()
    assert len(found) == len(tests) * len(on_demand)


def test_readme_says_no_more_than_the_page() -> None:
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    for proof, phrase in PHRASES:
        named = re.search(rf"{phrase} ([^;(]+?)(?:;|\s\()", readme)
        assert named, phrase
        said = set()
        for words in re.split(r", (?:and )?(?=[A-Z])", named[1]):
            name, _, versions = words.partition(" ")
            said |= {f"{name} {version}" for version in re.findall(r"[0-9.]+", versions)}
        assert said == {n for n, e in SYSTEMS.items() if systems.proof(e).startswith(proof)}


def test_every_fact_has_a_source(system: dict[str, Any]) -> None:
    for place in (system, FACTS["units"], FACTS["selinux"], FACTS["policies"]):
        assert place["sources"]
        assert all(source.startswith("https://") for source in place["sources"])


def test_it_is_known_and_not_refused(system: dict[str, Any]) -> None:
    text = "".join(f'{key}="{value}"\n' for key, value in system["os_release"].items())
    family, version, name = host.distribution(text)
    packages = system["packages"]
    found = {
        "distribution": family,
        "architecture": "x86_64",
        "python_version": packages["python"],
        "systemd_version": number(packages["systemd"], 1)[0],
    }
    assert family == system["family"]
    assert host.unsupported(found, version, name, number(packages["glibc"], 2)) == []
    assert number(packages["nftables"], 3) >= nft_support.MINIMUM_NFT
    assert number(packages["kernel"], 2) >= (5, 6)


def test_the_proxy_knows_its_python(system: dict[str, Any]) -> None:
    known = re.search(r"KNOWN = \((\(.*?\)), (\(.*?\))\)", (TLS / "openssl.py").read_text())
    assert known
    assert number(known[1], 2) <= number(system["packages"]["python"], 2) <= number(known[2], 2)


def orders(family: str) -> dict[str, set[str]]:
    """Each unit with those that come before it."""
    before: dict[str, set[str]] = {}
    for name, unit in {**FACTS["units"]["all"], **FACTS["units"][family]}.items():
        first = ["basic.target", "sysinit.target"] if unit.get("ordinary") else []
        before.setdefault(name, set()).update(unit.get("after", []), first)
        for later in unit.get("before", []):
            before.setdefault(later, set()).add(name)
    for name, text in UNITS.items():
        default = "DefaultDependencies=no" not in text
        before.setdefault(name, set()).update(["basic.target", "sysinit.target"] if default else [])
        for key, units in re.findall(r"(?m)^(After|Before)=(.*)$", text):
            for unit in units.replace("%i", "").split():
                pair = (name, unit) if key == "After" else (unit, name)
                before.setdefault(pair[0], set()).add(pair[1])
    return before


def test_no_unit_of_ours_is_in_a_cycle(system: dict[str, Any]) -> None:
    list(TopologicalSorter(orders(system["units"])).static_order())


def test_a_cycle_would_be_found() -> None:
    """RHEL's nftables.service is an ordinary one, so a unit of the early boot cannot follow it."""
    planted = orders("rhel")
    planted["mcp-tunnel-firewall.service"].add("nftables.service")
    with pytest.raises(CycleError):
        list(TopologicalSorter(planted).static_order())


def programs() -> Iterator[str]:
    for text in UNITS.values():
        yield from re.findall(r"(?m)^Exec(?:Start|Reload|Stop)=[-+!:@]*(\S+)", text)


def label(path: str) -> str:
    fitting = [
        kind for pattern, kind in FACTS["selinux"]["contexts"] if re.fullmatch(pattern, path)
    ]
    return str(fitting[-1])


def test_selinux_lets_systemd_start_our_programs() -> None:
    found = set(programs())
    assert len(found) >= 4
    for path in found:
        assert label(path) in {"bin_t", "shell_exec_t"}, path
    assert label("/opt/mcp-tunnel/proxy/current/lib/mcp_proxy/cli.py") == "usr_t"


def test_each_policy_leaves_what_tls_needs() -> None:
    for name in POLICIES:
        for kind, ours in FACTS["ours"].items():
            assert set(ours) & set(FACTS["policies"][name][kind]), (name, kind)


def test_ours_is_what_the_code_has() -> None:
    contexts = (TLS / "contexts.py").read_text()
    crypto = (ROOT / "plugins/module_utils/pki/crypto.py").read_text()
    assert '_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"' in contexts
    assert "minimum_version = ssl.TLSVersion.TLSv1_2" in contexts
    assert "generate_private_key(ec.SECP256R1())" in crypto
