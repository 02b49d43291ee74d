"""Answers of simulated hosts: the truth, or what a test makes a hostile one say.

A world is a JSON file::

    {"attacks": {"host2": [{"module": "host_check", "arguments": {}, "merge": {}}]},
     "unpacked": {"proxy": ["1.0.0-py3.11"], "cloudflared": []},
     "interrupted_reboots": ["host1"],
     "drained": ["host1"], "broken_at_the_edge": ["host1"], "needing_reboots": ["host1"],
     "returning": ["host1"], "in_service": {"host1": ["default"]},
     "contents": {"host1": {"/var/lib/mcp-tunnel/default": {"ca.crt": "..."}}}}

The proxies of *traffic* count so many requests of the route echo, answered and failed, between two
questions: ``{"host1": [100, 5]}``.

A host that is broken at the edge works until it was drained and brought back. The cloudflared of a
host that is returning does not run: an earlier undrain was killed before it started.

An attack applies to calls of its *module* (``*``: of all) whose arguments include *arguments*.
*merge* goes into the true answer, maps deeply; *raw* replaces it; *status*, *delay* (seconds) and
*unreachable* are as they say; *long* (path of keys) makes a text there that is a megabyte long.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token

DOMAIN = "abcd1234.tunnel.example"
STATE = "/var/lib/mcp-tunnel/default"
CONFIG = "/etc/mcp-tunnel/default"
TOKEN = make_token()
TOKEN_DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
TIMES = {"not_before": "2026-11-01T11:55:00Z", "not_after": "2027-01-30T12:00:00Z"}
MEGABYTE = "A" * (1 << 20)


def pem(label: str, content: str = "simulated") -> str:
    """Return a text in the form of a PEM block."""
    body = base64.b64encode(content.encode() * 8).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


SSH_KEY = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBB" + "A" * 86 + "="
)
USERS = ("mcp-proxy", "mcp-cloudflared", "mcp-tunnel-renew")
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 43


def armored(content: str = "simulated") -> str:
    """Return a text in the form of a copy that age has encrypted; nobody can decrypt it."""
    header = b"age-encryption.org/v1\n-> X25519 " + b"A" * 43 + b"\n" + b"B" * 43 + b"\n--- "
    body = base64.b64encode(header + b"C" * 43 + b"\n" + content.encode() * 40).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN AGE ENCRYPTED FILE-----\n{lines}\n-----END AGE ENCRYPTED FILE-----\n"


CA = pem("CERTIFICATE", "the CA")
CERTIFICATE = pem("CERTIFICATE", "a certificate")
REQUEST = pem("CERTIFICATE REQUEST", "a request")
OF_A_CERTIFICATE = {"fingerprint": "ab" * 32, "names": [f"*.{DOMAIN}"], "issuer": "CN=CA", **TIMES}


def answer(path: str, host: str, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return status, output and delay of *module* on *host* in the world of the file *path*."""
    world = json.loads(Path(path).read_text(encoding="utf-8"))
    name = module.rpartition(".")[2]
    given = {key: value for key, value in arguments.items() if not key.startswith("_ansible")}
    before = _journal(path, host)
    result = {"changed": False, **_truth(world, host, name, given, before)}
    reply: dict[str, Any] = {"status": 0, "delay": 0}
    output = None
    for attack in world.get("attacks", {}).get(host, []):
        if attack["module"] not in ("*", name):
            continue
        if any(given.get(key) != value for key, value in attack.get("arguments", {}).items()):
            continue
        result = _merged(result, attack.get("merge", {}))
        if "long" in attack:
            _place(result, attack["long"], MEGABYTE)
        output = attack.get("raw", output)
        kept = ("status", "delay", "unreachable")
        reply.update({key: attack[key] for key in kept if key in attack})
    return {**reply, "output": json.dumps(result) if output is None else output}


def _journal(path: str, host: str) -> list[dict[str, Any]]:
    """Return the calls of the host so far, the one to be answered included.

    Those of a whole fleet would take longer to read than all else takes.
    """
    begin = json.dumps({"host": host})[:-1] + ","
    with Path(path + ".journal").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.startswith(begin)]


def _drain(world: dict, host: str, before: list[dict[str, Any]]) -> tuple[str, bool]:
    """Return why the host is drained, and whether it is on its way back, by the calls so far."""
    drained, returning = (host in world.get(name, []) for name in ("drained", "returning"))
    for call in before:
        arguments = call.get("arguments", {})
        state = arguments.get("state", "drained")
        if arguments.get("_ansible_check_mode"):
            continue
        if call.get("module", "").endswith("replica_drain"):
            was = drained
            drained = state == "drained" or (drained and state != "undrained")
            drained = drained or (returning and state == "restored")
            returning = not drained and (was or returning)
        elif call.get("module", "").endswith(".replica") and state == "good":
            returning = False
    return "drained since 2026-11-29T04:50:00Z" if drained else "", returning


def _boots(before: list[dict[str, Any]]) -> int:
    """Return how often the host was rebooted, by the calls so far."""
    return sum(
        call["arguments"].get("state", "rebooted") == "rebooted"
        for call in before[:-1]
        if call.get("module", "").endswith(".reboot")
    )


def _truth(
    world: dict, host: str, name: str, given: dict[str, Any], before: list[dict[str, Any]]
) -> dict[str, Any]:
    contents = {
        "host1": {
            STATE: {"ca.crt": CA.strip(), "tunnel-domain": DOMAIN, "tunnel-id": "tnl_01ABCDEF"},
            CONFIG: {"ca.crt": CA.strip()},
            "/opt/mcp-tunnel/proxy/current/bin": {},
        },
        "host2": {CONFIG: {"ca.crt": CA.strip()}},
    }
    files = {**contents, **world.get("contents", {})}.get(host, {})
    found = files.get(given.get("path"), {})
    state = given.get("state")
    tunnel = {"tunnel_id": "tnl_01ABCDEF", "domain": DOMAIN}
    manual = given.get("provisioning", "manual") == "manual"
    was, _before = _drain(world, host, before[:-1])
    drained, returning = _drain(world, host, before)
    asked = [call.get("arguments", {}).get("state") for call in before]
    asked_traffic = [call for call in before if call.get("module", "").endswith("replica_traffic")]
    breaks = host in world.get("broken_at_the_edge", []) and "undrained" in asked and not drained
    stopped = host in world.get("returning", []) and "undrained" not in asked and not drained
    texts = dict.fromkeys(("layer", "object", "detail", "remedy", "unit"), "x")
    row = {**texts, "ok": False, "required": True, "purpose": "drained"}
    health = {
        **({"msg": "edge: 0 of 4 connections."} if breaks else {}),
        **({"msg": "service: undrain was interrupted."} if stopped else {}),
        "healthy": not (breaks or stopped),
        "findings": [row] if stopped else [],
        "drained": drained,
        "table": [f"all of {host} is well"],
        "ca_fingerprint": "cd" * 32,
        "firewall": {"findings": [], "rows": []},
    }
    answers: dict[str, dict[str, Any]] = {
        "host_check": {
            "facts": {
                "machine": host.encode().hex().ljust(16, "0")[:16],
                "identity": host.encode().hex().ljust(16, "0")[:16],
                "remembered": world.get("remembered", {}).get(
                    host, {"state_host": "", "replicas": []}
                ),
                "drained": bool(drained),
                "standby": world.get("standby", {}).get(host, ""),
                "stale_files": world.get("stale", {}).get(host, []),
                "architecture": "x86_64",
                "distribution": "debian",
                "python_version": "3.11.2",
                "systemd_version": 252,
                "encryption": "none",
                "cores": 2,
                "resolvers": ["10.77.0.1"],
                "users": [each for each in USERS if each in given.get("users", [])],
                "renewal_key": "",
                "releases": {},
                "unpacked": world.get("unpacked", {"proxy": [], "cloudflared": []}),
            }
        },
        "public_files": {
            "present": given.get("path") in files,
            "contents": {key: found[key] for key in given.get("names", []) if key in found},
        },
        "state_host": {}
        if state == "released"
        else {
            "holder": {},
            "present": given.get("path") in files,
            "contents": found,
            "host_keys": [HOST_KEY],
            "noted": True,
            "standby": world.get("standby_known", ""),
            "missing": world.get("missing", []),
            "breach": _breach(world, host, given, before),
            "already_stored": True,
            "misfit": "",
        },
        "release_tree": {
            "present": True,
            "path": f"/opt/mcp-tunnel/{given.get('part')}/{given.get('version')}",
            "version": given.get("version"),
        },
        "support": _support(world, host, given),
        "stored_token": {"content": base64.b64encode(TOKEN.encode()).decode()},
        "file_set": {"changed_paths": []},
        "drift": {"parts": given.get("parts", []), "written": True},
        "renewal_key": {"public_key": SSH_KEY},
        "state_copy": {
            "state": "ef" * 32,
            "content": armored(),
            **tunnel,
            "ca_fingerprint": "cd" * 32,
        },
        "state_restore": {},
        "server_cert": {
            "requested": {"needed": True, "reasons": ["there is none"], "csr": REQUEST},
            "signed": {"certificate": CERTIFICATE, **OF_A_CERTIFICATE},
        }.get(str(state), OF_A_CERTIFICATE),
        "containment": {"actions": []},
        "firewall": {
            "actions": [],
            **{
                "restored": {"restored": True},
                "absent": {"last": False},
            }.get(str(state), {"armed": False, "proven": False}),
        },
        "replica": {
            "actions": [],
            "proven": False,
            "waits": bool(given.get("joins_last")) and host in world.get("newcomers", []),
            "restored": True,
            "alone": False,
            "removed_releases": [],
        },
        "replica_drain": {
            "changed": bool(was) != bool(drained)
            or (state == "undrained" and asked.count("undrained") == 1 and returning),
            "actions": [],
            "ended": state == "undrained" and returning,
            "drained": {"since": "2026-11-29T04:50:00Z", "by": "", "why": "", "purpose": "drain"}
            if drained
            else {},
        },
        "reboot": {
            "changed": state != "looked",
            "machine": f"{_boots(before):02d}{hashlib.sha256(host.encode()).hexdigest()[:14]}",
            "needed": host in world.get("needing_reboots", []),
            "interrupted": bool(drained) and host in world.get("interrupted_reboots", []),
            "in_service": world.get("in_service", {}).get(
                host, [given["instance"]] if "instance" in given else []
            ),
        },
        "replica_health": health,
        "replica_traffic": {
            "traffic": _counted(world.get("traffic", {}).get(host, [0, 0]), len(asked_traffic)),
            "before": world.get("traffic_before", {}).get(host, {}),
        },
        "tunnel": {
            **tunnel,
            "display_name": "x",
            "created_at": "",
            "archived_at": "",
            "created": False,
        },
        "tunnel_token": {
            **tunnel,
            "tunnel_uuid": "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c",
            "token_file": f"{STATE}/tunnel-token",
            **(
                {"already_stored": True}
                if manual
                else {"token_version": "", "rotated": False, "rotate_reason": "", "repaired": False}
            ),
        },
        "tunnel_ca": {
            "certificate": CA,
            "fingerprint": "cd" * 32,
            "subject": "CN=CA",
            **TIMES,
            "private_key_stored": True,
            "registration": "Registered.",
            **(
                {}
                if manual
                else {
                    "tunnel_id": "tnl_01ABCDEF",
                    "certificate_id": "tcrt_01",
                    "rotating": True,
                    "active": [],
                }
            ),
        },
    }
    return answers.get(name, {})


def _breach(
    world: dict, host: str, given: dict[str, Any], before: list[dict[str, Any]]
) -> dict[str, Any]:
    """The marks that the state host has, or gets, and what they know that is still good.

    That is the CA until it is retired, and the token until it is rotated. *replaced* was before,
    and what *stays* is good for ever.
    """
    since = "2026-11-29T20:00:00Z"
    marked = {name: _mark(name, since, found) for name, found in given.get("breached", {}).items()}
    marks = {**marked, **{m["name"]: m for m in world.get("marked", {}).get(host, [])}}
    asked = [call.get("arguments", {}) for call in before]
    retired = any(each.get("phase") == "retired" for each in asked)
    replaced = {
        *world.get("replaced", []),
        *(["ca"] if retired and not world.get("was_rotating") else []),
        *(["token"] if any(each.get("token_version") for each in asked) else []),
    } - {*world.get("stays", [])}
    due = [name for name in ("ca", "token") if marks and name not in replaced]
    return {"token": TOKEN_DIGEST if marks else "", "due": due, "marked": list(marks.values())}


def _mark(name: str, since: str, found: dict[str, Any]) -> dict[str, str]:
    evidence = since if found["evidence"] else ""
    return {"name": name, "machine": found["machine"], "since": since, "evidence": evidence}


def _counted(each: list[int], times: int) -> dict[str, Any]:
    answered, failed = (number * times for number in each)
    route = {"route": "echo", "answered": answered, "failed": failed, "first_bytes": []}
    return {"started": 1, "handshakes": answered, "handshake_failures": 0, "routes": [route]}


def _support(world: dict, host: str, given: dict[str, Any]) -> dict[str, Any]:
    """The answers about an archive, which is in the world, or says which host it is of."""
    archive = world.get("archives", {}).get(host, f"archive of {host}").encode()
    if given.get("state") == "read":
        part = archive[given["offset"] : given["offset"] + 180 * 1024]
        return {"content": base64.b64encode(part).decode()}
    if given.get("state") == "absent":
        return {"changed": True}
    digest = hashlib.sha256(archive).hexdigest()
    about = {"size": len(archive), "sha256": digest, "left_out": [], "secrets": [], "blanked": []}
    return {"changed": True, **about}


def _merged(base: Any, change: Any) -> Any:
    if isinstance(base, dict) and isinstance(change, dict):
        return {**base, **{key: _merged(base.get(key), change[key]) for key in change}}
    return change


def _place(answer: Any, keys: list[Any], value: Any) -> None:
    for key in keys[:-1]:
        answer = answer[key]
    answer[keys[-1]] = value
