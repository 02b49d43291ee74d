"""The life of the proxy as a service: start, signals, drain, exit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
from collections.abc import Coroutine
from typing import Any

from . import __version__, exposition, log
from .admin import AdminServer
from .certificates import CertificateStore
from .firewall_metrics import FirewallCounters
from .metrics import Metrics
from .sdnotify import Notifier
from .server import ProxyServer
from .settings import Config

_STOP_MARGIN = 10.0
"""Seconds that systemd grants on top of ``shutdown_timeout`` for closing what was cut."""


class StartError(Exception):
    """The proxy cannot start for a reason outside its configuration file's text."""


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is in flight within ``shutdown_timeout``.

    SIGHUP looks at the certificate files at once. A second SIGTERM or SIGINT cuts the wait short.
    Raises :class:`StartError` or :class:`certificates.CertificateError` if it cannot start.
    """
    log.event(
        log.logger,
        log.INFO,
        "starting",
        version=__version__,
        python=platform.python_version(),
        pid=os.getpid(),
    )
    await Service(config).run()


class Service:
    """The parts of one running proxy, and the order in which they start and end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._notifier = Notifier(os.environ)
        self._metrics = Metrics()
        self._metrics.config_loaded()
        self._metrics.worker_count(1, 1)
        counters = config.metrics.firewall_counters_file
        self._others = [FirewallCounters(counters)] if counters else []
        self._certificates = CertificateStore(config.tls, self._metrics)
        self._server = ProxyServer(config, self._metrics, self._certificates)
        self._admin: AdminServer | None = None
        self._unready = "starting"
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self) -> None:
        """See :func:`run`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        await self._start()
        background = [self._spawn(self._certificates.watch())]
        if self._notifier.watchdog_interval:
            background.append(self._spawn(self._feed_watchdog()))
        self._unready = ""
        self._notifier.ready(self._status())
        await self._stop.wait()
        await self._shut_down()
        if self._admin is not None:
            self._admin.close()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)

    async def _start(self) -> None:
        config = self._config
        for name, upstream in config.routes.items():
            self._metrics.add_route(name)
            log.event(log.logger, log.INFO, "route configured", route=name, upstream=str(upstream))
        if config.upstream.disable_ip_validation:
            log.event(log.logger, log.WARN, "IP validation of upstreams is off")
        try:
            await self._server.start()
        except OSError as error:
            address = f"{config.listen.host}:{config.listen.port}"
            raise StartError(_bind_problem("listen_addr", address, error)) from None
        log.event(
            log.logger,
            log.INFO,
            "listening",
            addresses=" ".join(f"{host}:{port}" for host, port in self._server.addresses),
        )
        if config.admin is None:
            return
        self._admin = AdminServer(config.admin, self._page, self._why_unready)
        try:
            port = await self._admin.start()
        except OSError as error:
            address = f"{config.admin.host}:{config.admin.port}"
            raise StartError(_bind_problem("admin_addr", address, error)) from None
        log.event(log.logger, log.INFO, "admin listening", address=f"{config.admin.host}:{port}")

    async def _shut_down(self) -> None:
        timeout = self._config.shutdown_timeout
        self._unready = "stopping"
        self._notifier.stopping("finishing requests in flight", timeout + _STOP_MARGIN)
        # Before the line, so that whoever has read it can rely on it.
        self._server.stop_accepting()
        log.event(log.logger, log.INFO, "stopping", shutdown_timeout=timeout)
        stopping = asyncio.ensure_future(self._server.drain(timeout))
        hurry = asyncio.ensure_future(self._stop_now.wait())
        await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not stopping.done():
            log.event(log.logger, log.WARN, "stopping at once, as asked by a second signal")
            stopping.cancel()
        cut = 0
        with contextlib.suppress(asyncio.CancelledError):
            cut = await stopping
        log.event(log.logger, log.WARN if cut else log.INFO, "stopped", cut_requests=cut)

    async def _feed_watchdog(self) -> None:
        while True:
            self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog_interval)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            # Without it the certificate would silently grow old, or systemd kill us: say why.
            log.logger.error("background task failed", exc_info=task.exception())
            self._stop.set()

    def _on_stop(self, number: int) -> None:
        log.event(log.logger, log.INFO, "signal received", signal=signal.Signals(number).name)
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    async def _page(self) -> bytes:
        return exposition.page(self._metrics.snapshot(), {}, self._others)

    def _why_unready(self) -> str:
        # With a certificate that no client accepts, requests had better go to another replica.
        return self._unready or self._certificates.pair.invalidity()

    def _on_hangup(self) -> None:
        self._notifier.reloading()
        taken = self._certificates.poll()
        log.event(log.logger, log.INFO, "certificate checked on SIGHUP", changed=taken)
        self._notifier.ready(self._status())

    def _status(self) -> str:
        count = len(self._config.routes)
        return f"{count} route{'' if count == 1 else 's'} configured"


def _bind_problem(field: str, address: str, error: OSError) -> str:
    # Not its strerror: asyncio puts a sentence with the address there.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"{field}: cannot listen on {address}: {reason}; free the port or choose another"
