"""The definition, the locks and the collection's own requirements say the same."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from execution_environment.inputs import ROOT

DEFINITION = yaml.safe_load(
    (ROOT / "execution-environment/execution-environment.yml").read_text(encoding="utf-8")
)
LOCK = (ROOT / "execution-environment/requirements.txt").read_text(encoding="utf-8")


def locked(text: str) -> dict[str, str]:
    """Name to version."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))


def introspected() -> dict[str, list[str]]:
    """The requirements of the collection, as ansible-builder reads them."""
    command = [sys.executable, "-m", "ansible_builder", "introspect", "--verbosity=0"]
    done = subprocess.run(
        [*command, str(ROOT / ".build/collections")], capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = yaml.safe_load(done.stdout.partition("---")[2])
    return found


def test_ansible_builder_finds_the_requirements() -> None:
    found = introspected()
    names = {Requirement(line.partition("#")[0].strip()).name for line in found["python"]}
    assert names == {"cryptography", "jmespath", "pyjwt", "pyrage", "requests"}
    assert {line.partition("#")[0].strip() for line in found["system"]} == {
        "openssh-client [platform:dpkg]",
        "openssh-clients [platform:rpm]",
    }
    # The wheels of an image are these and no others.
    assert names <= locked(LOCK).keys()


def test_the_requirements_are_those_of_the_state_host() -> None:
    """Modules of a state host run on the controller when that is localhost."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    modules = re.search(r"^modules = (\[.*?\])", settings, re.MULTILINE | re.DOTALL)
    assert modules
    listed = (ROOT / "meta/ee-requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {line for line in listed if not line.startswith("#")}
    assert names == {*ast.literal_eval(modules[1]), "cryptography"}


def test_one_version_of_ansible_is_pinned() -> None:
    """The tests run with it."""
    tested = locked((ROOT / "requirements-dev.txt").read_text(encoding="utf-8"))["ansible-core"]
    core = DEFINITION["dependencies"]["ansible_core"]["package_pip"]
    assert core == f"ansible-core=={tested}"
    pins = [
        core,
        DEFINITION["dependencies"]["ansible_runner"]["package_pip"],
        DEFINITION["options"]["container_init"]["package_pip"],
    ]
    assert all(locked(LOCK)[name] == version for name, version in (pin.split("==") for pin in pins))


def test_what_the_lock_shares_with_the_tests_is_the_same() -> None:
    tested = locked((ROOT / "requirements-dev.txt").read_text(encoding="utf-8"))
    both = locked(LOCK).keys() & tested.keys()
    assert "cryptography" in both
    assert {name: locked(LOCK)[name] for name in both} == {name: tested[name] for name in both}


def test_every_wheel_has_a_hash() -> None:
    entries = re.split(r"\n(?=[a-z])", LOCK)
    assert len(entries) == len(locked(LOCK)) > 10
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_definition_is_one_of_version_3(tmp_path: Path) -> None:
    """ansible-builder makes a context of it, without podman; no file that it names is missing."""
    where = tmp_path / "execution-environment"
    where.mkdir()
    for path in (ROOT / "execution-environment").iterdir():
        (where / path.name).write_bytes(path.read_bytes())
    inputs = tmp_path / ".build/execution-environment/inputs"
    for name in ("collection/mcp_tunnels-stack.tar.gz", "wheels/x.whl", "bundle/manifest.json"):
        (inputs / name).parent.mkdir(parents=True, exist_ok=True)
        (inputs / name).write_text(json.dumps(name))
    command = [sys.executable, "-m", "ansible_builder", "create", f"--context={tmp_path / 'made'}"]
    # Else the name depends on whether podman is installed.
    command.append("--output-filename=Containerfile")
    done = subprocess.run(
        [*command, f"--file={where / 'execution-environment.yml'}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "No matches" not in done.stdout + done.stderr
    made = tmp_path / "made"
    text = (made / "Containerfile").read_text()
    for copied in re.findall(r"^COPY (_build\S*)", text, re.MULTILINE):
        assert list(made.glob(copied.rstrip("/"))), copied
    assert not re.search(r"^(ENV|ARG) PIP_(INDEX|EXTRA|FIND)", text, re.MULTILINE)
