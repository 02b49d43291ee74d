# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for mcp_tunnel_signer: a map of ``source`` and the options of that source."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    has_control,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shape, shown
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import check_url

VARIABLE = "mcp_tunnel_signer"
FILE = "signer.json"
"""Its name among the credentials of the signer's unit, and in /etc/mcp-tunnel/<instance>/."""
OPTIONS = {
    "command": ("command", "secret_file"),
    "vault": ("address", "path", "secret_file", "namespace", "ca_file"),
}
"""The options of each source."""
# Without what systemd would read as something else in LoadCredential=.
_FILE = re.compile(r"/[A-Za-z0-9._/@+-]{1,1000}")
# Of a mount and its role, and of a namespace: parts of a URL.
_PLACE = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_MOST_WORDS, _LONGEST_WORD = 64, 1000


@dataclass(frozen=True)
class Program:
    """A program of the operator's.

    :param command: the program and its arguments; the program as an absolute path.
    :param secret_file: the file on the state host that the program gets as its secret, or empty.
    """

    command: tuple[str, ...]
    secret_file: str = ""

    def __str__(self) -> str:
        return self.command[0]


@dataclass(frozen=True)
class Vault:
    """The PKI secrets engine of HashiCorp Vault or OpenBao.

    :param address: its URL.
    :param path: that of the call, like ``pki/sign/tunnel``: mount, ``sign`` and role.
    :param secret_file: the file on the state host that has the token.
    :param ca_file: the CAs (PEM) that verify its certificate; empty for the system's.
    """

    address: str
    path: str
    secret_file: str
    namespace: str = ""
    ca_file: str = ""

    def __str__(self) -> str:
        return f"{self.address}/v1/{self.path}"


Signer = Union[Program, Vault]


def read(given: Any) -> Signer | None:
    """The signer that these settings describe; ``None`` if they are empty.

    :raises TunnelError: naming the first option that is wrong.
    """
    if not given:
        return None
    if not isinstance(given, Mapping):
        raise TunnelError(
            VARIABLE,
            f"must be a map, is {shape(given)}",
            "Set source and its options, see the docs",
        )
    source = given.get("source")
    if not isinstance(source, str) or source not in OPTIONS:
        problem = f"is {shown(source)!r}" if isinstance(source, str) else f"is {shape(source)}"
        raise TunnelError(option("source"), problem, f"Use {' or '.join(OPTIONS)}")
    # A module's options are there without a value, too.
    values = {name: value for name, value in given.items() if value not in (None, "")}
    for name in values:
        if name != "source" and name not in OPTIONS[source]:
            raise TunnelError(
                option(shown(name)),
                f"is not known for the source {source}",
                f"Use {', '.join(OPTIONS[source])}",
            )
    return _program(values) if source == "command" else _vault(values)


def _program(values: Mapping[str, Any]) -> Program:
    return Program(_command(values.get("command")), _file(values, "secret_file"))


def _vault(values: Mapping[str, Any]) -> Vault:
    return Vault(
        check_url(str(values.get("address", "")), option("address")),
        _place(values, "path", "Write mount, sign and role, like pki/sign/tunnel"),
        _file(values, "secret_file", "Vault's token"),
        _place(values, "namespace", "Write it like team/tunnels", is_needed=False),
        _file(values, "ca_file"),
    )


def from_text(text: str, subject: str) -> Signer | None:
    """The signer in a file that a playbook has written.

    :raises TunnelError: if it is none.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise TunnelError(subject, "is no JSON", "Run the site playbook, which writes it") from None
    return read(given)


def option(name: str) -> str:
    """An option of the variable, as errors name it."""
    return f"{VARIABLE}['{name}']"


def _command(words: Any) -> tuple[str, ...]:
    problem = ""
    if not isinstance(words, (list, tuple)) or not words:
        problem = f"must be a list of a program and its arguments, is {shape(words)}"
    elif any(not isinstance(word, str) or has_control(word) for word in words):
        problem = "has an entry that is no text, or has a control character in it"
    elif len(words) > _MOST_WORDS or any(len(word) > _LONGEST_WORD for word in words):
        problem = f"has more than {_MOST_WORDS} entries, or one of over {_LONGEST_WORD} characters"
    elif not _FILE.fullmatch(words[0]):
        problem = f"names the program {shown(words[0])!r}, which is no absolute path"
    if problem:
        raise TunnelError(
            option("command"),
            problem,
            "Write it like ['/usr/local/bin/sign-csr', --profile, tunnel], without a shell and "
            "without a secret",
        )
    return tuple(words)


def _file(values: Mapping[str, Any], name: str, needed_for: str = "") -> str:
    path = values.get(name, "")
    if not needed_for and not path:
        return ""
    if not (isinstance(path, str) and _FILE.fullmatch(path)):
        raise TunnelError(
            option(name),
            f"must be an absolute path without blanks, is {shape(path)}",
            f"Give the path of a file on the state host{f' with {needed_for}' * bool(needed_for)}",
        )
    return path


def _place(values: Mapping[str, Any], name: str, remedy: str, is_needed: bool = True) -> str:
    text = values.get(name, "")
    is_good = isinstance(text, str) and len(text) <= _LONGEST_WORD and _PLACE.fullmatch(text)
    if not is_good and (is_needed or text):
        raise TunnelError(option(name), f"is no path of Vault, is {shape(text)}", remedy)
    return str(text)
