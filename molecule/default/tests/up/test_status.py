"""The command mcp-tunnel on real hosts: status, and the archive for support.

Every secret is planted where an accident would leave it, and looked for with other code than the
command's.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from replicas import DOMAIN, HOSTS, LAB, LAB_NAME, await_connections, lab, play, shell
from secrets_search import SHAPES, found, key_lines, token_forms
from testinfra.host import Host

PROXY, CLOUDFLARED = "mcp-proxy@default.service", "mcp-cloudflared@default.service"
TLS = "/etc/mcp-tunnel/default/tls/tls.crt"
MARK = "/etc/mcp-tunnel/default/drained"
RECORDS = "/var/lib/mcp-tunnel-replica/default"
DROP_IN = f"/etc/systemd/system/{PROXY}.d/99-planted.conf"
WAITING = "/var/lib/mcp-tunnel-support"
# A shell without a terminal lets its background ignore interrupts.
WATCH = """
file=$(mktemp)
env --default-signal=INT mcp-tunnel status --watch 1 >$file &
for look in $(seq 1200); do
    if [ $(grep -c "^HEALTHY  " $file) -ge 2 ]; then kill -s INT $!; break; fi
    sleep 0.1
done
wait $!
echo "ended with $?"
rm $file
"""
PARTS = {
    *("layers", "certificate", "secrets", "renewal", "edge", "traffic", "firewall", "versions"),
    "last_run",
}


def status(host: Host, expected: int = 0) -> dict[str, Any]:
    """Return what ``mcp-tunnel status --json`` says, which must end with that status."""
    done = host.run("mcp-tunnel status --json")
    assert done.rc == expected, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def the_instance(document: dict[str, Any]) -> dict[str, Any]:
    (instance,) = document["instances"]
    assert instance["instance"] == "default"
    return dict(instance)


def as_time(seconds: str) -> str:
    """Return seconds since the epoch in UTC, as RFC 3339 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(seconds)))


def test_a_healthy_host_in_every_part(host: Host, name: str) -> None:
    await_connections(name)
    document = status(host)
    instance = the_instance(document)
    assert (document["format"], document["healthy"], instance["healthy"]) == (1, True, True)
    assert document["host"] == host.check_output("hostname")
    assert instance["domain"] == DOMAIN
    assert {part: instance[part]["error"] for part in PARTS} == dict.fromkeys(PARTS, "")
    states = {part: instance[part]["state"] for part in PARTS - {"firewall"}}
    assert states == dict.fromkeys(PARTS - {"firewall"}, "ok")
    assert {row["layer"] for row in instance["layers"]["rows"]} == {
        *("service", "proxy", "edge", "ingress", "inner TLS", "route")
    }
    assert instance["edge"]["connections"] == 4
    said = host.check_output(f"openssl x509 -in {TLS} -noout -fingerprint -sha256 -enddate")
    fingerprint, end = (line.partition("=")[2] for line in said.splitlines())
    assert instance["certificate"]["fingerprint"] == fingerprint.replace(":", "").lower()
    wanted = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.strptime(end, "%b %d %H:%M:%S %Y GMT"))
    assert instance["certificate"]["not_after"] == wanted
    assert 0 < instance["certificate"]["days_left"] < instance["certificate"]["ca_days_left"]
    assert (instance["firewall"]["loaded"], instance["firewall"]["proven"]) == (True, True)
    links = {
        part: host.check_output(f"readlink /opt/mcp-tunnel/{part}/current")
        for part in ("proxy", "cloudflared")
    }
    assert document["releases"] == links
    assert {part: instance["versions"][part] for part in links} == links
    assert instance["versions"]["cloudflared_running"]
    assert document["python"] == host.check_output("/usr/bin/python3 --version").split()[1]
    assert instance["secrets"]["key"] == "none"
    assert instance["last_run"]["proven"] is True
    proven = host.check_output(f"stat --format=%Y {RECORDS}/good.json")
    assert instance["last_run"]["proven_at"] == as_time(proven)
    assert "" < instance["last_run"]["started_at"] < document["at"]


def test_it_counts_the_requests(host: Host) -> None:
    """Its own look makes one for each route."""
    before = the_instance(status(host))["traffic"]
    after = the_instance(status(host))["traffic"]
    assert after["requests"] > before["requests"]
    assert after["since"] == before["since"]


def test_the_text_without_a_terminal_and_on_one(host: Host) -> None:
    text = host.check_output("mcp-tunnel status")
    assert text.startswith("HEALTHY  ")
    assert "\x1b" not in text
    assert f"instance default  {DOMAIN}  HEALTHY" in text
    assert "4 of 4 connections" in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    on_terminal = "TERM=xterm {} script --quiet --command 'mcp-tunnel status' /dev/null"
    assert "\x1b[1;32mHEALTHY" in host.check_output(on_terminal.format(""))
    assert "\x1b" not in host.check_output(on_terminal.format("NO_COLOR=1"))


def test_a_stopped_connector_is_named_with_its_remedy_and_hides_nothing() -> None:
    name = HOSTS[-1]
    host = shell(name)
    host.check_output(f"systemctl stop {CLOUDFLARED}")
    try:
        document = status(host, expected=1)
        instance = the_instance(document)
        text = host.run("mcp-tunnel status")
    finally:
        host.check_output(f"systemctl start {CLOUDFLARED}")
    await_connections(name)
    assert (document["healthy"], instance["healthy"]) == (False, False)
    failed = [row for row in instance["layers"]["rows"] if row["state"] == "FAILED"]
    assert [row["layer"] for row in failed] == ["service", "edge"]
    assert failed[0]["remedy"].startswith(f"Run systemctl start {CLOUDFLARED}")
    assert (instance["edge"]["state"], instance["edge"]["connections"]) == ("unknown", None)
    assert "Connection refused" in instance["edge"]["error"]
    assert [instance[part]["state"] for part in ("certificate", "traffic", "last_run")] == [
        "ok"
    ] * 3
    assert text.rc == 1
    assert text.stdout.startswith("NOT HEALTHY  ")
    assert f"-> Run systemctl start {CLOUDFLARED}" in text.stdout
    assert status(host)["healthy"] is True


def test_a_drained_replica_is_healthy_and_says_so() -> None:
    name = HOSTS[-1]
    host = shell(name)
    host.check_output(f"touch {MARK} && systemctl stop {CLOUDFLARED}")
    try:
        document = status(host)
        text = host.check_output("mcp-tunnel status")
    finally:
        host.check_output(f"rm {MARK} && systemctl start {CLOUDFLARED}")
    await_connections(name)
    instance = the_instance(document)
    states = {row["object"]: row["state"] for row in instance["layers"]["rows"]}
    assert states[CLOUDFLARED] == "drained"
    assert {state for unit, state in states.items() if unit != CLOUDFLARED} == {"ok"}
    assert (instance["layers"]["state"], instance["edge"]["state"]) == ("notice", "notice")
    assert instance["edge"]["drained"].startswith("drained since ")
    assert text.startswith("HEALTHY  ")
    assert f"drained  service {CLOUDFLARED}: drained since " in text


def test_a_broken_file_is_a_problem_of_its_part(host: Host) -> None:
    host.check_output(f"mv {TLS} {TLS}.kept && echo broken >{TLS}")
    try:
        instance = the_instance(status(host, expected=1))
    finally:
        host.check_output(f"mv {TLS}.kept {TLS}")
    assert instance["certificate"]["state"] == "unknown"
    assert f"{TLS}: is not a PEM certificate" in instance["certificate"]["error"]
    assert instance["edge"]["connections"] == 4


def test_what_is_not_understood_or_not_here(host: Host) -> None:
    assert host.run("mcp-tunnel status --json --watch").rc == 2
    assert host.run("mcp-tunnel").rc == 2
    done = host.run("mcp-tunnel status --instance other")
    assert done.rc == 1
    assert "instance 'other': is not on this host. Here is default." in done.stderr


def test_watching_ends_with_an_interrupt(host: Host) -> None:
    done = host.run(WATCH)
    assert done.stdout.splitlines()[-1] == "ended with 0", done.stdout + done.stderr


@pytest.fixture(scope="module")
def old_token() -> str:
    """A token of a tunnel that never was: what is planted stays in the journal."""
    secret = base64.b64encode(os.urandom(32)).decode()
    fields = {"a": os.urandom(16).hex(), "t": str(uuid.uuid4()), "s": secret}
    return base64.b64encode(json.dumps(fields).encode()).decode()


@pytest.fixture(scope="module")
def planted_needles(old_token: str) -> list[str]:
    """Everything that must be in no archive of the host while it has that token."""
    planted = old_token.encode()
    coded = base64.b64encode(b"Bearer " + planted).decode()
    return [*token_forms(old_token), planted.hex(), coded]


@pytest.fixture(scope="module")
def needles() -> list[str]:
    """Everything that must be in no archive."""
    needles = token_forms(Path(LAB["tunnel_token_file"]).read_text().strip())
    for name in HOSTS:
        needles += key_lines(name)
    return needles


def files_in(archive: bytes) -> dict[str, bytes]:
    """Return the files of an archive by their names below its only directory."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as packed:
        members = packed.getmembers()
        assert all(member.isfile() and member.mode == 0o600 for member in members)
        contents = {
            member.name: file.read() for member in members if (file := packed.extractfile(member))
        }
    assert len({name.partition("/")[0] for name in contents}) == 1
    return {name.partition("/")[2]: content for name, content in contents.items()}


def checked(archive: bytes, needles: list[str]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files and the manifest of an archive that is as it says, and has no secret."""
    files = files_in(archive)
    manifest = json.loads(files.pop("manifest.json"))
    assert {each["name"]: each["sha256"] for each in manifest["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    for name, content in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
        text = content.decode(errors="replace")
        assert found(needles, text) == [], name
        assert not SHAPES.search(text), name
        assert "PRIVATE KEY-----" not in text, name
    return files, manifest


def collected(host: Host, expected: int) -> tuple[bytes, str]:
    """Return the archive that ``mcp-tunnel support`` makes, and its output."""
    directory = host.check_output("mktemp -d")
    try:
        done = host.run(f"mcp-tunnel support --output {directory}")
        assert done.rc == expected, done.stdout + done.stderr
        (path,) = host.file(directory).listdir()
        file = host.file(f"{directory}/{path}")
        assert (file.user, oct(file.mode)) == ("root", oct(0o600))
        content = base64.b64decode(host.check_output(f"base64 {directory}/{path}"))
    finally:
        host.check_output(f"rm -r {directory}")
    return content, done.stdout + done.stderr


def test_an_archive_of_a_healthy_host(host: Host, needles: list[str]) -> None:
    archive, output = collected(host, expected=0)
    files, manifest = checked(archive, needles)
    assert manifest["secrets"] == []
    holding = {
        "the private key in {}": "PRIVATE KEY-----",
        "the tunnel token in {}": "^eyJ[A-Za-z0-9+/=]*$",
    }
    for name, form in holding.items():
        grep = f"grep --recursive --files-with-matches --no-messages --devices=skip -e '{form}'"
        paths = host.run(f"{grep} /etc/mcp-* /var/lib/mcp-* /run/mcp-*").stdout.split()
        assert paths
        assert {name.format(path) for path in paths} <= set(manifest["searched_for"])
    assert f"{len(manifest['files'])} files" in output
    wanted = {
        *("status.json", "host/etc/os-release", "host/kernel.txt", "host/etc/resolv.conf"),
        *("firewall/table.nft", "firewall/default.nft", "instances/default/proxy.yaml"),
        *("instances/default/proxy/metrics.txt", "instances/default/cloudflared/ready.json"),
        *(f"units/{unit}/{name}.txt" for unit in (PROXY, CLOUDFLARED) for name in ("show", "cat")),
        *(f"units/{unit}/security.txt" for unit in (PROXY, CLOUDFLARED)),
        *(f"journals/{unit}.txt" for unit in (PROXY, CLOUDFLARED)),
    }
    assert wanted <= files.keys(), manifest["left_out"]
    assert the_instance(json.loads(files["status.json"]))["healthy"] is True
    assert b"packets" in files["firewall/table.nft"], "with counters"
    assert b"mcp_proxy_requests_total" in files["instances/default/proxy/metrics.txt"]
    assert b"NoNewPrivileges=yes" in files[f"units/{PROXY}/show.txt"]
    assert b"tunnel_domain" in files["instances/default/proxy.yaml"]
    # One of cloudflared's addresses is there or named, depending on its release.
    told = {each["name"]: each["why"] for each in manifest["left_out"]}
    diagnostics = "instances/default/cloudflared/diag-system.json"
    assert diagnostics in files or "has no /diag/system (HTTP 404)" in told[diagnostics]


def test_text_of_anybody_costs_its_lines_and_no_journal(needles: list[str]) -> None:
    """A request may have the form of a token in it, and be logged."""
    host = shell(HOSTS[0])
    foreign = f"sk-ant-oat01-{uuid.uuid4().hex}"
    pid = host.check_output(f"systemctl show --property=MainPID --value {PROXY}")
    log = f"journalctl --unit {PROXY} --output=cat --lines=50"
    for message in (f"path /{foreign}", f"after {foreign[-12:]}"):
        host.check_output(f"printf 'MESSAGE={message}\\nOBJECT_PID={pid}\\n' | logger --journald")
        deadline = time.monotonic() + 60
        while message not in host.check_output(log):
            assert time.monotonic() < deadline, "the journal has no such line"
            time.sleep(0.2)
    archive, output = collected(host, expected=0)
    files, manifest = checked(archive, [*needles, foreign])
    name = f"journals/{PROXY}.txt"
    counts = {each["name"]: each["lines"] for each in manifest["blanked"]}
    assert counts[name] >= 1
    lines = files[name].decode().splitlines()
    assert sum("(blanked: " in line for line in lines) == counts[name]
    assert any(line.endswith(f"after {foreign[-12:]}") for line in lines)
    assert manifest["secrets"] == []
    assert f"blanked: {name}: {counts[name]} lines" in output


@pytest.fixture
def planted(old_token: str) -> Iterator[Host]:
    """A host with a token among its records, in a unit's journal and in a drop-in.

    It is in base64 in the journal, and in hexadecimal in the drop-in.
    """
    host = shell(HOSTS[0])
    token = old_token.encode()
    record = f"{RECORDS}/{hashlib.sha256(token).hexdigest()}"
    host.check_output(f"umask 077 && printf {old_token} >{record}")
    pid = host.check_output(f"systemctl show --property=MainPID --value {PROXY}")
    coded = base64.b64encode(b"Bearer " + token).decode()
    message = f"MESSAGE=upstream said {coded}\\nOBJECT_PID={pid}\\n"
    host.check_output(f"printf '{message}' | logger --journald")
    host.check_output(f"printf '# {token.hex()}\\n' >{DROP_IN} && systemctl daemon-reload")
    deadline = time.monotonic() + 60
    while coded not in host.check_output(f"journalctl --unit {PROXY} --output=cat --lines=50"):
        assert time.monotonic() < deadline, "the journal has no such line"
        time.sleep(0.2)
    yield host
    host.check_output(f"rm {record} {DROP_IN} && systemctl daemon-reload")


def test_files_with_a_secret_are_left_out_and_named(
    planted: Host, planted_needles: list[str], needles: list[str]
) -> None:
    needles = needles + planted_needles
    archive, output = collected(planted, expected=1)
    _files, manifest = checked(archive, needles)
    named = {f"journals/{PROXY}.txt", f"units/{PROXY}/cat.txt"}
    assert set(manifest["secrets"]) == named
    told = {each["name"]: each["why"] for each in manifest["left_out"]}
    for name in named:
        assert told[name].startswith(f"it holds the tunnel token in {RECORDS}/"), told[name]
        assert name in output
    assert found(needles, output) == []
    for form in ("", " --json"):
        said = planted.check_output(f"mcp-tunnel status{form}")
        assert DOMAIN in said
        assert found(needles, said) == []


def fetched(directory: Path, name: str) -> list[bytes]:
    """Return the archives of the host NAME."""
    paths = sorted(directory.glob(f"{name}-*.tar.gz"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600] * len(paths)
    return [path.read_bytes() for path in paths]


def collect(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    dest = f"mcp_tunnel_support_dest={directory}"
    return play("--extra-vars", dest, *arguments, playbook="support")


def test_the_playbook_fetches_from_every_host_again_and_again(
    tmp_path: Path, needles: list[str]
) -> None:
    directory = tmp_path / "archives"
    done = collect(directory, "--check")
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("would be fetched") >= len(HOSTS)
    assert not directory.exists()
    for number in (1, 2):
        # As a run leaves it that was killed while it fetched, or while the host wrote.
        left = f"{WAITING}/default.tar.gz {WAITING}/.default.tar.gz.4194304.mcp-tunnel"
        shell(HOSTS[0]).check_output(f"mkdir -m 0700 {WAITING} && touch {left}")
        done = collect(directory)
        assert done.returncode == 0, done.stdout[-3000:]
        for name in HOSTS:
            archives = fetched(directory, name)
            assert len(archives) == number
            _files, manifest = checked(archives[-1], needles)
            assert manifest["instances"] == ["default"]
            assert not shell(name).file(WAITING).exists
    assert found(needles, done.stdout) == []


def test_the_playbook_names_the_host_with_a_secret(
    planted: Host, tmp_path: Path, planted_needles: list[str], needles: list[str]
) -> None:
    needles = needles + planted_needles
    done = collect(tmp_path / "archives")
    assert done.returncode != 0
    assert f"{HOSTS[0]} has sent no archive, or not all of it" in done.stdout
    assert f"units/{PROXY}/cat.txt" in done.stdout
    for name in HOSTS:
        (archive,) = fetched(tmp_path / "archives", name)
        checked(archive, needles)
    assert found(needles, done.stdout) == []


def test_without_its_release_a_host_still_has_an_archive(
    tmp_path: Path, needles: list[str]
) -> None:
    """The module works with the host's own Python."""
    name = HOSTS[-1]
    current = "/opt/mcp-tunnel/proxy/current"
    version = shell(name).check_output(f"readlink {current}")
    shell(name).check_output(f"rm {current}")
    try:
        done = collect(tmp_path / "archives", "--limit", name)
    finally:
        shell(name).check_output(f"ln -s {version} {current}")
    assert done.returncode == 0, done.stdout[-3000:]
    (archive,) = fetched(tmp_path / "archives", name)
    _files, manifest = checked(archive, needles)
    told = {each["name"]: each["why"] for each in manifest["left_out"]}
    assert "No such file" in told["status.json"]


def test_a_call_is_seen() -> None:
    """The figures are those of the traffic that came through the tunnel."""
    before = answered()
    lab("call", LAB_NAME, "echo", "echo", '{"text": "seen"}')
    deadline = time.monotonic() + 60
    while answered() <= before:  # the client has its answer before the proxy has counted it
        assert time.monotonic() < deadline, "the call was not counted"


def answered() -> int:
    """Return the calls that were answered with success; a look's own requests get 404."""
    routes = (the_instance(status(shell(name)))["traffic"]["routes"] for name in HOSTS)
    return sum(each["echo"]["2xx"] for each in routes)
