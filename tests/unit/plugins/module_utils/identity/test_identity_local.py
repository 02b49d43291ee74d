from __future__ import annotations

import os

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import Identity
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.sources import (
    IDENTITY_SPEC,
    SOURCES,
    check_source,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import (
    SIGNATURE,
    make_jwt,
)

TOKEN = make_jwt()
NOTHING = dict.fromkeys(IDENTITY_SPEC)


def fetch(source, **options):
    """Return the token of a source that asks nobody, with options as a task would give them."""
    whole = NOTHING | {"identity_source": source}
    whole |= {f"identity_{name}": value for name, value in options.items()}
    return check_source(whole).fetch(Identity(whole, None, None)).strip()


def failure(source, **options):
    with pytest.raises(TunnelError) as caught:
        fetch(source, **options)
    assert SIGNATURE not in str(caught.value)
    return str(caught.value)


def test_a_file_is_read_on_each_call(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    (tmp_path / "link").symlink_to(path)  # as Kubernetes mounts them
    for source in ("file", "kubernetes"):
        for name in ("token", "link"):
            assert fetch(source, file=str(tmp_path / name)) == TOKEN
    path.write_text("renewed")
    assert fetch("file", file=str(path)) == "renewed"


def test_files_that_cannot_be_read(tmp_path):
    assert "/nowhere: does not exist on this host" in failure("file", file="/nowhere")
    assert "cannot be read (Is a directory)" in failure("file", file=str(tmp_path))
    message = failure("kubernetes")
    assert "/var/run/secrets/kubernetes.io/serviceaccount/token: does not exist" in message
    (tmp_path / "huge").write_bytes(b"\xff" * 1000000)
    assert len(fetch("file", file=str(tmp_path / "huge"))) == 32768


def test_the_environment(direct, monkeypatch, tmp_path):
    assert "neither ANTHROPIC_IDENTITY_TOKEN nor" in failure("environment")
    monkeypatch.setenv("ANTHROPIC_IDENTITY_TOKEN", TOKEN)
    assert fetch("environment") == TOKEN
    (tmp_path / "token").write_text("of the file")
    monkeypatch.setenv("ANTHROPIC_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    assert "both ANTHROPIC_IDENTITY_TOKEN and" in failure("environment")
    monkeypatch.delenv("ANTHROPIC_IDENTITY_TOKEN")
    assert fetch("environment") == "of the file"
    monkeypatch.setenv("CI_TOKEN", TOKEN)
    assert fetch("environment", variable="CI_TOKEN") == TOKEN
    message = failure("environment", variable="CI_OTHER")
    assert "environment variable CI_OTHER: is not set or empty" in message


def test_a_literal():
    assert fetch("literal", literal=f" {TOKEN}") == TOKEN


def test_a_command(tmp_path, monkeypatch):
    assert fetch("command", command=["echo", TOKEN]) == TOKEN
    # No shell reads the words.
    assert fetch("command", command=["printf", "%s", "$HOME; x"]) == "$HOME; x"
    message = failure("command", command=["sh", "-c", f"echo {TOKEN} >&2; exit 3"])
    assert "identity_command: sh ended with status 3" in message
    assert "cannot be run (No such file" in failure("command", command=["/nowhere"])
    monkeypatch.setattr(
        "ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.local._COMMAND_TIMEOUT",
        0.1,
    )
    assert "runs longer than 0.1 s" in failure("command", command=["sleep", "5"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "identity_source: is missing. Say where this host's identity token comes from: file,"),
        ({"source": "file"}, "identity_source: file needs identity_file"),
        ({"source": "literal", "literal": ""}, "literal needs identity_literal"),
        ({"source": "azure"}, "azure needs identity_azure_app_id"),
        (
            {"source": "okta"},
            "okta needs identity_okta_issuer and identity_okta_client_id and "
            "identity_okta_key_file",
        ),
        ({"source": "command", "command": []}, "command needs identity_command"),
        (
            {"source": "file", "file": "/x", "literal": TOKEN},
            "file does not use identity_literal",
        ),
        (
            {"source": "gcp", "file": "/x", "aws_region": "x"},
            "gcp does not use identity_file and identity_aws_region",
        ),
        (
            {"source": "literal", "literal": TOKEN, "audience": "x"},
            "does not use identity_audience",
        ),
    ],
)
def test_options_that_are_missing_or_of_another_source(options, problem):
    given = NOTHING | {f"identity_{name}": value for name, value in options.items()}
    with pytest.raises(TunnelError) as caught:
        check_source(given)
    assert problem in str(caught.value)
    assert SIGNATURE not in str(caught.value)


def test_every_option_belongs_to_a_source():
    used = {f"identity_{name}" for source in SOURCES.values() for name in source.needs}
    used |= {f"identity_{name}" for source in SOURCES.values() for name in source.takes}
    assert used | {"identity_source"} == set(IDENTITY_SPEC)
