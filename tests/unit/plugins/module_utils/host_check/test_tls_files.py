"""Whether the proxy can use the files of routes."""

from __future__ import annotations

import os
import pwd
import subprocess

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import tls_files
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A pair, a key of another one, and files of no use; of a host on which all may be read."""
    # The directory of the test is one of those that the unit hides.
    monkeypatch.setattr(tls_files, "_HIDDEN", ("/hidden/",))
    monkeypatch.setattr(tls_files, "_may_read", lambda path: "secret" not in path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        certificate, key = openssl.make_ca(tmp_path / name)
        (tmp_path / f"{name}.crt").write_text(certificate)
        (tmp_path / f"{name}.key").write_text(key)
    for name in ("garbage", "secret.key"):
        (tmp_path / name).write_text("x")
    encrypt = ("openssl", "pkey", "-aes128", "-passout", "pass:abcd")
    place = ("-in", tmp_path / "one.key", "-out", tmp_path / "encrypted.key")
    subprocess.run([*encrypt, *place], check=True)
    return tmp_path


def found(files, **options):
    """What is wrong with these options of the route wiki, without the directory."""
    paths = {name: str(files / path) for name, path in options.items()}
    route = {"route": "wiki", **dict.fromkeys(tls_files.OPTIONS, ""), **paths}
    return [text.replace(f"{files}/", "") for text in tls_files.problems([route])]


def test_files_that_fit(files):
    assert found(files, client_cert="one.crt", client_key="one.key", ca_file="two.crt") == []
    assert found(files, ca_file="two.crt") == []


@pytest.mark.parametrize("key", ["two.key", "garbage", "encrypted.key"])
def test_a_key_that_does_not_fit(files, key):
    (text,) = found(files, client_cert="one.crt", client_key=key)
    assert text.startswith(f"mcp_tunnel_route_options['wiki.client_key']: {key} is no key of one")
    assert "Give a certificate and its key, both in PEM, the key without passphrase" in text


def test_files_that_are_missing_or_not_readable(files):
    cert, key, ca = found(
        files, client_cert="none.crt", client_key="secret.key", ca_file="none.crt"
    )
    missing = "none.crt does not exist on the host. Put the file there, or correct the path"
    assert cert == f"mcp_tunnel_route_options['wiki.client_cert']: {missing}"
    assert ca == f"mcp_tunnel_route_options['wiki.ca_file']: {missing}"
    assert key.startswith(
        "mcp_tunnel_route_options['wiki.client_key']: secret.key cannot be read by the user "
        "mcp-proxy. Give it to the group mcp-proxy with mode 0640"
    )


def test_a_file_of_no_certificates(files):
    (text,) = found(files, ca_file="garbage")
    assert text.startswith("mcp_tunnel_route_options['wiki.ca_file']: garbage holds no usable PEM")


def test_a_file_that_the_unit_hides():
    route = {"route": "wiki", "client_cert": "", "client_key": "", "ca_file": "/root/ca.crt"}
    (text,) = tls_files.problems([route])
    hidden = "/root/ca.crt is hidden from the proxy by its unit. Put it elsewhere"
    assert text.startswith(f"mcp_tunnel_route_options['wiki.ca_file']: {hidden}")
    (text,) = tls_files.problems([{**route, "route": ""}])
    assert text.startswith(f"proxy_upstream_ca_file: {hidden}")


@pytest.mark.parametrize("link", ["file", "directory", "dots"])
def test_a_link_to_a_file_that_the_unit_hides(files, monkeypatch, link):
    home, hidden = os.path.realpath(files), os.path.realpath(files / "hidden")
    monkeypatch.setattr(tls_files, "_HIDDEN", (f"{hidden}/",))
    (files / "hidden").mkdir()
    (files / "one.crt").rename(files / "hidden/one.crt")
    (files / "ca.crt").symlink_to("hidden/one.crt")
    (files / "certs").symlink_to("hidden")
    (files / "other").mkdir()
    path = {"file": "ca.crt", "directory": "certs/one.crt", "dots": "other/../hidden/one.crt"}[link]
    route = {"route": "", "client_cert": "", "client_key": "", "ca_file": f"{home}/{path}"}
    (text,) = tls_files.problems([route])
    assert text.startswith(f"proxy_upstream_ca_file: {home}/{path} is hidden from the proxy")


@pytest.mark.parametrize("name", ["mcp-proxy", "nobody"])
def test_the_file_is_tried_as_the_user_who_has_to_read_it(monkeypatch, name):
    """Before there is a mcp-proxy, everybody must be able to read it."""
    calls = []

    def account(asked):
        if asked != name:
            raise KeyError(asked)
        return pwd.struct_passwd((name, "x", 4321, 4322, "", "/", "/bin/false"))

    def run(command, **options):
        calls.append((command, options["user"], options["group"], options["extra_groups"]))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(tls_files.pwd, "getpwnam", account)
    monkeypatch.setattr(tls_files.os, "getgrouplist", lambda *_: [4322, 9])
    monkeypatch.setattr(tls_files.subprocess, "run", run)
    assert tls_files._may_read("/etc/x") is False
    assert calls == [(["/usr/bin/test", "-r", "/etc/x"], 4321, 4322, [4322, 9])]


def test_the_user_of_the_proxy_is_the_one_who_has_to_read(tmp_path, monkeypatch):
    """As the user that runs the tests, the only one who is certainly there."""
    account = pwd.getpwuid(os.geteuid())
    asked = []
    monkeypatch.setattr(tls_files.pwd, "getpwnam", lambda name: asked.append(name) or account)
    file = tmp_path / "readable"
    assert not tls_files._may_read(str(file))
    file.write_text("x")
    assert tls_files._may_read(str(file))
    assert asked == ["mcp-proxy"] * 2
