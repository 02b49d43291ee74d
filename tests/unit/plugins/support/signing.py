"""A state host that signs, and a replica that renews, in directories of a test."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import threading
from datetime import timedelta

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.commands import (
    renew_cert,
    sign_cert,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto, signing_channel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.members import (
    Member,
    Members,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import ensured

DOMAIN = openssl.DOMAIN
MACHINE = "0" * 16
HOST, MEMBER = "replica1", "replica2"


class StateHost:
    """The credentials of the signer, with a CA of 200 days; and a socket at which it answers."""

    def __init__(self, root, monkeypatch):
        self.credentials = root / "credentials"
        self.ca = ensured("tunnel_ca", path=str(self.credentials), duration="200d")["certificate"]
        (self.credentials / "tunnel-domain").write_text(DOMAIN)
        self.know(HOST, MEMBER)
        self.path = root / "sockets" / "default"
        self.path.parent.mkdir()
        self.options = ["--instance", "default", "--state-host", HOST]
        self.log: list[str] = []
        self.by_root = True
        self._now = self.now = crypto.utc_now()
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(self.credentials))
        monkeypatch.setattr(signing_channel, "SOCKETS", str(self.path.parent))
        monkeypatch.setattr(signing_channel, "_PAUSES", (0.0,) * 4)
        monkeypatch.setattr(crypto, "utc_now", lambda: self._now)
        monkeypatch.setattr(sign_cert, "_is_root", lambda connection: self.by_root)

    def know(self, *names):
        known = Members(DOMAIN, {name: Member(MACHINE) for name in names})
        (self.credentials / "replicas.json").write_text(known.text())

    def after(self, time):
        """Set the clock of both hosts to this time after the CA was made."""
        self._now = self.now + time

    def converse(self, connection):
        """Answer as systemd starts the command for one connection."""
        self.log.append(sign_cert.converse(connection, sign_cert._parse(self.options)))

    @contextlib.contextmanager
    def listening(self, converse=None):
        """Answer at the socket, one connection after another."""
        self.path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen()
            thread = threading.Thread(
                target=self._serve, args=(listener, converse or self.converse), daemon=True
            )
            thread.start()
            try:
                yield self
            finally:
                # accept() of another thread ends with this, and not with close().
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(120)
                assert not thread.is_alive()

    @staticmethod
    def _serve(listener, converse):
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection:
                converse(connection)


class Replica:
    """The directories of a replica that has no server certificate yet."""

    def __init__(self, root, state_host, monkeypatch):
        self.root = root
        self.state_host = state_host
        self.configuration = root / "etc" / "default"
        self.tls = self.configuration / "tls"
        self.tls.mkdir(parents=True)
        (self.configuration / "ca.crt").write_text(state_host.ca)
        self.records = root / "records"
        monkeypatch.setattr(renew_cert, "CONFIGURATIONS", str(root / "etc"))
        monkeypatch.setattr(renew_cert, "RECORDS", self.records)
        monkeypatch.setattr(renew_cert, "OWNER", pwd.getpwuid(os.geteuid()).pw_name)
        monkeypatch.setattr(renew_cert, "GROUP", grp.getgrgid(os.getegid()).gr_name)

    def renew(self, after=timedelta(0), routes=(), duration="90d", renew_before="30d"):
        """Renew as if this much time had passed since the CA was made."""
        self.state_host.after(after)
        renewal = renew_cert.Renewal("default", DOMAIN, list(routes), duration, renew_before)
        with self.state_host.listening():
            return renew_cert.renew(renewal)

    def contents(self):
        return {path.name: path.read_text() for path in self.tls.iterdir()}

    def certificate(self):
        return crypto.load_certificate((self.tls / "tls.crt").read_text(), "tls.crt")
