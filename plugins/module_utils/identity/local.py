# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity tokens from a file, a variable, an option, or a command's output."""

from __future__ import annotations

import os
import subprocess

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import Identity
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.jwt_claims import (
    LARGEST_JWT,
)

# Where Kubernetes puts a service account's token in every pod.
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_VARIABLE = "ANTHROPIC_IDENTITY_TOKEN"
_FILE_VARIABLE = "ANTHROPIC_IDENTITY_TOKEN_FILE"
_COMMAND_TIMEOUT = 60  # seconds


def from_file(identity: Identity) -> str:
    """Reads ``identity_file``."""
    return read_token(identity.text("file"))


def from_kubernetes(identity: Identity) -> str:
    """Reads the projected token of a service account."""
    return read_token(identity.text("file", _SERVICE_ACCOUNT))


def from_literal(identity: Identity) -> str:
    """Takes ``identity_literal``."""
    return identity.text("literal")


def from_environment(identity: Identity) -> str:
    """Reads ``identity_variable``, or by vendor rule exactly one of the vendor's two variables."""
    variable = identity.text("variable")
    if variable:
        return _variable(variable)
    names = [name for name in (_VARIABLE, _FILE_VARIABLE) if os.environ.get(name)]
    if len(names) != 1:
        raise TunnelError(
            "identity_source",
            f"environment: {'both' if names else 'neither'} {_VARIABLE} "
            f"{'and' if names else 'nor'} {_FILE_VARIABLE} {'are' if names else 'is'} set",
            "Set exactly one of them for this task (keyword environment)",
        )
    return _variable(_VARIABLE) if names == [_VARIABLE] else read_token(os.environ[names[0]])


def _variable(name: str) -> str:
    value = os.environ.get(name, "")
    if not value.strip():
        raise TunnelError(
            f"environment variable {name}",
            "is not set or empty",
            "Set it for this task (keyword environment): what runs there is not a login shell",
        )
    return value


def read_token(path: str) -> str:
    """Reads a token file; follows links, as mounted secrets are some.

    :raises TunnelError: if it is missing, unreadable or far too long.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(2 * LARGEST_JWT)
    except FileNotFoundError:
        raise TunnelError(
            path, "does not exist on this host", "Check the path, and what writes the token there"
        ) from None
    except OSError as error:
        raise TunnelError(
            path, f"cannot be read ({error.strerror})", "Run the task with become, or fix the path"
        ) from None
    # The rules of a JWT report content that is too long or not text.
    return content.decode("utf-8", "replace")


def from_command(identity: Identity) -> str:
    """Runs ``identity_command``, without a shell, and takes its output."""
    command = [str(word) for word in identity.options["identity_command"]]
    return run_command(command, "identity_command")


def run_command(command: list[str], subject: str) -> str:
    """Runs a program and returns its output.

    :raises TunnelError: if it is missing, fails, or takes longer than a minute.
    """
    try:
        done = subprocess.run(  # noqa: S603  # the operator's own words, and no shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TunnelError(
            subject, f"{command[0]} runs longer than {_COMMAND_TIMEOUT} s", "Check it by hand"
        ) from None
    except OSError as error:
        raise TunnelError(
            subject,
            f"{command[0]} cannot be run ({error.strerror})",
            "Give the whole path of a program and each argument as an entry of its own",
        ) from None
    if done.returncode:
        # Its output is not shown: it may hold the token.
        raise TunnelError(
            subject,
            f"{command[0]} ended with status {done.returncode}",
            "Run it by hand on that host, as the user of this task, to see why",
        )
    return done.stdout.decode("utf-8", "replace")
