"""A running proxy for tests: the real command as a child process, with its own configuration."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml
from pki import Authority

DOMAIN = "t.example"
_SRC = Path(__file__).parents[1] / "src"


class RunningProxy:
    """The process, where it listens, and what it has logged (one dict per line)."""

    def __init__(self, process: asyncio.subprocess.Process, authority: Authority, home: Path):
        self.process = process
        self.authority = authority
        self.home = home
        self.ca_file = home / "ca.crt"
        self.port = 0
        self.admin_port = 0
        self.log: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read_log())

    async def _read_log(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"msg": line.decode(errors="replace").rstrip()})
            self._changed.set()
        self.log.append({"msg": "end of log"})
        self._changed.set()

    async def logged(self, message: str, after: int = 0, **fields: Any) -> dict[str, Any]:
        """Wait for a line whose message contains *message*, with these *fields*; return it."""
        seen = after
        while True:
            while seen < len(self.log):
                line = self.log[seen]
                seen += 1
                if message in line["msg"] and all(line.get(k) == v for k, v in fields.items()):
                    return line
                assert line["msg"] != "end of log", self.transcript()
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 20)
            except asyncio.TimeoutError:
                raise AssertionError(f"not logged: {message}\n{self.transcript()}") from None

    def transcript(self) -> str:
        """Everything logged so far."""
        return "\n".join(map(str, self.log))

    def client_tls(self, *alpn: str) -> ssl.SSLContext:
        """What a client needs to trust the proxy's certificate."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def workers(self) -> list[int]:
        """The worker processes (proc(5), children)."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}")
        return [int(pid) for pid in (task / "children").read_text().split()]

    def peak_rss(self) -> int:
        """The most memory each process ever had resident, in bytes together (proc(5), VmHWM)."""
        total = 0
        for pid in (self.process.pid, *self.workers()):
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.split("VmHWM:")[1].split()[0]) * 1024
        return total

    def forget_peak(self) -> None:
        """Start measuring :meth:`peak_rss` anew."""
        for pid in (self.process.pid, *self.workers()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


@contextlib.asynccontextmanager
async def running_proxy(
    home: Path,
    routes: dict[str, str],
    authority: Authority | None = None,
    through: tuple[str, ...] = (),
    **settings: Any,
) -> AsyncIterator[RunningProxy]:
    """Run ``mcp-proxy serve`` in the directory *home* with *routes* and further *settings*.

    *through* is a command that ends in running another one in its place. Loopback upstreams are
    allowed unless the settings say otherwise. Ends the process afterwards.
    """
    authority = authority or Authority()
    (home / "ca.crt").write_bytes(authority.cert)
    cert, key = authority.issue(f"*.{DOMAIN}", DOMAIN).write(home / "tls")
    document = {
        "listen_addr": "127.0.0.1:0",
        "admin_addr": "127.0.0.1:0",
        "log_level": "debug",
        "shutdown_timeout": "10s",
        "workers": 1,
        "tunnel_domain": DOMAIN,
        "tls": {"cert_file": cert, "key_file": key},
        "routes": routes,
        "upstream": {"allowed_ips": ["127.0.0.0/8"]},
        **settings,
    }
    path = home / "proxy.yaml"
    path.write_text(yaml.safe_dump(document))
    read, write = os.pipe()
    stat = os.fstat(write)
    process = await asyncio.create_subprocess_exec(
        *through,
        sys.executable,
        "-m",
        "mcp_proxy",
        "serve",
        "--config",
        str(path),
        stderr=write,
        env={
            **os.environ,
            "PYTHONPATH": str(_SRC),
            # Lines of JSON, as under systemd, are easier to look into.
            "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}",
        },
    )
    os.close(write)
    reader = asyncio.StreamReader(limit=1 << 20)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb")
    )
    process.stderr = reader  # type: ignore[misc]
    proxy = RunningProxy(process, authority, home)
    try:
        line = await proxy.logged("admin listening")
        proxy.admin_port = int(line["address"].rsplit(":", 1)[1])
        line = next(item for item in proxy.log if item["msg"] == "listening")
        proxy.port = int(line["addresses"].split()[0].rsplit(":", 1)[1])
        yield proxy
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
        await proxy._reader
        transport.close()


@contextlib.asynccontextmanager
async def proxied(
    home: Path, upstream: contextlib.AbstractAsyncContextManager[int], **settings: Any
) -> AsyncIterator[RunningProxy]:
    """Run a proxy whose route ``echo`` leads to *upstream*, which yields its port."""
    async with upstream as port:
        routes = {"echo": f"http://127.0.0.1:{port}"}
        async with running_proxy(home, routes, **settings) as proxy:
            yield proxy
