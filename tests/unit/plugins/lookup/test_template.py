"""The lookup template: the text that ansible-core gives, without a deep copy of all variables."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from ansible.plugins.loader import lookup_loader
from ansible_collections.mcp_tunnels.stack.plugins.lookup.template import LookupModule
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.playbook import run_playbook

ROLES = Path(__file__).resolve().parents[4] / "roles"
TEXT = r"""# {{ given }}
{% for item in items_of_it %}
line {{ loop.index }}: {{ item | regex_replace('\\.', '-') }}
{% endfor %}
{% include 'other.j2' +%}
{{ nested }}

"""
HOSTS = {"replica1": {}}
VARIABLES = {"given": "a", "items_of_it": ["b.c", "[d]"], "nested": "{{ given }}{{ given }}"}


class Kept:
    """In the place of the plugin of ansible-core: keeps what it is given."""

    def run(self, terms, variables):
        self.variables = variables
        return terms


@pytest.fixture
def directory(tmp_path):
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "unit.j2").write_text(TEXT)
    (templates / "other.j2").write_text("other {{ given }}\n")
    return tmp_path


def test_it_gives_the_text_of_the_plugin_of_ansible_core(directory):
    wanted = "lookup('ansible.builtin.template', 'unit.j2')"
    found = wanted.replace("ansible.builtin", "mcp_tunnels.stack")
    text = "# a\nline 1: b-c\nline 2: [d]\nother a\naa\n\n"
    checks = [f"{found} == {wanted}", f"{found} == expected"]
    tasks = [
        {
            "ansible.builtin.assert": {"that": checks, "quiet": True},
            "vars": {**VARIABLES, "expected": text},
        }
    ]
    status, output = run_playbook(directory, tasks, HOSTS)
    assert status == 0, output


def test_it_gives_variables_that_are_not_copied_deeply(monkeypatch):
    kept = Kept()
    monkeypatch.setattr(lookup_loader, "get", lambda name, **options: kept)
    variables = {"hosts": {"replica1": ["much"]}}
    LookupModule().run(["unit.j2"], variables=variables)
    copied = copy.deepcopy(kept.variables)
    copied["template_path"] = "of the copy"
    assert type(copied) is dict
    assert copied["hosts"] is variables["hosts"]
    assert variables == {"hosts": {"replica1": ["much"]}}


def test_a_template_that_is_missing_is_named(directory):
    tasks = [
        {"ansible.builtin.debug": {"msg": "{{ lookup('mcp_tunnels.stack.template', 'no.j2') }}"}}
    ]
    status, output = run_playbook(directory, tasks, HOSTS)
    assert status != 0
    assert "no.j2" in output


def test_the_roles_render_with_it():
    files = [path for path in ROLES.rglob("*.yml") if path.is_file()]
    names = {
        name
        for path in files
        for name in re.findall(r"lookup\(\s*'([\w.]*\btemplate)'", path.read_text())
    }
    assert names == {"mcp_tunnels.stack.template"}
