from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mcp_proxy import __version__
from mcp_proxy.cli import main
from pki import Authority

SOURCE = Path(__file__).parents[2]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    cert, key = Authority().issue("*.example.test").write(tmp_path)
    path = tmp_path / "proxy.yaml"
    path.write_text(
        "listen_addr: 127.0.0.1:0\ntunnel_domain: example.test\n"
        f"tls:\n  cert_file: {cert}\n  key_file: {key}\n"
        "routes: {echo: 'http://10.0.0.5:8000'}\nadmin_addr: ''\n"
    )
    return path


def test_a_good_file(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: ok, 1 route\n"


def test_problems_stand_like_a_compilers(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good.write_text(good.read_text().replace("echo:", "'a:1':") + "log_levle: info\n")
    assert main(["check-config", str(good)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{good}:6: routes.a:1: not a hostname; use a subdomain (echo) or a full hostname, "
        "without scheme, port or path",
        f"{good}:8: log_levle: unknown field; did you mean `log_level`?",
    ]


def test_certificates_are_opened_and_compared(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (good.parent / "tls.key").write_bytes(Authority().issue("x").key)
    ca_file = good.parent / "ca.crt"
    ca_file.write_text("garbage")
    good.write_text(good.read_text() + f"upstream:\n  tls:\n    ca_file: {ca_file}\n")
    assert main(["check-config", str(good)]) == 1
    key, trust = capsys.readouterr().out.splitlines()
    assert key.startswith(f"{good}:5: tls.key_file: the key in ")
    assert "does not match the certificate" in key
    assert trust.startswith(f"{good}:10: upstream.tls.ca_file: no usable PEM certificate in")


def test_an_expired_certificate_is_a_problem(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Authority().issue("*.example.test", begins_days=-9, ends_days=-1).write(good.parent)
    assert main(["check-config", str(good)]) == 1
    assert re.match(rf"{good}:4: tls.cert_file: expired at 20", capsys.readouterr().out)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith(f"mcp-proxy {__version__} (pure, CPython ")
    assert f'version = "{__version__}"' in (SOURCE / "pyproject.toml").read_text()


@pytest.mark.parametrize("argv", [[], ["serve"], ["check-config"], ["--config"], ["nonsense"]])
def test_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: mcp-proxy" in capsys.readouterr().err


def served(config: Path, *form: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mcp_proxy", *form, str(config)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("form", [["serve", "--config"], ["--config"], ["-config"]])
def test_serve_says_why_it_does_not_start(good: Path, form: list[str]) -> None:
    good.write_text(good.read_text().replace(":8000", ""))
    done = served(good, *form)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert (
        "ERROR configuration error: routes.echo: invalid upstream (must be scheme://host:port)"
        in line
    )
    assert f"where={good}:6" in line


def test_serve_says_all_that_is_wrong_with_the_files_of_routes(good: Path) -> None:
    names = ("wiki", "echo")
    for name in names:
        (good.parent / f"{name}.crt").write_text("garbage")
    options = "".join(f"  {name}: {{ca_file: {good.parent}/{name}.crt}}\n" for name in names)
    routes = "routes: {echo: 'https://10.0.0.5:8000', wiki: 'https://10.0.0.6:8000'}"
    old = "routes: {echo: 'http://10.0.0.5:8000'}"
    good.write_text(good.read_text().replace(old, routes) + f"route_options:\n{options}")
    done = served(good, "--config")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "cannot start" in line]
    assert len(lines) == 2, done.stderr
    for line, name in zip(lines, names):
        assert f"cannot start: route_options.{name}.ca_file: {good.parent}/{name}.crt: no" in line
