# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration without what it may have of secrets.

Our own files have none. An operator's drop-ins may, and so may an address with a password in it.
The search that comes after this one does not rely on it.
"""

from __future__ import annotations

import re

REDACTED = "(redacted)"
_NAMES = (
    r"token|passwd|password|passphrase|secret|api[-_]?key|private[-_]?key|authorization|cookie"
    r"|setcredential"
)
# `name: value`, `NAME=value` and `--name value`. The rest of a name is limited, because a long line
# would take for ever otherwise.
_SETTING = re.compile(
    rf"(?i)(?:{_NAMES})[\w.-]{{0,128}}(?P<closed>[\"']?)[ \t]*[:=][ \t]*(?=\S)"
    rf"|--[\w-]{{0,64}}(?:{_NAMES})[\w-]{{0,64}}[ \t]+(?=\S)"
)
# They name a file: systemd.exec(5), and names that say so.
_PATH = re.compile(
    r"(?i)(?:^|\s)LoadCredential(?:Encrypted)?=[^\s:]*:$"
    r"|(?:file|path|dir|directory)[\"']?[ \t:=]+[\"']?$"
)
_LINE_BREAK = re.compile(r"(?<!\\)(?:\n|$)")
"""The end of a line that goes on in no other (systemd.syntax(7))."""
# The userinfo of a URI (RFC 3986 section 3.2.1), also with what would have to be encoded in it.
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,32}://)[^\s\"']{1,1024}@")


def redacted(text: str) -> tuple[str, int]:
    """The text with REDACTED in the place of values that may be secret, and how many those are."""
    parts, at, number = [], 0, 0
    while found := _SETTING.search(text, at):
        begin, end = found.end(), found.end()
        if not (text[begin] in "/$" and _PATH.search(text, max(0, begin - 256), begin)):
            begin, end = _value(text, found)
            parts.append(f"{text[at:begin]}{REDACTED}")
            number += 1
        else:
            parts.append(text[at:end])
        at = end
    text, addresses = _USERINFO.subn(rf"\g<1>{REDACTED}@", "".join([*parts, text[at:]]))
    return text, number + addresses


def _value(text: str, setting: re.Match[str]) -> tuple[int, int]:
    """Where the value begins and ends: at its quotation mark, or else with its line."""
    begin = setting.end()
    last = _end_of_line(text, begin)
    mark = text[begin] if text[begin] in "\"'" else ""
    begin += len(mark)
    mark = mark or _mark_before(text, setting)
    end = text.find(mark, begin, last) if mark else -1
    while end > 0 and text[end - 1] == "\\":
        end = text.find(mark, end + 1, last)
    # A mark in the middle of a word ends nothing.
    return begin, end if end >= 0 and text[end + 1 : end + 2] in ("", *" \t\n,;]})") else last


def _mark_before(text: str, setting: re.Match[str]) -> str:
    """The quotation mark that was opened right before the name, and not closed after it."""
    at = setting.start()
    while at and setting.start() - at < 256 and (text[at - 1].isalnum() or text[at - 1] in "_.-"):
        at -= 1
    before = text[at - 1 : at]
    return before if before and before in "\"'" and not setting["closed"] else ""


def _end_of_line(text: str, begin: int) -> int:
    found = _LINE_BREAK.search(text, begin)
    return found.start() if found else len(text)
