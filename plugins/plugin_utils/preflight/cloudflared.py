# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of cloudflared: its version, its source, how it ends."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import is_hostname, lower
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    shape,
    shown,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import is_loopback
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.cloudflared_grace import (
    check_grace_period,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import (
    pins as cloudflared_pins,
)

# apt and dnf read an address as a list, with options and variables: `[`, `$`, blanks and commas are
# none of an address here, nor is the `@` of a password that every user of the host could read.
_REPOSITORY = re.compile(r"(https?)://([A-Za-z0-9.:\[\]-]{1,260})((?:/[A-Za-z0-9._~%+-]*){0,32})")
_PORT = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::([1-9][0-9]{0,4}))?")
_URL = re.compile("https?://[!-~]{1,2000}")
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")


def check_cloudflared(values: Values) -> Iterator[TunnelError]:
    """Everything that is wrong with the variables of cloudflared's release and stop."""
    yield from _check_binary(values)
    yield from _check_version(values)
    if values["cloudflared_known_bad"] == "refuse":
        yield from known_bad(values)
    yield from check_grace_period(values)
    for variable in ("cloudflared_download_url", "cloudflared_package_key_url"):
        yield from _check_download(variable, values[variable])
    yield from _check_repository(values["cloudflared_package_url"])
    fingerprint = values["cloudflared_package_key_fingerprint"]
    if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch("".join(fingerprint.split())):
        yield TunnelError(
            "cloudflared_package_key_fingerprint",
            f"must be the fingerprint of an OpenPGP key, is {shape(fingerprint)}",
            "Give its 40 hexadecimal digits, as gpg --show-keys prints them",
        )


def known_bad(values: Values) -> Iterator[TunnelError]:
    """The known faults of the version that will run; none if the operator accepts them.

    The version of the operator's own binary (method file) is not known.
    """
    version = str(values["cloudflared_version"])
    fault = cloudflared_pins.known_bad(version)
    is_accepted = values["cloudflared_known_bad"] == "accept"
    if fault and not is_accepted and values["cloudflared_install_method"] != "file":
        yield TunnelError(
            "cloudflared_version",
            f"{version} {fault}",
            "Set a later one, and cloudflared_checksums to the SHA-256 of the vendor's release "
            "notes (docs/deployment.md, Another version of cloudflared); or "
            "cloudflared_known_bad: accept",
        )


def _check_binary(values: Values) -> Iterator[TunnelError]:
    method, binary = values["cloudflared_install_method"], values["cloudflared_binary_file"]
    checksum = str(values["cloudflared_binary_sha256"])
    if method == "file" and not binary:
        yield TunnelError(
            "cloudflared_binary_file",
            "is needed with cloudflared_install_method: file",
            "Give the path of the binary on the controller",
        )
    if method == "file" and binary and not _is_file(binary):
        yield TunnelError(
            "cloudflared_binary_file",
            f"{shown(_absolute(binary), 1000)} is not a file on the controller",
            "Give the path of the cloudflared binary for the hosts' architecture",
        )
    if method == "file" and binary and _is_file(binary) and _lacks_flag(binary):
        yield TunnelError(
            "cloudflared_binary_file",
            f"{shown(_absolute(binary), 1000)} does not know --{cloudflared_pins.NEWEST_FLAG}, "
            "which our unit starts it with: it would print its help and end",
            f"Bring cloudflared {cloudflared_pins.OLDEST} or later",
        )
    if checksum and not cloudflared_pins.is_sha256(checksum):
        yield TunnelError(
            "cloudflared_binary_sha256",
            f"is {shape(checksum)}",
            "Give 64 hexadecimal digits, as sha256sum prints them",
        )


def _absolute(path: Any) -> str:
    """The absolute path to look at: a relative one is below the working directory."""
    try:
        return os.path.abspath(os.path.expanduser(str(path)))
    except ValueError:  # a NUL in it
        return str(path)


def _is_file(path: Any) -> bool:
    try:
        return os.path.isfile(os.path.expanduser(str(path)))
    except ValueError:  # a NUL in it
        return False


def _lacks_flag(path: Any) -> bool:
    """Whether this is a program that was compiled without the newest flag of our unit.

    A script, or a program that was compressed, has no text to look for. If the file cannot be
    read, the code that takes it reports that later.
    """
    try:
        with open(os.path.expanduser(str(path)), "rb") as file:
            if file.read(4) != b"\x7fELF":
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                is_plain = content.find(b"UPX!") < 0
                return is_plain and content.find(cloudflared_pins.NEWEST_FLAG.encode()) < 0
    except (OSError, ValueError):
        return False


def _check_version(values: Values) -> Iterator[TunnelError]:
    method, version = values["cloudflared_install_method"], str(values["cloudflared_version"])
    is_version = True
    if method != "file":
        try:
            cloudflared_pins.check_version(version)
        except TunnelError as error:
            is_version = False
            yield error
    if method != "file" and cloudflared_pins.is_too_old(version):
        yield TunnelError(
            "cloudflared_version",
            f"{version} does not know --{cloudflared_pins.NEWEST_FLAG}, which our unit starts it "
            "with: it would print its help and end",
            f"Set {cloudflared_pins.OLDEST} or later, such as {cloudflared_pins.NEWEST}",
        )
        is_version = False  # its sum is of no interest
    checksums = values["cloudflared_checksums"]
    if not isinstance(checksums, Mapping):
        yield TunnelError(
            "cloudflared_checksums",
            f"must be a map of architectures to SHA-256 sums, is {shape(checksums)}",
            "Write for example `x86_64: <64 hexadecimal digits>`",
        )
        return
    for name, checksum in checksums.items():
        is_known = name in cloudflared_pins.VENDOR_ARCHITECTURES
        if not is_known or not cloudflared_pins.is_sha256(str(checksum)):
            yield TunnelError(
                f"cloudflared_checksums[{shown(name)!r}]",
                f"is {shape(checksum)}",
                "Give 64 hexadecimal digits for x86_64 or aarch64",
            )
    if method == "url" and not checksums and is_version:
        try:
            cloudflared_pins.pinned_checksum(version, "x86_64", {})
        except TunnelError as error:
            yield error


def _check_download(variable: str, url: Any) -> Iterator[TunnelError]:
    """Plain http is as good here: the content is compared with what is pinned."""
    if not isinstance(url, str) or not _URL.fullmatch(url) or not _host(url):
        yield TunnelError(
            variable,
            f"is not a URL, it is {shape(url)}",
            "Write it like https://mirror.example/cloudflared",
        )
    elif "@" in urlsplit(url).netloc:
        yield TunnelError(
            variable,
            "carries a user or password, which messages would show",
            "Put them into ~/.netrc on the controller",
        )


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:
        return ""


def _check_repository(url: Any) -> Iterator[TunnelError]:
    match = _REPOSITORY.fullmatch(url) if isinstance(url, str) and len(url) < 1000 else None
    host = _host(url) if match else ""
    is_address = host and (":" in host or is_hostname(lower(host)))
    if not match or not is_address or not _PORT.fullmatch(match.group(2)):
        yield TunnelError(
            "cloudflared_package_url",
            f"is not the address of a package repository, it is {shape(url)}",
            "Write one like https://mirror.example/cloudflare: letters, digits and . _ ~ % + - in "
            "its path, no user, no query, no variable of apt or dnf",
        )
    elif match.group(1) == "http" and not is_loopback(host):
        yield TunnelError(
            "cloudflared_package_url",
            f"is plain http to {host}: the packages are signed, the list of them is not everywhere",
            "Use https; plain http is accepted for localhost, 127.0.0.0/8 and [::1] only",
        )
