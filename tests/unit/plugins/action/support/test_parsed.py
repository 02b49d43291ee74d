"""YAML that was parsed before is what Ansible would parse now."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip(
    "ansible.module_utils._internal._datatag", reason="nothing is kept before ansible-core 2.19"
)

#: In a process of its own, as Ansible's loader is another one from then on.
PROGRAM = """
import sys
from pathlib import Path
from ansible.module_utils._internal._datatag import AnsibleTagHelper
from ansible.parsing.dataloader import DataLoader
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.runs import parsed

path = Path(sys.argv[1])

def load(trusted=True):
    return DataLoader().load_from_file(str(path), trusted_as_template=trusted)

def described(value):
    tags = sorted(map(repr, AnsibleTagHelper.tags(value)))
    parts = []
    if isinstance(value, dict):
        parts = [(described(key), described(each)) for key, each in value.items()]
    elif isinstance(value, list):
        parts = [described(each) for each in value]
    return type(value), tags, parts or value

before = [described(load(trusted)) for trusted in (True, False)]
assert before[0] != before[1]
parsed.keep([path])
assert [described(load(trusted)) for trusted in (True, False)] == before
changed = load()
changed["list"].append("more")
changed["map"]["of"]["deep"] = 2
assert described(load()) == before[0]
path.write_text(path.read_text().replace("first", "other"))
assert load()["text"] == "other {{ word }}"
"""
TEXT = """\
text: first {{ word }}
list: [1, two, null, 2026-11-29, {a: b}]
map: {of: {deep: true}}
secret: !unsafe "{{ word }}"
"""


def test_it_is_the_same_until_the_file_changes(tmp_path):
    path = tmp_path / "file.yml"
    path.write_text(TEXT)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
