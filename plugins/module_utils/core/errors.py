# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error of this collection, and the one place where it becomes a module's failure."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import Any

# The form of a key (PEM, or of age), a JWT, a tunnel token or an access token: an operator may put
# one into the wrong option, and a server may quote one in its error.
_SECRET_SHAPE = re.compile(
    r"(?:-----BEGIN [A-Z0-9 ]*)?PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)"
    r"|eyJ[A-Za-z0-9+/_=-]+\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]*"
    r"|eyJ[A-Za-z0-9+/_=-]{40,}"
    r"|sk-ant-[A-Za-z0-9_-]{8,}"
    r"|AGE-SECRET-KEY-1[A-Za-z0-9]{8,}",
    re.DOTALL,
)

# Characters that a terminal obeys, or shows in another order than they are written: C0 and C1
# except newline and tab, line and paragraph separators, directions of writing, and halves of
# characters.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LONGEST = 10_000  # characters of one part of a message

# The remedies when the system refuses a file.
_NO_ACCESS = "Run the task with become, and check the path and its file system"
_NO_ROOM = (
    "Make room on that file system of the host (see df -h and df -i there), and run the playbook "
    "again"
)


def without_control(text: str) -> str:
    """The text with escapes (``\\x1b``) for control characters except newline and tab."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def has_control(text: str) -> bool:
    """Whether the text has control characters, newline and tab among them."""
    return bool(_CONTROL.search(text)) or "\n" in text or "\t" in text


def _shown(text: str) -> str:
    """The text as a message shows it, from any source."""
    plain = without_control(_SECRET_SHAPE.sub("(a secret, not shown)", text))
    if len(plain) <= _LONGEST:
        return plain
    return f"{plain[:_LONGEST]}... ({len(plain)} characters)"


class TunnelError(Exception):
    """A problem that the operator can put right. Text that looks like a secret is not shown.

    Parts of it may come from a server or a host: control characters are escaped, and a very long
    text is cut.

    :param subject: the object that is wrong: a variable, an option or a file.
    :param problem: the fault of the object, as the rest of a sentence.
    :param remedy: the action to take, as a sentence without full stop.
    """

    def __init__(self, subject: str, problem: str, remedy: str) -> None:
        self.subject, self.problem, self.remedy = map(_shown, (subject, problem, remedy))
        super().__init__(f"{self.subject}: {self.problem}. {self.remedy}.")


def run(module: Any, action: Callable[[], dict[str, Any]]) -> None:
    """Calls ``action`` and ends the module with its result, a dict, or with its error.

    ``warnings`` in the result are shown as warnings.
    """
    # The services' users have to be able to read public files, even where root's umask is a
    # hardened one; secrets are written with permissions of their own.
    os.umask(0o022)
    # A secret in an option that is not meant for one must not come back in "invocation".
    for value in module.params.values():
        if isinstance(value, str) and _SECRET_SHAPE.search(value):
            module.no_log_values.add(value)
    try:
        result = action()
    except TunnelError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        problem = error.strerror or str(error)
        subject = error.filename or module.params.get("path") or "file"
        remedy = _NO_ROOM if error.errno in (errno.ENOSPC, errno.EDQUOT) else _NO_ACCESS
        module.fail_json(msg=f"{subject}: {problem}. {remedy}.")
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    module.exit_json(**result)
