"""An ansible-core that is too old is refused by each playbook, before anything else."""

from __future__ import annotations

import re

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.action import test_no_replicas

ROOT = test_no_replicas.PLAYBOOKS.parent
FLOOR = re.compile(r"[0-9]+\.[0-9]+")


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """Let this ansible-core have another version."""

    def pretend(version):
        (tmp_path / "old").mkdir()
        text = f"import ansible.release\nansible.release.__version__ = '{version}'\n"
        (tmp_path / "old/sitecustomize.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "old"))

    return pretend


@pytest.mark.parametrize("playbook", ["site", *sorted(test_no_replicas.WITHOUT_HOSTS)])
def test_an_old_one(tmp_path, pretended, playbook):
    """Every other playbook begins as site does: test_every_playbook_refuses_such_tags."""
    pretended("2.15.13")
    status, output = test_no_replicas.run(tmp_path, {}, playbook, "--tags", "some")
    assert status != 0
    assert "ansible-core 2.15.13: is too old for mcp_tunnels.stack, which needs 2.16" in output
    assert "pip install --upgrade ansible-core" in output
    # With an older Python, pip finds no such version, and says that the newest one is installed.
    assert "of Python 3.10 or later" in output
    assert "Nothing was done." in output
    assert "--tags: leaves" not in output
    assert "failed=1" in output


@pytest.mark.parametrize("version", ["2.16.0", "2.22.0rc1", "3.0.0"])
def test_one_that_is_new_enough(tmp_path, pretended, version):
    pretended(version)
    _status, output = test_no_replicas.run(tmp_path, {}, "site")
    assert "mcp_tunnel: is no group of the inventory" in output


def test_every_place_names_the_same_version():
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    floor = FLOOR.search(runtime["requires_ansible"])[0]
    text = (ROOT / "playbooks/tasks/whole.yml").read_text(encoding="utf-8")
    assert f"needs {floor} or later" in text
    assert f"version('{floor}', '<')" in text
    for page in (ROOT / "README.md", ROOT / "docs/deployment.md"):
        named = re.findall(
            r"ansible-core (?:≥ )?([0-9]+\.[0-9]+)", page.read_text(encoding="utf-8")
        )
        assert floor in named, page


def chosen_files(tasks):
    """Each name in the templates that choose a file of tasks."""
    for task in tasks if isinstance(tasks, list) else []:
        included = task.get("ansible.builtin.include_tasks", "")
        if "{{" in included:
            yield from re.findall(r"'(\w+)(?:\.yml)?'", included)
        for key in ("tasks", "block", "rescue", "always"):
            yield from chosen_files(task.get(key))


def test_no_file_that_a_template_chooses_imports_another():
    """Before 2.19, ansible-core looks for that one without the variables of the host."""
    files = [*(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    named = {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    chosen = {name for tasks in named.values() for name in chosen_files(tasks)}
    assert "no_certificate_yet" in chosen
    imports = [
        path
        for path in files
        if path.stem in chosen and "import_tasks:" in path.read_text(encoding="utf-8")
    ]
    assert imports == []


def test_no_template_escapes_a_quote():
    """Before 2.19, ansible-core doubles each backslash in an argument of a task."""
    files = [*(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    escaped = [path for path in files if re.search(r"\\['\"]", path.read_text(encoding="utf-8"))]
    assert escaped == []
