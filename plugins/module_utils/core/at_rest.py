# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in files: in clear, or encrypted by systemd for this host alone (systemd-creds(1)).

A file keeps its name in either form, and its content says which it is: an encrypted credential is
Base64 of neither text nor JSON. So each change of the form is one rename, and nothing is left of
the other form. Secrets go through pipes, never through arguments.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from collections.abc import Mapping
from types import MappingProxyType

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

NONE, HOST, TPM2, AUTO = "none", "host", "tpm2", "auto"
FORMS = (NONE, HOST, TPM2)
"""In clear, or by which key: that of the host's file, or that of its TPM."""
CHOICES = (*FORMS, AUTO)
VARIABLE = "mcp_tunnel_encryption_at_rest"
_BOOTED = "/run/systemd/system"  # sd_booted(3)
_FIRST_SYSTEMD = 250  # the first with systemd-creds and LoadCredentialEncrypted=

# The first 16 bytes say how a credential is encrypted. This is by the host's key alone; each other
# value takes a TPM (systemd, src/shared/creds-util.h).
_BY_HOST = bytes.fromhex("5a1c6a86df9d4096b1d5a65e0862f19a")
_SHORTEST = 64  # bytes: the header, and the tag of AES-GCM
# Bound to no measurement (PCR): an update of firmware or kernel must not end a tunnel. systemd 252
# cannot decrypt what it encrypts like that, and says so only then. There it is PCR 23, which is for
# applications: zero after each boot, and firmware and kernel measure nothing into it. One that is
# not zero now would lock the secrets at the next boot.
_KEYS = {
    HOST: (["--with-key=host"],),
    TPM2: (["--with-key=tpm2", "--tpm2-pcrs="], ["--with-key=tpm2", "--tpm2-pcrs=23"]),
}
# The secrets of a state directory and of a replica. A key may wait for its certificate (.pending).
_SECRET = re.compile(
    r"(?P<name>tunnel-token|tls\.key|ca(?P<other>-next|-previous)?\.key)(\.pending)?"
)
_SECONDS = 60.0  # of a call; a TPM takes a second or two
_PCR_23 = "/sys/class/tpm/tpm0/pcr-sha256/23"


def form_of(content: bytes) -> str:
    """The form of a secret's file: one of FORMS."""
    try:
        decoded = base64.b64decode(b"".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        return NONE
    # A tunnel token is Base64, too, of a JSON object.
    if len(decoded) < _SHORTEST or decoded.startswith(b"{"):
        return NONE
    return HOST if decoded.startswith(_BY_HOST) else TPM2


def name_of(path: str) -> str:
    """The name that is encrypted with the content of this file.

    A key keeps it when its file is renamed, and takes the place of another one.
    """
    found = _SECRET.fullmatch(os.path.basename(path))
    if found is None:
        return os.path.basename(path)
    return "ca.key" if found["other"] else found["name"]


def is_secret(path: str) -> bool:
    """Whether a file of this name is one of our secrets."""
    return bool(_SECRET.fullmatch(os.path.basename(path)))


def read_secret(path: str) -> bytes | None:
    """The content of a file, decrypted if it is one of our secrets; ``None`` without a file.

    :raises TunnelError: if this host cannot decrypt it.
    """
    content = secret_files.read_file(path)
    if content is None or not is_secret(path):
        return content
    handed = _handed_over(name_of(path)) if form_of(content) != NONE else None
    return reveal(content, name_of(path), path) if handed is None else handed


def _handed_over(name: str) -> bytes | None:
    """The secret, if systemd has decrypted it for the service that this is (systemd.exec(5))."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return secret_files.read_file(os.path.join(directory, name)) if directory else None


def write_secret(
    path: str, content: bytes, attributes: secret_files.Attributes, form: str = ""
) -> None:
    """Replaces the file of a secret in one step.

    :param form: one of FORMS; empty for that of the file that is replaced, in clear without one.
    :raises TunnelError: if this host cannot encrypt. The file is as it was before then.
    """
    if not form:
        form = form_of(secret_files.read_file(path) or b"") if is_secret(path) else NONE
    sealed = seal(content, name_of(path), form)
    write_former(path, content, attributes)
    secret_files.write_file(path, sealed, attributes)


def former_path(path: str) -> str:
    """Where a secret is in its former form as well, while units and secrets change theirs.

    By its name, it is in no copy of a state, and in the way of none that is put back.
    """
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.former.mcp-tunnel")


def write_former(path: str, content: bytes, attributes: secret_files.Attributes) -> None:
    """Makes the one in the former form, if it is there, the same secret as the file's.

    :raises TunnelError: if this host cannot encrypt.
    """
    former = former_path(path)
    present = secret_files.read_file(former) if is_secret(path) else None
    if present is not None:
        sealed = seal(content, name_of(path), form_of(present))
        secret_files.write_file(former, sealed, attributes)


def convert(
    directory: str,
    form: str,
    check_mode: bool,
    exceptions: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Brings the secrets of a directory to a form, one after the other.

    :param exceptions: by the name that is encrypted with it (:func:`name_of`), another form.
    :returns: the names of the files that were converted, and their new forms.
    :raises TunnelError: if one cannot be decrypted here (then nothing was changed), or encrypted.
    """
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    forms = {
        os.path.join(directory, name): exceptions.get(name_of(name), form)
        for name in names
        if is_secret(name)
    }
    converted = convert_files(forms, check_mode)
    return {os.path.basename(path): forms[path] for path in converted}


def convert_files(forms: Mapping[str, str], check_mode: bool) -> list[str]:
    """Brings files of secrets to these forms; returns the paths of those that had another one.

    :raises TunnelError: if one cannot be decrypted here (then nothing was changed), or encrypted.
    """
    others = [path for path in forms if form_of(secret_files.read_file(path) or b"") != forms[path]]
    contents = {path: read_secret(path) or b"" for path in others}
    for path, content in contents.items() if not check_mode else ():
        attributes = secret_files.attributes_of(os.lstat(path))
        write_secret(path, content, attributes, forms[path])
    return others


def reveal(content: bytes, name: str, path: str) -> bytes:
    """The secret in the content of a file; in clear already, it is returned as it is.

    :param name: the credential's name, which is encrypted with it.
    :param path: the file, for errors.
    :raises TunnelError: if this host cannot decrypt it.
    """
    if form_of(content) == NONE:
        return content
    done = _run(["decrypt", f"--name={name}", "-", "-"], content)
    if done is None or done.returncode:
        raise TunnelError(
            path,
            "cannot be decrypted: it is damaged, or was encrypted on another host, or this host "
            f"has lost its secret or its TPM was cleared{_reason(done)}",
            "A state directory comes back from a copy of the state (move it away, then "
            "restore.yml); files of a replica are made anew by site.yml once they are removed",
        )
    return done.stdout


def seal(content: bytes, name: str, form: str) -> bytes:
    """The content of a file that has this secret in this form (one of FORMS).

    It has been decrypted once before it is returned, because it replaces the only copy.

    :raises TunnelError: if this host cannot encrypt.
    """
    if form == NONE:
        return content
    sealed, reason = _sealed(content, name, form)
    if not sealed:
        raise TunnelError(
            name,
            f"cannot be encrypted with {VARIABLE} {form}{reason}",
            f"Use another value of {VARIABLE}. The file is as it was before",
        )
    return sealed


def _sealed(content: bytes, name: str, form: str) -> tuple[bytes, str]:
    """The encrypted content, or nothing, and the reason."""
    reason = ""
    for key in _KEYS[form]:
        if "--tpm2-pcrs=23" in key and _is_measured():
            return b"", " (PCR 23 of the TPM is not zero: a program measures into it)"
        sealed = _run(["encrypt", *key, f"--name={name}", "-", "-"], content)
        if sealed is None or sealed.returncode:
            return b"", _reason(sealed)
        again = _run(["decrypt", f"--name={name}", "-", "-"], sealed.stdout)
        if again and not again.returncode and again.stdout == content:
            return sealed.stdout, ""
        reason = _reason(again)
        if again is None:  # not an answer: it is no reason to bind the secrets to a PCR
            break
    return b"", reason


def _is_measured() -> bool:
    """Whether something was measured into PCR 23 since the boot, as far as the kernel tells."""
    try:
        with open(_PCR_23, encoding="ascii") as file:
            return bool(file.read().strip().strip("0"))
    except OSError:
        return False


def why_not(form: str) -> str:
    """Why this host cannot encrypt in this form; empty if it can. Changes nothing."""
    if form == NONE:
        return ""
    if not os.path.isdir(_BOOTED) or _run(["--version"]) is None:
        return f"needs systemd {_FIRST_SYSTEMD} or later with systemd-creds, which is not here"
    if form == TPM2:
        # Only its use shows it. "has-tpm2" wants a firmware that uses it, too, and not everywhere
        # the libraries, which are optional.
        sealed, reason = _sealed(b"nothing", "test", form)
        if not sealed:
            return (
                "needs a TPM2 that systemd can use, and the libraries that come with the package "
                f"tpm2-tools{reason}"
            )
    return ""


def resolve(wanted: str) -> str:
    """The form for one of CHOICES on this host.

    :raises TunnelError: if the host cannot encrypt in that form.
    """
    if wanted == AUTO:
        return NONE if why_not(HOST) else HOST
    problem = why_not(wanted)
    if problem:
        raise TunnelError(
            VARIABLE,
            f"is {wanted}, which {problem}",
            "Use auto, which encrypts with the host's key where systemd can, or none",
        )
    return wanted


def _run(arguments: list[str], content: bytes = b"") -> subprocess.CompletedProcess[bytes] | None:
    """Runs systemd-creds; ``None`` without it, or if it does not end."""
    try:
        return subprocess.run(  # noqa: S603
            ["systemd-creds", *arguments],  # noqa: S607
            input=content,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _reason(done: subprocess.CompletedProcess[bytes] | None) -> str:
    """The last line of systemd-creds' own words, which hold no secret."""
    if done is None:
        return " (systemd-creds cannot be run, or does not end)"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f" (systemd-creds: {lines[-1].rstrip('.')})" if lines else ""
