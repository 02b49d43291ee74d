"""What is kept for later runs is never that of other files: modules, compiled code, templates."""

from __future__ import annotations

import base64
import io
import marshal
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.executor.process import worker
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import kept_playbook

since_2_19 = pytest.mark.skipif(
    not hasattr(worker, "_RawTaskResult"),
    reason="before ansible-core 2.19, only packed modules and the controller's code are kept",
)

_TASK = "mcp_tunnels.stack.word"
MODULE = """\
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.word import WORD
AnsibleModule({}).exit_json(msg=WORD)
"""
#: More of module_utils: the word then tells which file it is of.
WHENCE = "WORD += f' of {__file__}'\n"
ACTION = """\
from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.word import WORD
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {"msg": f"{WORD} on the controller"}
"""


class Tree:
    """A collection of our name with one module, which says a word of module_utils."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.collection = directory / "ansible_collections/mcp_tunnels/stack"
        self.word = self.collection / "plugins/module_utils/word.py"
        module = self.collection / "plugins/modules/word.py"
        for path in (self.word, module):
            path.parent.mkdir(parents=True)
        module.write_text(MODULE)
        self.say("first")

    def say(self, word: str, more: str = "") -> None:
        """Change the text in module_utils; neither its size nor its times tell."""
        self.word.write_text(f"WORD = {word!r}\n{more}")
        os.utime(self.word, (1, 1))

    def content(self) -> str:
        """The hash of what can be in its packed modules."""
        return kept_playbook.content([str(self.directory)])

    def run(self, kept: Path | str, *tasks: dict[str, Any]) -> str:
        """The output of the module, or of other tasks, with what earlier runs have kept."""
        done = list(tasks) or [{_TASK: {}}]
        play = {"hosts": "localhost", "gather_facts": False, "tasks": done}
        (self.directory / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [sys.executable, kept_playbook.__file__, "-v", "play.yml"],
            cwd=self.directory,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(self.directory),
                "KEPT_MODULES": str(kept),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


def test_a_changed_file_is_in_the_next_run(tree, tmp_path):
    kept = tmp_path / "kept"
    assert "first" in tree.run(kept)
    packed = sorted(kept.rglob("*.word-*"))
    assert packed
    times = [path.stat().st_mtime_ns for path in packed]
    assert "first" in tree.run(kept)
    assert [path.stat().st_mtime_ns for path in packed] == times, "it was packed again"
    tree.say("other")
    assert "other" in tree.run(kept)


@since_2_19
def test_bytecode_is_that_of_the_source_beside_it(tree, tmp_path, monkeypatch):
    """The module runs from it, and says the same as without it."""
    monkeypatch.setenv("KEPT_BYTECODE", sys.executable)
    kept, tag = tmp_path / "kept", sys.implementation.cache_tag
    for word in ("first", "first", "other"):
        tree.say(word, WHENCE)
        output = tree.run(kept)
        assert f"{word} of " in output
        assert f"payload.zip/{tag}/ansible_collections" in output
    for path in kept.rglob("*.word-ZIP_DEFLATED-none"):
        packed = pickle.loads(path.read_bytes())
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed.zip_data))) as archive:
            names = archive.namelist()
            sources = [name for name in names if name.endswith(".py")]
            assert sources
            assert {f"{tag}/{name}c" for name in sources} <= set(names)
            (word,) = [name for name in names if name.endswith("/word.pyc") and "utils" in name]
            code = marshal.loads(archive.read(word)[16:])
            assert set(code.co_consts) & {"first", "other"}


def test_a_python_without_bytecode_compiles_the_source(tree, tmp_path, monkeypatch):
    other = tmp_path / "python"
    renamed = "import sys; sys.implementation.cache_tag = 'another'; exec(sys.argv[1])"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$1" -c "{renamed}" "$3"\n')
    other.chmod(0o755)
    monkeypatch.setenv("KEPT_BYTECODE", str(other))
    tree.say("first", WHENCE)
    kept = tmp_path / "kept"
    output = tree.run(kept)
    assert "first of " in output
    assert "payload.zip/ansible_collections" in output
    (path,) = kept.rglob("*.word-ZIP_DEFLATED-none")
    packed = base64.b64decode(pickle.loads(path.read_bytes()).zip_data)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert "another/ansible/module_utils/basic.pyc" in archive.namelist()


def test_changed_code_of_the_controller_is_in_the_next_run(tree, tmp_path):
    action = tree.collection / "plugins/action/word.py"
    action.parent.mkdir()
    action.write_text(ACTION)
    kept = tmp_path / "kept"
    assert "first on the controller" in tree.run(kept)
    code = list((kept / "code").iterdir())
    times = [path.stat().st_mtime_ns for path in code]
    assert code
    assert "first on the controller" in tree.run(kept)
    assert [path.stat().st_mtime_ns for path in code] == times, "it was compiled again"
    tree.say("other")
    assert "other on the controller" in tree.run(kept)


def test_each_file_counts(tree):
    seen = {tree.content()}
    for path in ("plugins/modules/word.py", "plugins/module_utils/word.py", "meta/runtime.yml"):
        (tree.collection / path).parent.mkdir(exist_ok=True)
        (tree.collection / path).write_text("{}")
        assert tree.content() not in seen, path
        seen.add(tree.content())
    tree.word.unlink()
    assert tree.content() not in seen


def test_another_tree_is_another(tree, tmp_path):
    """Their contents are the same; the path is in a module's messages."""
    assert Tree(tmp_path / "other").content() != tree.content()


@since_2_19
def test_a_template_is_kept_with_everything_that_it_depends_on(tree, tmp_path):
    """The same text, three times: its backslash and its brackets mean something else each time."""
    text = "{{ 'p\\tq' }} [% 'r' %]"
    (tree.directory / "text.j2").write_text(text)
    other = "variable_start_string='[%', variable_end_string='%]'"
    tasks = [
        {"ansible.builtin.debug": {"msg": text}},
        {"ansible.builtin.debug": {"msg": "{{ lookup('template', 'text.j2') }}"}},
        {"ansible.builtin.debug": {"msg": f"{{{{ lookup('template', 'text.j2', {other}) }}}}"}},
        {"ansible.builtin.debug": {"msg": "tab"}, "when": "'p\\tq' is match('p.q')"},
        {"ansible.builtin.debug": {"msg": "letter"}, "when": "'p\\tq' is match('p..q')"},
        {"ansible.builtin.debug": {"msg": "{{ nobody | default('unknown') }}"}},
    ]
    kept = tmp_path / "kept"
    expected = tree.run("", *tasks)
    assert "unknown" in expected
    assert tree.run(kept, *tasks) == expected
    times = {path: path.stat().st_mtime_ns for path in (kept / "templates").iterdir()}
    assert len(times) >= len(tasks)
    assert tree.run(kept, *tasks) == expected
    after = {path: path.stat().st_mtime_ns for path in (kept / "templates").iterdir()}
    assert after == times, "something was compiled again"


def test_a_skipped_task_says_the_same_without_a_process(tree, tmp_path):
    """What is skipped, what is not, and what nobody can tell."""
    debug = {"ansible.builtin.debug": {"msg": "shown"}}
    tasks = [
        {"ansible.builtin.set_fact": {"no": False, "yes": True}},
        {"name": "with {{ no }}", **debug, "when": "no", "register": "was"},
        {**debug, "when": ["yes", "was is skipped", "was.false_condition == 'no'"]},
        {"ansible.builtin.debug": {"msg": "{{ was | to_json }}"}},
        {**debug, "when": ["yes", "nobody"], "ignore_errors": True, "register": "failed"},
        {**debug, "when": "failed is not failed", "no_log": True},
        {**debug, "when": "own", "vars": {"own": "{{ no }}"}},
        {**debug, "when": "item", "loop": [True, False], "register": "looped"},
        {**debug, "when": "no", "loop": "{{ nobody }}"},
        {**debug, "when": "no", "delegate_to": "localhost"},
        {**debug, "when": "no", "delegate_to": "{{ nobody }}", "ignore_errors": True},
        {**debug, "when": "no", "run_once": True, "environment": {"A": "{{ nobody }}"}},
        {"block": [debug, {**debug, "when": "yes"}], "when": "no"},
        {"block": [{**debug, "when": "nobody"}], "rescue": [debug], "when": "yes"},
        {"ansible.builtin.include_tasks": "nowhere.yml", "when": "no"},
        {_TASK: {}, "when": "lookup('ansible.builtin.pipe', 'exit 1', errors='warn') is string"},
        {"ansible.builtin.command": "true", "when": "no", "become": True, "become_user": "{{ x }}"},
        {"ansible.builtin.debug": {"msg": "{{ looped | to_json }}"}},
    ]
    plain = tree.run("", *tasks)
    assert plain.count("skipping: [localhost]") >= 8
    assert tree.run(tmp_path / "kept", *tasks) == plain


@since_2_19
def test_a_skipped_task_has_no_process(tree, tmp_path):
    """The conditions write down which process judges them."""
    found = tmp_path / "found"
    judged = f"lookup('ansible.builtin.pipe', 'echo $PPID >> {found}; echo no') == 'yes'"
    task = {"ansible.builtin.debug": {"msg": "shown"}, "when": judged}
    for kept, processes in (("", 2), (tmp_path / "kept", 1)):
        assert "shown" not in tree.run(kept, task, task)
        assert len(set(found.read_text().split())) == processes
        found.unlink()
