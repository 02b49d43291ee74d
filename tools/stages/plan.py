"""The stages of ``make test``, what ``make test-all`` adds, and those of ``make test-cores``."""

from __future__ import annotations

import sys
from dataclasses import replace

from . import cores
from .stage import Stage

_REPORTS = ".build/reports"
#: Tests of the laboratory that start none.
_ALONE = tuple(f"lab/tests/{part}" for part in ("edge", "identity", "tunnels_api"))
_SANITY = "sanity and unit tests"
_IMAGES = {release: f"root file system {release}" for release in ("12", "13")}


def _pytest(name: str, *folders: str, lab: bool = False, under: str = "") -> Stage:
    """pytest on some folders, in the directory ``under``; a laboratory needs the images."""
    report = f"{_REPORTS}/{name.replace(' ', '-')}.xml"
    up = "../" if under else ""
    command = ("pytest", "-q", "-ra", "--durations=15", f"--junit-xml={up}{report}", *folders)
    return Stage(
        name,
        ("env", "-C", under or ".", *command),
        reports=(report,),
        after=tuple(_IMAGES.values()) if lab else (),
    )


def _molecule(scenario: str) -> Stage:
    return Stage(
        f"molecule {scenario}",
        ("tools/molecule", scenario),
        reports=(f"{_REPORTS}/molecule-{scenario}*.xml",),
        after=tuple(_IMAGES.values()),
        # A busy machine made a scenario take 2,400 s, of which it was never idle.
        limit=3600,
    )


def _compiled(*folders: str) -> Stage:
    """Tests of the proxy that run the real command, with compiled modules."""
    report = f"{_REPORTS}/proxy-compiled.xml"
    arguments = ("-ra", "--durations=15", f"--junit-xml=../{report}", *folders)
    return Stage("proxy tests compiled", ("tools/proxy-compiled", *arguments), reports=(report,))


def _core(version: str) -> Stage:
    """Playbooks with a version of ansible-core, on real hosts."""
    return _pytest(f"ansible-core {version}", "tests/cores", f"--core={version}", lab=True)


def _machines(name: str, folder: str) -> Stage:
    """Tests that need virtual machines."""
    report = f"{_REPORTS}/{name.replace(' ', '-')}.xml"
    return Stage(
        name,
        ("tools/machines", folder, f"--junit-xml={report}"),
        reports=(report,),
        # Emulated, everything takes ten times as long.
        limit=10800,
    )


_CORES = tuple(map(_core, cores.here()))

# The longest stages come first, so that none ends long after the others. Stages that need no host
# begin while the images are made. The short ones fill the end.
TEST: tuple[Stage, ...] = (
    *(
        Stage(name, (sys.executable, "-m", "lab", "rootfs", release))
        for release, name in _IMAGES.items()
    ),
    # Beside two scenarios they took 1,800 s.
    Stage("unit tests", ("tools/units",), reports=(".build/units/junit.xml",), limit=3600),
    _molecule("wif"),
    _molecule("default"),
    _pytest("proxy tests", under="proxy_src"),
    _compiled("tests/integration", "tests/conformance"),
    _molecule("firewall"),
    _pytest("laboratory tests", "lab/tests", *(f"--ignore={each}" for each in _ALONE), lab=True),
    _pytest("execution environment", "tests/execution_environment", lab=True),
    # They wait for time limits of a tunnel, most of the time.
    _pytest("edge and API tests", *_ALONE, "--numprocesses=2", "--dist=loadfile"),
    # ansible-test, which runs some of the unit tests, too.
    Stage(
        _SANITY,
        ("tools/sanity",),
        reports=(".build/sanity/ansible_collections/*/*/tests/output/junit/*.xml",),
    ),
    Stage("lint", ("tools/lint",), reports=(f"{_REPORTS}/lint.xml",)),
    # The oldest and the newest; those between are for make test-cores.
    *dict.fromkeys((_CORES[0], _CORES[-1])),
    _pytest("contract tests", "tests/contract"),
    _pytest(
        "tests of the tools",
        "benchmarks/tests",
        "tools/stages/tests",
        "tools/release/tests",
        "tools/compiled/tests",
        "tools/execution_environment/tests",
    ),
    _pytest("AWX tests", "tests/awx"),
    _pytest("Vault tests", "tests/vault"),
    Stage("documentation site", ("tools/docs",)),
)

#: Stages with tests that are marked as exhaustive, which pyproject.toml leaves out, and the one in
#: which ansible-test then runs all unit tests.
_EXHAUSTIVE = (
    *("molecule firewall", "molecule default", "molecule wif"),
    *("unit tests", "laboratory tests", "contract tests", _SANITY),
    *(stage.name for stage in _CORES),
)
#: Each test, whatever its marks are.
_EVERY_TEST = "exhaustive or not exhaustive"


def _exhaustive(stage: Stage) -> Stage:
    """The stage with all of its tests."""
    everything = (f"PYTEST_ADDOPTS=-m '{_EVERY_TEST}'", "REBOOTS=24", "UNITS=all")
    return replace(stage, command=("env", *everything, *stage.command), limit=2 * stage.limit)


#: Every test of the proxy but unit tests, which are about the source, and those under overload.
_ALL_COMPILED = _compiled(
    *("tests/integration", "tests/conformance", "tests/faults", "tests/ssrf"),
    # What is given up is freed at once.
    "tests/overload/test_released.py",
)


def _in_all(stage: Stage) -> Stage:
    """The stage as ``make test-all`` has it."""
    if stage.name == _ALL_COMPILED.name:
        return _ALL_COMPILED
    return _exhaustive(stage) if stage.name in _EXHAUSTIVE else stage


#: With those that ``make test`` has no time for: the same questions again, with more examples.
ALL: tuple[Stage, ...] = (
    *(_in_all(stage) for stage in TEST),
    Stage(
        "firewall mutants",
        ("tools/firewall-mutants",),
        after=tuple(_IMAGES.values()),
        limit=5400,
    ),
    _pytest("FIPS", "tests/fips", lab=True),
    replace(_machines("virtual machines", "tests/machines"), after=tuple(_IMAGES.values())),
    _machines("other systems", "tests/systems"),
    Stage(
        "ARM machine",
        ("tools/arm64", f"--junit-xml={_REPORTS}/arm64.xml"),
        reports=(f"{_REPORTS}/arm64.xml",),
        limit=10800,
    ),
    Stage(
        "conformance explored",
        (
            *("env", "-C", "proxy_src", "pytest", "-q", "-ra", "--durations=15"),
            *("--hypothesis-profile=explore", f"--junit-xml=../{_REPORTS}/conformance.xml"),
            *("-m", _EVERY_TEST, "tests/conformance"),
        ),
        reports=(f"{_REPORTS}/conformance.xml",),
        limit=5400,
    ),
    Stage("fuzzing", ("env", "FUZZ_SECONDS=20", "tools/fuzz"), limit=3600),
    Stage(
        "overload",
        (
            *("env", "-C", "proxy_src", "OVERLOAD_CLIENTS=10000", "TEST_LIMIT=1800"),
            *("pytest", "-q", "-ra", "-o", "faulthandler_timeout=1900"),
            *(f"--junit-xml=../{_REPORTS}/overload.xml", "-m", _EVERY_TEST, "tests/overload"),
        ),
        reports=(f"{_REPORTS}/overload.xml",),
        limit=5400,
    ),
)

#: Each version of ansible-core: all unit tests, and every playbook on real hosts. One that this
#: machine has no Python for fails.
CORES: tuple[Stage, ...] = (
    *(stage for stage in TEST if stage.name in _IMAGES.values()),
    *(_exhaustive(_core(version)) for version in cores.PYTHONS),
    *(
        Stage(
            f"unit tests {version}",
            ("env", f"CORE={version}", "tools/units"),
            reports=(f".build/units-{version}/junit.xml",),
            limit=4800,
        )
        for version in cores.PYTHONS
    ),
)
