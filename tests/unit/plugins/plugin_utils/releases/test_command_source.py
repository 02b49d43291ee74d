from __future__ import annotations

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
