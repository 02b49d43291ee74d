"""YAML that a process has parsed before it was asked for a run: each run would parse it anew.

A file is read in each run, and its content is looked up: one that has changed is never missed.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def keep(files: Iterable[Path]) -> None:
    """Parse these files, and let Ansible's loader find what they contain.

    Its copies of what it has loaded are those of :func:`_copied`.
    """
    try:
        from ansible.module_utils._internal._datatag import AnsibleTagHelper
    except ImportError:  # before ansible-core 2.19
        return
    from ansible.parsing import dataloader

    found: dict[object, Any] = {}
    load = dataloader.DataLoader.load

    def kept(
        self: Any,
        data: str,
        file_name: str | None = None,
        show_content: bool = True,
        json_only: bool = False,
    ) -> Any:
        # The tags of the text, such as trust in its templates, are on all that it contains.
        key = (str(data), AnsibleTagHelper.tags(data), file_name, show_content, json_only)
        if key not in found:
            found[key] = load(self, data, file_name, show_content, json_only)
        return _copied(found[key], AnsibleTagHelper.tag_copy)

    def copied(value: Any) -> Any:
        return _copied(value, AnsibleTagHelper.tag_copy)

    dataloader.DataLoader.load = kept
    dataloader.copy = types.SimpleNamespace(deepcopy=copied)
    loader = dataloader.DataLoader()
    for path in files:
        for trusted in (False, True):
            loader.load_from_file(str(path), cache="none", trusted_as_template=trusted)


def _copied(value: Any, tagged: Any) -> Any:
    """A copy of the lists and maps of a document; nothing else in one can be changed.

    :param tagged: gives its second argument the tags of its first.
    """
    if isinstance(value, dict):
        return tagged(value, {key: _copied(each, tagged) for key, each in value.items()})
    if isinstance(value, list):
        return tagged(value, [_copied(each, tagged) for each in value])
    return value
