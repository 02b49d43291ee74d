"""A company's CA behind a program: openssl signs, and nothing of ours."""

from __future__ import annotations

import shlex

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl

EXTENSIONS = """
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage=serverAuth
authorityKeyIdentifier=keyid:always
"""


class Company:
    """The CA, and the program that has requests signed with it. Its secret is the CA's key."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        self.ca, key = openssl.make_ca(directory / "ca")
        self.certificate, self.secret = directory / "ca.crt", directory / "secret.key"
        self.certificate.write_text(self.ca)
        self.secret.write_text(key)
        self.secret.chmod(0o600)
        self.path = directory / "sign csr"  # a shell would take it for two words
        self.signs()

    @property
    def settings(self):
        command = [str(self.path.with_name("sign-csr")), "--profile", "$HOME; exit 7"]
        return {"source": "command", "command": command, "secret_file": str(self.secret)}

    def says(self, script):
        """Have the program do something else. It leaves a mark of each run."""
        path = self.path.with_name("sign-csr")
        mark = shlex.quote(str(self.directory / "runs"))
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{mark}\n{script}\n')
        path.chmod(0o755)

    @property
    def runs(self):
        """The arguments of each run so far."""
        path = self.directory / "runs"
        return path.read_text().splitlines() if path.exists() else []

    def signs(self, extensions=EXTENSIONS, days="90", copy="copy", digest="sha256"):
        """Have the program sign, in a way."""
        file = self.directory / "ext"
        file.write_text(extensions)
        given = {
            "-in": "/dev/stdin",
            "-CA": str(self.certificate),
            "-set_serial": "7",
            "-days": days,
            "-copy_extensions": copy,
            "-extfile": str(file),
        }
        words = " ".join(f"{name} {shlex.quote(value)}" for name, value in given.items())
        self.says(
            f'exec openssl x509 -req -{digest} {words} -CAkey "$CREDENTIALS_DIRECTORY/secret"'
        )
