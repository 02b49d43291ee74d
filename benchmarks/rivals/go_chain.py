"""The rival in Go: the source in ``go/``, the toolchain that builds it, and the running program.

The toolchain is a wheel on the package index, with Go's own archive in it. It is 74 MB that
nothing else here needs, so it has an environment of its own, made when it is wanted.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import BenchError
from benchmarks.processes import child, free_port
from benchmarks.rivals.chains import HOST, Chain, Site

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = Path(__file__).resolve().parent / "go"
_BUILD = _ROOT / ".build" / "go"
_UV = _ROOT / ".build" / "uv" / "bin" / "uv"


@contextlib.contextmanager
def go_chain(where: Site) -> Iterator[Chain]:
    """A proxy on Go's standard library, doing what ours does, on one core.

    :raises BenchError: it cannot be built, or does not start
    """
    port = free_port()
    command = [
        str(_program()),
        f"-listen=127.0.0.1:{port}",
        f"-certificate={where.directory}/tls.crt",
        f"-key={where.directory}/tls.key",
        f"-host={HOST}",
        f"-upstream=http://127.0.0.1:{where.upstream_port}",
    ]
    log = where.directory / "go.log"
    with child("Go proxy", command, log, port, {"GOMAXPROCS": "1"}) as started:
        yield Chain("Go proxy", port, [started])


@functools.cache
def _program() -> Path:
    """The built program. Go's own cache knows whether there is anything to do."""
    environment = _BUILD / "toolchain"
    _run([str(_UV), "venv", "--quiet", "--allow-existing", str(environment)])
    install = [str(_UV), "pip", "install", "--quiet", "--python", f"{environment}/bin/python"]
    _run([*install, "--require-hashes", "-r", str(_ROOT / "tools" / "go-requirements.txt")])
    program = _BUILD / "peer"
    # Nothing is asked of the network, and no other version of Go than the pinned one takes part.
    alone = {"GOCACHE": str(_BUILD / "cache"), "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    _run([f"{environment}/bin/go", "build", "-C", str(_SOURCE), "-o", str(program), "."], alone)
    return program


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(  # noqa: S603 - our own command lines
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command[:3])} failed: {done.stderr.strip()}")
