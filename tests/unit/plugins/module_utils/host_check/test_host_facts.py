from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import drop_ins
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.listeners import (
    Listener,
    find_listener,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.resolvers import resolvers
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import (
    facts as host_facts,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import program_control

GOOD = {
    "architecture": "x86_64",
    "distribution": "debian",
    "python_version": "3.11.2",
    "systemd_version": 252,
}


def lacks(version="12", glibc=(2, 36), **changes):
    return host_facts.unsupported({**GOOD, **changes}, version, "Some Linux 12", glibc)


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        ('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"', "debian", "12"),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"', "ubuntu", "24.04"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"', "rhel", "9.4"),
        ('ID="rhel"\nVERSION_ID="9.4"', "rhel", "9.4"),
        ('ID="ol"\nID_LIKE="fedora"\nVERSION_ID="9.6"\nPLATFORM_ID="platform:el9"', "rhel", "9.6"),
        ("ID='almalinux'\nID_LIKE='rhel centos fedora'\nVERSION_ID='10.1'", "rhel", "10.1"),
        ('ID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"', "", "2023"),
        ("ID=alpine\nVERSION_ID=3.20", "", "3.20"),
        ("ID=fedora\nVERSION_ID=42", "", "42"),
        ("", "", ""),
    ],
)
def test_distributions(text, family, version):
    assert host_facts.distribution(text)[:2] == (family, version)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version": "11"},
        {"version": ""},
        {"distribution": "ubuntu", "version": "22.04"},
        {"distribution": "rhel", "version": "9.4", "glibc": (2, 34), "python_version": "3.9.18"},
        {"architecture": "aarch64", "systemd_version": 247, "glibc": (2, 28)},
    ],
)
def test_supported(changes):
    assert lacks(**changes) == []


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"distribution": ""}, "operating system"),
        ({"version": "10"}, "operating system"),
        ({"distribution": "ubuntu", "version": "20.04"}, "operating system"),
        ({"architecture": "armv7l"}, "architecture"),
        ({"systemd_version": 246}, "systemd"),
        ({"systemd_version": 0}, "systemd"),
        ({"python_version": "3.8.10"}, "/usr/bin/python3"),
        ({"python_version": ""}, "/usr/bin/python3"),
        ({"glibc": (2, 27)}, "C library"),
        ({"glibc": ()}, "C library"),
    ],
)
def test_unsupported(changes, subject):
    (problem,) = lacks(**changes)
    assert problem.startswith(f"{subject}: ")


def test_two_names_of_a_machine_show_one_identity():
    assert host_facts.machine() == host_facts.machine() != ""


@pytest.mark.parametrize("name", ["etc/machine-id", "proc/sys/kernel/random/boot_id"])
def test_a_clone_and_a_container_are_machines_of_their_own(tmp_path, name):
    """Clones may share their machine-id; containers of one host share its boot."""
    for path in ("etc/machine-id", "proc/sys/kernel/random/boot_id"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("one\n")
    first = host_facts.machine(tmp_path)
    (tmp_path / name).write_text("other\n")
    assert host_facts.machine(tmp_path) != first


def test_containers_that_were_cloned_on_one_host_are_machines_of_their_own(tmp_path):
    """They share both; each has a process 1 of its own, which tells them apart."""
    for path in ("etc/machine-id", "proc/sys/kernel/random/boot_id"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("one\n")
    namespace = tmp_path / "proc/1/ns/pid"
    namespace.parent.mkdir(parents=True)
    found = set()
    for number in (4026531836, 4026532201, 4026532201):
        namespace.unlink(missing_ok=True)
        namespace.symlink_to(f"pid:[{number}]")
        found.add(host_facts.machine(tmp_path))
    assert len(found) == 2


@pytest.mark.parametrize("allowed", [{3}, set(range(384))])
def test_processors_are_those_that_services_may_use(monkeypatch, allowed):
    """They are not those of the machine, nor of this login."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: allowed if pid == 1 else {0, 1})
    assert host_facts.cores() == len(allowed)


def test_processors_where_nobody_may_look_at_the_service_manager(monkeypatch):
    def affinity(pid):
        if pid == 1:
            raise PermissionError
        return {0, 1}

    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", affinity)
    assert host_facts.cores() == 2


def test_what_a_host_says_of_itself_is_what_was_found(monkeypatch):
    """The proxy has as many workers as these processors, and this tells hosts apart."""
    monkeypatch.setattr(host_facts, "cores", lambda: 7)
    monkeypatch.setattr(host_facts, "machine", lambda: "a clone of nobody")
    monkeypatch.setattr(host_facts, "unsupported", lambda *_arguments: [])
    monkeypatch.setattr(drop_ins, "undoing", list)
    monkeypatch.setattr(program_control, "problem", lambda _is_active: "")
    facts = host_facts.gather([], [], [], None)
    assert (facts["cores"], facts["machine"]) == (7, "a clone of nobody")


def test_what_a_host_has_of_others_is_told_with_everything_else(monkeypatch):
    undone = drop_ins.Undone("/run/x.conf", ("LoadCredential=", "ProtectHome=no"))
    monkeypatch.setattr(drop_ins, "undoing", lambda: [undone])
    monkeypatch.setattr(program_control, "problem", lambda _is_active: "fapolicyd: is active. Do")
    with pytest.raises(TunnelError) as caught:
        host_facts.gather([], [], [], None)
    text = str(caught.value)
    assert "- /run/x.conf: empties LoadCredential=" in text
    assert "- fapolicyd: is active" in text
    [warning] = host_facts.warnings()
    assert (
        "/run/x.conf: takes protection from the services of the tunnel: ProtectHome=no" in warning
    )


def test_resolvers():
    text = "# nameserver 1.1.1.1\nnameserver 10.77.0.1\nnameserver fe80::1%eth0\nnameserver x\n"
    assert resolvers(text) == ["10.77.0.1", "fe80::1"]


def test_local_users():
    text = (
        "root:x:0:0::/root:/bin/sh\n# a:\n+nis::::::\n-no::::::\nnode_exporter:x:9:9::/:/bin/sh\n"
    )
    assert host_facts.local_users(text) == ["root", "node_exporter"]


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::", "::1"])
def listener(request):
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((request.param, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_listener_is_found_with_its_process(listener):
    found = find_listener(listener)
    assert found is not None
    assert found.pid == os.getpid()
    assert f"process {os.getpid()}" in str(found)


def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert find_listener(unused.getsockname()[1]) is None


def proc(directory, cgroup):
    """A /proc in which process 7 listens on port 8080."""
    (directory / "net").mkdir()
    (directory / "7" / "fd").mkdir(parents=True)
    owner = (directory / "7").stat().st_uid
    (directory / "net" / "tcp").write_text(
        "  sl  local_address rem_address   st\n"
        f"   0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 {owner} 0 4242 1\n"
        f"   1: 0B00000A:1F91 00000000:0000 0A 0:0 00:0 0 {owner} 0 4243 1\n"
    )
    (directory / "7" / "fd" / "3").symlink_to("socket:[4242]")
    (directory / "7" / "comm").write_text("mcp-proxy\n")
    (directory / "7" / "cgroup").write_text(cgroup)
    return directory


@pytest.mark.parametrize(
    "cgroup",
    [
        "0::/system.slice/system-mcp\\x2dproxy.slice/mcp-proxy@second.service\n",
        "12:pids:/x.slice/mcp-proxy@second.service\n1:name=systemd:/x/mcp-proxy@second.service\n",
    ],
)
def test_a_listeners_unit(tmp_path, cgroup):
    assert find_listener(8080, proc(tmp_path, cgroup)).unit == "mcp-proxy@second.service"


def test_a_users_own_service_is_not_the_systems(tmp_path):
    """A user who may run services of their own gives them any name."""
    cgroup = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/mcp-proxy@second.service\n"
    assert find_listener(8080, proc(tmp_path, cgroup)).unit == "user@1000.service"


def test_only_systemds_hierarchy_counts(tmp_path):
    cgroup = "2:cpu:/mcp-proxy@second.service\n1:name=systemd:/user.slice/session-1.scope\n"
    assert find_listener(8080, proc(tmp_path, cgroup)).unit == ""


def test_another_address_is_no_collision(tmp_path):
    assert find_listener(8081, proc(tmp_path, "")) is None


def test_everything_that_is_wrong_comes_at_once(monkeypatch, listener):
    monkeypatch.setattr(host_facts, "systemd_version", lambda: 240)
    monkeypatch.setattr(host_facts, "distribution", lambda text: ("debian", "12", "Debian 12"))
    ports = [{"port": listener, "variable": "proxy_listen_port", "unit": "mcp-proxy@x.service"}]
    file = {"path": "/nowhere/ca.crt", "variable": "proxy_upstream_ca_file"}
    files = [{**file, "remedy": "Put the file there"}]
    with pytest.raises(TunnelError) as caught:
        host_facts.gather(ports, files, [], None)
    text = str(caught.value)
    assert "3 problems" in text
    for words in ("running is 240", f"port {listener} is already used by", "/nowhere/ca.crt"):
        assert words in text


@pytest.mark.parametrize(("listens", "free"), [("127.0.0.1:8080", True), ("127.0.0.1:80", False)])
def test_systemd_may_listen_for_the_unit(monkeypatch, listens, free):
    """The listener of a service with a socket unit is systemd itself."""
    asked = []

    def output(command):
        asked.append(command[-1])
        return f"Listen={listens} (Stream)"

    monkeypatch.setattr(host_facts, "find_listener", lambda _port: Listener(1, "systemd", ""))
    monkeypatch.setattr(host_facts, "_output", output)
    port = {"variable": "proxy_listen_port", "port": 8080, "unit": "mcp-proxy@default.service"}
    assert (host_facts._taken(port) == "") is free
    assert asked == ["mcp-proxy@default.socket"]
