"""The checks of an archive, on a good collection of three files that the tests then spoil."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from release.checks import WANTED, Archive
from release.refused import Refused
from release.version import Version

MODULE = '''#!/usr/bin/python
DOCUMENTATION = r"""
module: thing
short_description: Does a thing
version_added: 1.0.0
description: [It does it.]
author: [Somebody (@somebody)]
options: {}
"""
EXAMPLES = ""
RETURN = ""
'''
FILES = {
    "galaxy.yml": "namespace: mcp_tunnels\nname: stack\nversion: 1.2.3\nreadme: README.md\n"
    "authors: [Somebody]\n",
    "meta/runtime.yml": "requires_ansible: '>=2.16.0'\n",
    "plugins/modules/thing.py": MODULE,
    "plugins/lookup/found.py": MODULE.replace("module: thing", "name: found")
    + "from ansible.plugins.lookup import LookupBase\n\n\nclass LookupModule(LookupBase): ...\n",
    "plugins/filter/made.py": MODULE.replace("module: thing", "name: made").replace(
        "options: {}", "options: {_input: {type: raw, required: true, description: [In.]}}"
    )
    + "\n\nclass FilterModule:\n    def filters(self):\n        return {'made': str}\n",
    "roles/part/meta/argument_specs.yml": "argument_specs: {main: {short_description: A part}}\n",
    "roles/part/tasks/main.yml": "[]\n",
    "playbooks/site.yml": "- hosts: localhost\n  roles: [mcp_tunnels.stack.part]\n",
    "proxy_src/src/mcp_proxy/__init__.py": '__version__ = "1.2.3"\n',
    **dict.fromkeys(WANTED, "text: 1\n"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """A small archive, built and installed as the real one is."""
    root = tmp_path_factory.mktemp("release")
    for name, text in FILES.items():
        (root / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "tree" / name).write_text(text)
    build = ["ansible-galaxy", "collection", "build", "--output-path", str(root / "out")]
    subprocess.run(build, cwd=root / "tree", check=True, capture_output=True)
    (built,) = (root / "out").iterdir()
    (root / "scratch").mkdir()
    archive = Archive(built, Version(1, 2, 3), root / "scratch", root / "tree/tools")
    archive.install()
    return archive


@pytest.fixture
def edited(installed: Archive) -> Iterator[Archive]:
    """The same archive; a test's changes are undone afterwards."""
    yield installed
    for name, text in FILES.items():
        if (installed.installed / name).parent.is_dir() and name != "galaxy.yml":
            (installed.installed / name).write_text(text)


def refused(archive: Archive, check: str) -> str:
    with pytest.raises(Refused) as refusal:
        archive.checks()[check]()
    return "\n".join(refusal.value.problems) + refusal.value.output


@pytest.mark.parametrize("check", ["contents", "ansible-doc", "ansible-playbook --syntax-check"])
def test_a_good_archive_passes(installed: Archive, check: str) -> None:
    installed.checks()[check]()


def test_what_visitors_look_for_has_to_be_in_it(edited: Archive) -> None:
    (edited.installed / "SECURITY.md").unlink()
    assert "SECURITY.md is not in it" in refused(edited, "contents")


def test_proxy_and_manifest_have_to_state_the_version(edited: Archive) -> None:
    proxy = edited.installed / "proxy_src/src/mcp_proxy/__init__.py"
    proxy.write_text('__version__ = "1.2.2"\n')
    manifest = edited.installed / "MANIFEST.json"
    before = manifest.read_text()
    changed = json.loads(before)
    changed["collection_info"]["version"] = "1.2.4"
    manifest.write_text(json.dumps(changed))
    found = refused(edited, "contents")
    manifest.write_text(before)
    assert "mcp_proxy/__init__.py does not state 1.2.3" in found
    assert "its manifest states version 1.2.4" in found


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("plugins/modules/thing.py", "thing"),
        ("plugins/lookup/found.py", "found"),
        ("plugins/filter/made.py", "made"),
    ],
)
def test_a_plugin_without_documentation_is_found(edited: Archive, path: str, name: str) -> None:
    bad = re.sub(r'DOCUMENTATION = r""".*?"""', "", FILES[path], flags=re.DOTALL)
    (edited.installed / path).write_text(bad)
    assert name in refused(edited, "ansible-doc")


def test_a_playbook_that_cannot_be_read_is_found(edited: Archive) -> None:
    (edited.installed / "playbooks/site.yml").write_text(
        "- hosts: localhost\n  roles: [mcp_tunnels.stack.lost]\n"
    )
    assert "mcp_tunnels.stack.lost" in refused(edited, "ansible-playbook --syntax-check")


def test_all_problems_are_told_and_the_passed_checks_named(
    installed: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(text: str) -> None:
        raise Refused(text, output=f"output of {text}")

    found = {"one": lambda: bad("a"), "two": lambda: None, "three": lambda: bad("b")}
    monkeypatch.setattr(installed, "checks", lambda: found)
    monkeypatch.setattr(installed, "install", lambda: None)
    told: list[str] = []
    with pytest.raises(Refused) as refusal:
        installed.check(told.append)
    assert refusal.value.problems == ("a", "b")
    assert refusal.value.output == "output of a\noutput of b"
    assert told == ["ansible-galaxy collection install", "two"]
