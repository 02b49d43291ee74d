"""The deployments that are taken over, and those that are refused with a remedy."""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports import deployment, judge
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.files import Files
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import (
    deployments,
    openssl,
    tokens,
)


@pytest.fixture
def parts(tmp_path):
    """The parts of a good deployment."""
    return deployments.parts(tmp_path)


def judged(root):
    """Return the judgement of a directory, with everything that is wrong as texts."""
    files = Files(str(root))
    found, problems = deployment.collect(files)
    result = judge.judge(found, files)
    return result, [str(problem) for problem in (*problems, *result.problems)]


def expected(parts):
    """Return the variables of the good deployment, as an operator would write them."""
    return {
        "mcp_tunnel_mode": "manual",
        "mcp_tunnel_domain": openssl.DOMAIN,
        "mcp_tunnel_id": deployments.TUNNEL_ID,
        "mcp_tunnel_token": tokens.make_token(),
        "mcp_tunnel_ca_cert": parts["ca.crt"],
        "mcp_tunnel_ca_key": parts["ca.key"],
        "mcp_tunnel_routes": deployments.ROUTES,
        "proxy_log_level": "info",
        "proxy_shutdown_timeout": "30s",
        "proxy_allowed_ips": ["10.0.0.0/8"],
        "proxy_upstream_include_system_cas": True,
    }


def test_a_directory_of_compose_becomes_variables(tmp_path, parts):
    result, problems = judged(deployments.make_compose(tmp_path, parts))
    assert not problems
    assert result.variables == expected(parts)
    assert [note.split()[1] for note in result.notes] == [
        "listen_addr",
        "tls.cert_file",
        "tls.key_file",
    ]


def test_the_secret_of_a_release_becomes_the_same(tmp_path, parts):
    result, problems = judged(deployments.make_helm(tmp_path, parts))
    assert not problems
    assert result.variables == expected(parts)


def test_two_secrets_and_files_beside_them_become_the_same(tmp_path, parts):
    """As the chart has them without programmatic access; YAML of several documents."""
    root = tmp_path / "helm"
    root.mkdir(mode=0o700)
    shown = [
        deployments.secret("mcp-tunnel-token", {"tunnel-token": parts["tunnel-token"]}),
        deployments.secret(
            "mcp-tunnel-cert", {name: parts[name] for name in ("tls.crt", "tls.key")}
        ),
        deployments.secret("other", {"password": "x"}),
        deployments.config_map(),
    ]
    (root / "release.yaml").write_text(yaml.safe_dump_all(shown))
    for name in ("ca.crt", "ca.key", "tunnel-id", "tunnel-domain"):
        (root / name).write_text(parts[name])
    result, problems = judged(root)
    assert not problems
    assert result.variables == expected(parts)


def test_the_token_of_the_environment_file_is_taken(tmp_path, parts):
    token = parts.pop("tunnel-token")
    root = deployments.make_compose(tmp_path, parts)
    (root / ".env").write_text(f"# of the guide\nOTHER=x\nexport TUNNEL_TOKEN='{token}'\n")
    result, problems = judged(root)
    assert not problems
    assert result.variables["mcp_tunnel_token"] == token


def test_a_value_of_the_environment_file_that_is_put_together_is_refused(tmp_path, parts):
    root = deployments.make_compose(tmp_path, parts)
    (root / ".env").write_text("TUNNEL_TOKEN=${OTHER}\n")
    _result, problems = judged(root)
    (problem,) = problems
    assert problem.startswith(".env: TUNNEL_TOKEN: is put together of other variables")


def test_of_a_ca_for_upstreams_the_certificates_alone_are_taken(tmp_path, parts):
    """It is written in clear, and a bundle has texts beside them."""
    upstream = {"tls": {"ca_file": "/data/corp-ca.crt"}}
    root = deployments.make_compose(tmp_path, parts, upstream=upstream)
    told = f"# of {parts['tunnel-token']}\n"
    bundle = "".join((told, parts["ca.crt"], told, parts["tls.crt"], told))
    (root / "data/corp-ca.crt").write_text(bundle)
    result, problems = judged(root)
    assert not problems
    assert result.variables["proxy_upstream_ca"] == parts["ca.crt"] + parts["tls.crt"]


@pytest.mark.parametrize("name", ["ca.key", "tunnel-token"])
def test_a_ca_for_upstreams_that_is_a_secret_is_refused(tmp_path, parts, name):
    upstream = {"tls": {"ca_file": f"/data/{name}"}}
    _result, problems = judged(deployments.make_compose(tmp_path, parts, upstream=upstream))
    (problem,) = problems
    assert "proxy_upstream_ca" in problem
    assert not any(line in problem for line in parts[name].splitlines())


def test_a_ca_for_upstreams_is_taken_along(tmp_path, parts):
    upstream = {"tls": {"ca_file": "/data/corp-ca.crt"}}
    root = deployments.make_compose(tmp_path, parts, upstream=upstream)
    _result, problems = judged(root)
    assert [problem for problem in problems if "no file of that name" in problem]
    (root / "data/corp-ca.crt").write_text(parts["ca.crt"])
    result, problems = judged(root)
    assert not problems
    assert result.variables["proxy_upstream_ca"] == parts["ca.crt"]


@pytest.mark.parametrize("name", ["tunnel-token", "ca.crt", "ca.key"])
def test_half_a_directory_is_refused(tmp_path, parts, name):
    del parts[name]
    _result, problems = judged(deployments.make_compose(tmp_path, parts))
    assert [
        problem for problem in problems if problem.startswith(f"{name}: is not in the directory")
    ]


def test_everything_that_is_missing_is_told_at_once(tmp_path):
    root = tmp_path / "empty"
    root.mkdir(mode=0o700)
    _result, problems = judged(root)
    names = [problem.partition(":")[0] for problem in problems]
    assert names == ["tunnel-token", "tunnel-domain", "ca.crt", "ca.key", "config.yaml"]


@pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
def test_half_a_pair_is_refused(tmp_path, parts, name):
    del parts[name]
    _result, problems = judged(deployments.make_compose(tmp_path, parts))
    (problem,) = problems
    assert f"is only half of a pair. Put {name} there, too." in problem


def test_without_a_server_certificate_the_operator_is_asked_to_compare(tmp_path, parts):
    del parts["tls.crt"], parts["tls.key"]
    result, problems = judged(deployments.make_compose(tmp_path, parts))
    assert not problems
    assert "nothing proves that ca.crt is the CA" in result.notes[-1]


def test_a_foreign_key_of_the_ca_is_refused(tmp_path, parts):
    parts["ca.key"] = openssl.make_key()
    _result, problems = judged(deployments.make_compose(tmp_path, parts))
    (problem,) = problems
    assert problem.startswith("ca.key in data/ca.key (mcp_tunnel_ca_key): does not belong")


def test_a_foreign_key_of_the_server_is_refused(tmp_path, parts):
    parts["tls.key"] = openssl.make_key()
    _result, problems = judged(deployments.make_compose(tmp_path, parts))
    (problem,) = problems
    assert problem.startswith("tls.key in data/tls.key: does not belong")


def test_another_ca_than_that_of_the_server_is_refused(tmp_path, parts):
    parts["ca.crt"], parts["ca.key"] = openssl.make_ca(tmp_path / "another")
    _result, problems = judged(deployments.make_compose(tmp_path, parts))
    (problem,) = problems
    assert problem.startswith("tls.crt in data/tls.crt: it is not signed directly by the CA")


def test_an_expired_ca_is_refused(tmp_path, parts):
    parts["ca.crt"], parts["ca.key"] = openssl.make_ca(tmp_path / "expired", days=-1)
    _result, problems = judged(deployments.make_compose(tmp_path, parts))
    (problem,) = problems
    assert problem.startswith("ca.crt in data/ca.crt (mcp_tunnel_ca_cert): ")
    assert "expired" in problem


def test_an_expired_certificate_is_refused(tmp_path, parts):
    ca = parts["ca.crt"], parts["ca.key"]
    parts["tls.crt"], parts["tls.key"] = openssl.make_server(tmp_path / "expired", ca, days=-1)
    _result, problems = judged(deployments.make_compose(tmp_path, parts))
    (problem,) = problems
    assert problem.startswith("tls.crt in data/tls.crt: ")
    assert "expired" in problem


def test_a_certificate_of_another_domain_is_refused(tmp_path, parts):
    parts["tunnel-domain"] = "efgh5678.tunnel.example"
    root = deployments.make_compose(tmp_path, parts, tunnel_domain=parts["tunnel-domain"])
    _result, problems = judged(root)
    (problem,) = problems
    assert "does not cover *.efgh5678.tunnel.example" in problem


def test_two_parts_that_differ_are_refused_without_their_content(tmp_path, parts):
    root = deployments.make_compose(tmp_path, parts, tunnel_domain="other.tunnel.example")
    other = tokens.make_token(secret=b"another-planted-secret")
    (root / ".env").write_text(f"TUNNEL_TOKEN={other}\n")
    _result, problems = judged(root)
    text = "\n".join(problems)
    assert "tunnel-token in data/tunnel-token: differs from that in .env." in text
    assert "tunnel-domain in data/tunnel-domain: differs from that in config/mcp-proxy.yaml" in text
    assert other not in text
    assert parts["tunnel-token"] not in text


def test_a_broken_token_is_refused_and_not_quoted(tmp_path, parts):
    parts["tunnel-token"] = "planted-secret-of-a-token"
    _result, problems = judged(deployments.make_compose(tmp_path, parts))
    (problem,) = problems
    assert problem.startswith("tunnel-token in data/tunnel-token (mcp_tunnel_token): is not base64")
    assert "planted" not in problem


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"cache_ttl": "5m"}, "cache_ttl: has no counterpart here"),
        ({"upstream": {"retries": 3}}, "upstream.retries: has no counterpart here"),
        ({"upstream": ["x"]}, "upstream: is no map of fields"),
        ({"routes": [{"echo": "http://10.0.0.1:80"}]}, "routes (mcp_tunnel_routes): "),
        ({"routes": {"a": "http://10.0.0.1:80/mcp"}}, "routes['a'] (mcp_tunnel_routes): "),
        ({"routes": {"a": "http://hello-mcp:9000"}}, "hello-mcp, a service of Compose"),
        ({"routes": {"a": "http://x.svc.cluster.local:1"}}, "local, a Service of Kubernetes"),
        ({"routes": {"a": "http://Shouting:9000"}}, "shouting, a service of Compose"),
        ({"routes": {"a": "http://of-the-override:9000"}}, "override, a service of Compose"),
        ({"routes": {"a": "http://host.docker.internal:1"}}, "internal, the containers' own host"),
        ({"routes": {"a": "http://host.containers.internal:1"}}, "the containers' own host"),
        ({"routes": {"a": "http://localhost:1"}}, "localhost, the containers' own host"),
        ({"routes": {"a": "http://x.localhost.:1"}}, "localhost., the containers' own host"),
        (
            {
                "routes": {"a": "http://127.0.0.7:1"},
                "upstream": {"allowed_ips": ["127.0.0.0/8"], "disable_ip_validation": True},
            },
            "127.0.0.7, the containers' own host",
        ),
        ({"routes": {"a": "http://{{ lookup('pipe', 'id') }}:1"}}, "would evaluate as a template"),
        ({"log_level": "{% raw %}"}, "would evaluate as a template"),
        ({"log_level": "loud"}, "log_level (proxy_log_level): "),
    ],
)
def test_a_configuration_that_cannot_be_taken_over_is_refused(tmp_path, parts, changed, told):
    root = deployments.make_compose(tmp_path, parts, **changed)
    more = "services: &a {of-the-override: !reset null, Shouting: {}}\nx: *a\n"
    (root / "docker-compose.override.yaml").write_text(more)
    _result, problems = judged(root)
    assert any(told in problem for problem in problems), problems
    assert all("config/mcp-proxy.yaml" in each or "template" in each for each in problems)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [x, x]\nb: [*a, *a]\n", "has an alias (*)"),
        ("a: !!python/object/apply:os.system ['id']\n", "could not determine a constructor"),
        ("routes: {a: x}\nroutes: {b: x}\n", "has a name twice"),
        ("[" * 5000, "is nested too deeply"),
        # To the base of 60: too large for a float, and minutes of work for a whole number.
        (f"a: 1{':1' * 9000}.5\n", "has a date or a number that cannot be"),
        (f"a: 1{':1' * 9000}\n", "has a date or a number that cannot be"),
        ("a: \0\n", "is no text in UTF-8"),
        ("- a list\n", "is no map of fields"),
        ("a: 1\n---\nb: 2\n", "is no map of fields"),
        ("a: 'open\n", "cannot be taken as plain YAML"),
    ],
)
def test_yaml_that_is_more_than_plain_data_is_refused(tmp_path, parts, text, told):
    root = deployments.make_compose(tmp_path, parts)
    (root / "config/mcp-proxy.yaml").write_text(text)
    _result, problems = judged(root)
    (problem,) = problems
    assert "config/mcp-proxy.yaml: " in problem
    assert told in problem


def test_a_secret_that_is_no_base64_is_refused_and_not_quoted(tmp_path, parts):
    root = deployments.make_helm(tmp_path, parts)
    broken = deployments.secret("b", {})
    broken["data"] = {"ca.key": "planted!"}
    (root / "more.yaml").write_text(yaml.safe_dump(broken))
    _result, problems = judged(root)
    (problem,) = problems
    assert problem.startswith("more.yaml, Secret b: ca.key")
    assert "is no text in base64" in problem
    assert "planted" not in problem


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (os.urandom(300), "ca.crt: is no text in base64"),
        (b"\0\1", "ca.crt in release.json, Secret mcp-tunnel (mcp_tunnel_ca_cert): is not a PEM"),
    ],
)
def test_a_secret_with_rubbish_is_refused_once(tmp_path, parts, content, told):
    root = deployments.make_helm(tmp_path, parts)
    release = json.loads((root / "release.json").read_text())
    release["items"][0]["data"]["ca.crt"] = base64.b64encode(b"\xff" + content).decode()
    if content == b"\0\1":
        release["items"][0]["data"]["ca.crt"] = base64.b64encode(content).decode()
    (root / "release.json").write_text(json.dumps(release))
    _result, problems = judged(root)
    (problem,) = problems
    assert told in problem


def test_data_in_clear_wins_as_in_kubernetes(tmp_path, parts):
    root = deployments.make_helm(tmp_path, parts)
    release = json.loads((root / "release.json").read_text())
    release["items"][0]["data"]["tunnel-token"] = "eA=="
    release["items"][0]["stringData"] = {"tunnel-token": parts["tunnel-token"]}
    (root / "release.json").write_text(json.dumps(release))
    result, problems = judged(root)
    assert not problems
    assert result.variables == expected(parts)


@pytest.mark.parametrize("host", ["hello-mcp", "hello-mcp.tunnels", "hello-mcp.tunnels.svc"])
def test_names_of_a_cluster_are_refused(tmp_path, parts, host):
    routes = {"a": f"http://{host}:9000", "b": "http://wiki.corp:8000"}
    _result, problems = judged(deployments.make_helm(tmp_path, parts, routes=routes))
    (problem,) = problems
    assert f"leads to {host}, a Service of Kubernetes" in problem


def test_a_name_that_is_none_of_kubernetes_reaches_no_command(tmp_path, parts):
    root = deployments.make_helm(tmp_path, parts)
    hostile = deployments.secret("x", {"tunnel-id": "y"})
    hostile["metadata"]["namespace"] = "x; reboot"
    (root / "more.yaml").write_text(yaml.safe_dump(hostile))
    _result, problems = judged(root)
    assert any("more.yaml: namespace: is no name of Kubernetes" in each for each in problems)


@pytest.mark.parametrize("name", ["data/ca.key", "config/mcp-proxy.yaml", "data", "config"])
def test_links_are_not_followed(tmp_path, parts, name):
    root = deployments.make_compose(tmp_path, parts)
    shutil.move(root / name, tmp_path / "elsewhere")
    (root / name).symlink_to(tmp_path / "elsewhere")
    _result, problems = judged(root)
    assert any(f"{root / name}: is a symbolic link" in each for each in problems)


def test_files_that_are_none_of_a_deployment_are_refused(tmp_path, parts):
    root = deployments.make_compose(tmp_path, parts)
    (root / "config/mcp-proxy.yaml").write_text("a" * (256 * 1024 + 1))
    (root / ".env").write_bytes(b"\xff\xfe")
    (root / "data/ca.crt").unlink()
    (root / "data/ca.crt").mkdir()
    _result, problems = judged(root)
    text = "\n".join(problems)
    assert "mcp-proxy.yaml: is larger than 256 KiB" in text
    assert ".env: is no text in UTF-8" in text
    assert "data/ca.crt: is no plain file" in text
    assert len(problems) == 3, "what is there and broken is not told of as missing, too"


def test_every_file_that_is_broken_is_told_of(tmp_path, parts):
    root = deployments.make_compose(tmp_path, parts)
    for name in ("tunnel-token", "ca.crt", "tls.key"):
        (root / "data" / name).write_bytes(b"\xff\xfe")
    for name in ("a.yaml", "b.yaml"):
        (root / name).write_text("kind: Secret\ndata: [x]\n")
    _result, problems = judged(root)
    told = ["tunnel-token: is no", "ca.crt: is no", "tls.key: is no", "a.yaml, Sec", "b.yaml, Sec"]
    assert [any(word in problem for problem in problems) for word in told] == [True] * 5
    assert len(problems) == 5, problems


def test_a_directory_that_cannot_be_looked_into_is_no_empty_one(tmp_path, parts, monkeypatch):
    root = deployments.make_compose(tmp_path, parts)
    lstat = os.lstat

    def refuse(path, *given, **more):
        if Path(str(path)).parent == root / "data":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return lstat(path, *given, **more)

    monkeypatch.setattr(os, "lstat", refuse)
    _result, problems = judged(root)
    assert any("data/ca.key: cannot be read: Permission denied" in each for each in problems)
    assert not any("is not in the directory" in each for each in problems)


def test_a_directory_that_others_can_look_into_or_change_is_refused(tmp_path, parts):
    root = deployments.make_compose(tmp_path, parts)
    root.chmod(0o755)
    with pytest.raises(TunnelError, match="other users may look into it"):
        Files(str(root))
    root.chmod(0o777)
    with pytest.raises(TunnelError, match="can be written by other users"):
        Files(str(root))


def test_the_directory_has_to_be_one(tmp_path):
    with pytest.raises(TunnelError, match=r"mcp_tunnel_import_src: is .*no directory"):
        Files(str(tmp_path / "nowhere"))
