from __future__ import annotations

from pathlib import Path

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
