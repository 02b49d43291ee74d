"""A stand-in for systemd-creds: the same arguments, headers and answers, a cipher that is none.

The laboratory's hosts have the real one; this one is for the forms of files and for failures.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest

SCRIPT = """#!{python} -IS
import base64, hashlib, sys
HEADERS = {{"host": "5a1c6a86df9d4096b1d5a65e0862f19a", "tpm2": "0c7cc07b117645919c4b0bea08bc20fe"}}
SECRET = {secret!r}
def options():
    return dict(each[2:].partition("=")[::2] for each in sys.argv[2:] if each.startswith("--"))
def pad(size):
    out = b""
    while len(out) < size:
        out += hashlib.sha256(SECRET + str(len(out)).encode()).digest()
    return out[:size]
def mix(data):
    return bytes(a ^ b for a, b in zip(data, pad(len(data))))
def fail(text):
    sys.stderr.write(text + "\\n")
    sys.exit(1)
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
verb = sys.argv[1]
if verb == "encrypt":
    data = options()["name"].encode() + b"\\0" + sys.stdin.buffer.read()
    key = options()["with-key"]
    if key == "tpm2" and not {tpm}:
        fail("TPM2 support not installed.")
    bank = bytes(16) if options().get("tpm2-pcrs", "7") else bytes([255]) * 16
    sealed = bytes.fromhex(HEADERS[key]) + hashlib.sha256(data).digest() + bank + mix(data)
    sys.stdout.write(base64.encodebytes(sealed).decode())
elif verb == "decrypt":
    sealed = base64.b64decode(sys.stdin.buffer.read())
    if sealed[48:64] == bytes([255]) * 16 and {old}:
        fail("TPM2 PCR bank invalid or not supported")
    data = mix(sealed[64:])
    if hashlib.sha256(data).digest() != sealed[16:48] or sealed[:16].hex() not in HEADERS.values():
        fail("Decryption failed (incorrect key?)")
    name, _, content = data.partition(b"\\0")
    if name.decode() != options()["name"]:
        fail("Embedded credential name does not match filename, refusing.")
    sys.stdout.buffer.write(content)
"""


def install(
    monkeypatch,
    directory: Path,
    secret: bytes = b"this host",
    tpm: bool = False,
    old: bool = False,
) -> Path:
    """Put it first in PATH, as on a host of systemd's; return the log of its arguments.

    An *old* one is that of systemd 252, which cannot decrypt what it has bound to no PCR.
    """
    directory.mkdir(exist_ok=True)
    log = directory / "arguments"
    log.touch()
    program = directory / "systemd-creds"
    text = SCRIPT.format(python=sys.executable, secret=secret, log=str(log), tpm=tpm, old=old)
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    monkeypatch.setattr(at_rest, "_BOOTED", str(directory))
    return log
