"""A running proxy for tests: the real command as a child process, with its own configuration."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import mcp_proxy
import yaml
from mcp_proxy.process import reload_socket
from pki import Authority

DOMAIN = "t.example"
SRC = Path(mcp_proxy.__file__).resolve().parents[1]
"""The code that is tested: the source, or the compiled tree that pytest was given."""
PATIENCE = 60.0
"""Seconds for anything that another process does: a busy machine may stop it for many of them."""
KEPT = {"upstream_idle": "10m"}
"""Timeouts of a proxy whose connections to upstreams are still there for the next request."""
SOON = "3s"
"""A time limit that a test waits for: long enough for what a slow client has to do before."""

_T = TypeVar("_T")


async def becomes(wanted: _T, look: Callable[[], Awaitable[_T]]) -> None:
    """Wait until *look* returns what is *wanted*; fail with what it has returned last."""
    end = time.monotonic() + PATIENCE
    while (found := await look()) != wanted:
        assert time.monotonic() < end, f"{found!r}, not {wanted!r}"
        await asyncio.sleep(0.05)


class RunningProxy:
    """The process, its addresses, and its log so far (one dict per line)."""

    def __init__(
        self,
        authority: Authority,
        home: Path,
        listeners: Sequence[socket.socket],
        through: Sequence[str],
    ):
        self.authority = authority
        self.home = home
        self.config = home / "proxy.yaml"
        self.ca_file = home / "ca.crt"
        self.port = 0
        self.admin_port = 0
        self.log: list[dict[str, Any]] = []
        self.code = SRC
        self._listeners = listeners
        self._through = through
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Run the process, and wait until it takes requests."""
        seen = len(self.log)
        await self.launch()
        line = await self.logged("admin listening", after=seen)
        self.admin_port = int(line["address"].rsplit(":", 1)[1])
        line = next(item for item in self.log[seen:] if item["msg"] == "listening")
        self.port = int(line["addresses"].split()[0].rsplit(":", 1)[1])

    async def launch(self) -> None:
        """Run the process."""
        read, write = os.pipe()
        stat = os.fstat(write)
        command = [*self._through, sys.executable, "-m", "mcp_proxy"]
        command += ["serve", "--config", str(self.config)]
        descriptors = [sock.fileno() for sock in self._listeners]
        if descriptors:
            # As systemd passes them (sd_listen_fds(3)): from 3 on, to the process that it runs.
            places = [f"{3 + i}<&{descriptor}" for i, descriptor in enumerate(descriptors)]
            script = f'export LISTEN_PID=$$; exec "$@" {" ".join(places)}'
            command = ["/bin/bash", "-c", script, "bash", *command]
        run = self.home / "run"
        run.mkdir(exist_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            *command,
            stderr=write,
            pass_fds=descriptors,
            env={
                **os.environ,
                "PYTHONPATH": str(self.code),
                "RUNTIME_DIRECTORY": str(run),
                "LISTEN_FDS": str(len(descriptors)),
                # Lines of JSON, as under systemd, are easier to search.
                "JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}",
            },
        )
        os.close(write)
        reader = asyncio.StreamReader(limit=1 << 20)
        self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb")
        )
        self._reader = asyncio.ensure_future(self._read_log(reader))

    async def ended(self) -> int:
        """Wait for the process to end; return its exit status."""
        status = await asyncio.wait_for(self.process.wait(), PATIENCE)
        await self._reader
        self._pipe.close()
        return status

    async def kill(self) -> None:
        """End the process, if it still runs."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.ended()

    async def reload(self) -> tuple[int, str, str]:
        """Run ``mcp-proxy reload``; return its exit status, stdout and stderr."""
        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_proxy", "reload"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(self.code), "RUNTIME_DIRECTORY": str(self.home / "run")},
        )
        out, err = await asked.communicate()
        assert asked.returncode is not None
        return asked.returncode, out.decode(), err.decode()

    def edit(self, **settings: Any) -> None:
        """Change *settings* of the configuration file."""
        document = yaml.safe_load(self.config.read_text())
        self.config.write_text(yaml.safe_dump({**document, **settings}))

    async def _read_log(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
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
                await asyncio.wait_for(self._changed.wait(), PATIENCE)
            except asyncio.TimeoutError:
                raise AssertionError(f"not logged: {message}\n{self.transcript()}") from None

    async def logged_times(self, number: int, message: str) -> None:
        """Wait until there are so many lines with this *message*."""
        while sum(line["msg"] == message for line in self.log) < number:
            await self.logged(message, after=len(self.log))

    async def shows(self, *lines: str) -> None:
        """Wait until the page of metrics has these *lines*.

        A worker that does not answer in time is shown as it was before.
        """

        async def missing() -> list[str]:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            page = (await reader.read()).decode().splitlines()
            writer.close()
            return [line for line in lines if line not in page]

        await becomes([], missing)

    def transcript(self) -> str:
        """Everything logged so far."""
        return "\n".join(map(str, self.log))

    def client_tls(self, *alpn: str) -> ssl.SSLContext:
        """A client's TLS context that trusts the proxy's certificate."""
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
        """Start measuring :meth:`peak_rss` again."""
        for pid in (self.process.pid, *self.workers()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


def prepared_proxy(
    home: Path,
    routes: dict[str, str],
    authority: Authority | None = None,
    listeners: Sequence[socket.socket] = (),
    through: tuple[str, ...] = (),
    **settings: Any,
) -> RunningProxy:
    """A proxy that can be started; see :func:`running_proxy`."""
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
    proxy = RunningProxy(authority, home, listeners, through)
    proxy.config.write_text(yaml.safe_dump(document))
    return proxy


@contextlib.asynccontextmanager
async def running_proxy(
    home: Path,
    routes: dict[str, str],
    authority: Authority | None = None,
    listeners: Sequence[socket.socket] = (),
    through: tuple[str, ...] = (),
    **settings: Any,
) -> AsyncIterator[RunningProxy]:
    """Run ``mcp-proxy serve`` in the directory *home* with *routes* and further *settings*.

    *listeners* are passed on as systemd does. *through* is a command that runs another one in its
    place at the end. Loopback upstreams are allowed unless the settings say otherwise. Ends the
    process afterwards.
    """
    proxy = prepared_proxy(home, routes, authority, listeners, through, **settings)
    try:
        await proxy.start()
        yield proxy
    finally:
        await proxy.kill()


@contextlib.asynccontextmanager
async def proxied(
    home: Path, upstream: contextlib.AbstractAsyncContextManager[int], **settings: Any
) -> AsyncIterator[RunningProxy]:
    """Run a proxy whose route ``echo`` leads to *upstream*, which yields its port."""
    async with upstream as port:
        routes = {"echo": f"http://127.0.0.1:{port}"}
        async with running_proxy(home, routes, **settings) as proxy:
            yield proxy


async def exchanged(proxy: RunningProxy) -> Path:
    """Restart the proxy from a link to its code; return a copy of the code for the link."""
    release, current = proxy.home / "release", proxy.home / "current"
    shutil.copytree(SRC, release)
    current.symlink_to(SRC)
    proxy.terminate()
    await proxy.ended()
    proxy.code = current
    await proxy.start()
    return release


def switch(proxy: RunningProxy, release: Path) -> None:
    """Have *release* be the code on disk."""
    proxy.code.unlink()
    proxy.code.symlink_to(release)


async def ask_as(proxy: RunningProxy, code: str) -> reload_socket.Outcome:
    """The proxy's answer to a reload of *code*."""
    reader, writer = await asyncio.open_unix_connection(proxy.home / "run/control.sock")
    writer.write(f"reload {code}\n".encode())
    said = await reader.read()
    writer.close()
    return reload_socket.Outcome(**json.loads(said))


async def gone(pid: int) -> None:
    """Wait until the process has ended (pidfd_open(2): readable then)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, over.set)
    await asyncio.wait_for(over.wait(), PATIENCE)
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)
