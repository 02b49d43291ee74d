from __future__ import annotations

import ast
from pathlib import Path

from ansible_collections.mcp_tunnels import stack
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.command_source import (
    PACKAGE,
    needed_files,
)


def write(directory, **texts):
    for name, text in texts.items():
        path = directory.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_files_in_folders_are_found_however_they_are_imported(tmp_path):
    write(
        tmp_path,
        commands__renew=f"from {PACKAGE}.keys import pair\nfrom {PACKAGE} import flat\n",
        keys__pair=f"from {PACKAGE}.core.errors import Error\nfrom {PACKAGE}.core import paths\n",
        core__errors="class Error(Exception): ...\n",
        core__paths=f"from {PACKAGE}.keys.pair import x\n",
        core__other="",
        flat="import os\n",
    )
    found = [str(path.relative_to(tmp_path)) for path in needed_files(tmp_path, "commands.renew")]
    assert found == [
        "commands/renew.py",
        "core/errors.py",
        "core/paths.py",
        "flat.py",
        "keys/pair.py",
    ]


def test_a_file_that_several_commands_need_is_found_and_read_once(tmp_path, monkeypatch):
    write(
        tmp_path,
        commands__renew=f"from {PACKAGE}.core import paths\n",
        commands__sign=f"from {PACKAGE}.core import paths, errors\n",
        core__errors="class Error(Exception): ...\n",
        core__paths="import os\n",
    )
    read = []
    text_of = Path.read_text

    def noted(path, *arguments, **keywords):
        read.append(str(path.relative_to(tmp_path)))
        return text_of(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "read_text", noted)
    found = needed_files(tmp_path, "commands.renew", "commands.sign")
    expected = ["commands/renew.py", "commands/sign.py", "core/errors.py", "core/paths.py"]
    assert [str(path.relative_to(tmp_path)) for path in found] == expected
    assert sorted(read) == expected


def test_imports_are_found_wherever_a_statement_can_be(tmp_path):
    statement = f"from {PACKAGE}.core import"
    write(
        tmp_path,
        commands__renew=(
            f"try:\n    {statement} a\nexcept ImportError:\n    {statement} b\n"
            f"else:\n    {statement} c\nfinally:\n    {statement} d\n"
            f"class K:\n    def f(self):\n        with self:\n            {statement} e\n"
            f"if K:\n    pass\nelif K():\n    {statement} f\nelse:\n    {statement} g\n"
        ),
        **{f"core__{letter}": "" for letter in "abcdefgh"},
    )
    found = [path.stem for path in needed_files(tmp_path, "commands.renew")]
    assert found == ["renew", *"abcdefg"]


def test_imports_are_found_however_they_are_written(tmp_path):
    write(
        tmp_path,
        commands__renew=(
            f"from {PACKAGE}.core import (  # first\n    a,\n    b as c,\n)\n"
            f"import os; from {PACKAGE}.core import d\n"
            f"from {PACKAGE}.core \\\n    import e\n"
            f"if os: from {PACKAGE}.core import f\n"
            f"from {PACKAGE}.core import (g)  # )\n"
            f"from {PACKAGE}.core import i, \\\n    j\n"
        ),
        **{f"core__{letter}": "" for letter in "abdefghij"},
    )
    found = [path.stem for path in needed_files(tmp_path, "commands.renew")]
    assert found == ["renew", *"abdefgij"]


def test_every_file_of_ours_is_found_as_a_parser_finds_it():
    """The statements that are parsed alone are all that the whole file has."""
    directory = Path(stack.__path__[0], "plugins/module_utils")
    prefix = f"{PACKAGE}."
    for path in directory.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        nodes = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.ImportFrom)]
        modules = {f"{node.module}.{a.name}" for node in nodes for a in node.names}
        expected = {each.removeprefix(prefix) for each in modules if each.startswith(prefix)}
        name = str(path.relative_to(directory).with_suffix("")).replace("/", ".")
        found = needed_files(directory, name)
        for module in expected:
            inside = directory.joinpath(*module.split(".")).with_suffix(".py")
            file = inside if inside.is_file() else inside.parent.with_suffix(".py")
            assert file in found, (path, module)
