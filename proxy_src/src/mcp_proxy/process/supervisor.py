"""The supervisor: start, signals, reload, drain, exit. The data path is in its workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import socket
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from prometheus_client.registry import Collector

from .. import __version__
from ..config.load import ConfigError
from ..config.model import Config
from ..system.build import BUILD
from ..tls.certificates import CertificateStore, Pair, read_ca
from ..tls.route_files import Renewals, with_contents
from ..tls.ticket_keys import ROTATION_SECONDS
from ..watch import exposition, log
from ..watch.admin import AdminServer
from ..watch.firewall_metrics import FirewallCounters
from ..watch.metrics import Metrics
from ..watch.snapshots import unite
from ..watch.tunnel_metrics import TunnelConnections
from . import listening, process_name, reload_socket, reloading, signals, succession
from .reload_socket import Outcome, ReloadServer
from .sdnotify import Notifier
from .worker_pool import WorkerEnded, WorkerPool

_ADMIN_PAUSE = 5.0
"""Seconds between two tries to get the admin address."""

_TURNS = 3
"""Turns of the event loop in which a signal that the kernel has delivered reaches its handler."""

_STOP_MARGIN = 10.0
"""Seconds that systemd grants on top of ``shutdown_timeout`` to close requests that were cut."""


class StartError(Exception):
    """The proxy cannot start, for reasons outside its configuration file's text: its ``args``."""


async def run(path: str, config: Config) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is in flight within ``shutdown_timeout``.

    *config* was read from *path*, which SIGHUP reads again. A second SIGTERM or SIGINT cuts the
    wait short. Raises :class:`StartError` or :class:`tls.certificates.CertificateError` if it
    cannot start.
    """
    log.event(
        log.logger,
        log.INFO,
        "starting",
        version=__version__,
        build=BUILD,
        python=platform.python_version(),
        pid=os.getpid(),
    )
    await Supervisor(path, config).run()


class Supervisor:
    """The parts of one running proxy, and the order in which they start and end."""

    def __init__(self, path: str, config: Config) -> None:
        self._path = path
        self._legacy = succession.legacy(os.environ)
        self._notifier = Notifier(os.environ)
        self._metrics = Metrics()
        self._certificates = CertificateStore(config.tls, self._metrics, self._on_pair)
        self._config, errors = with_contents(replace(config, upstream=read_ca(config.upstream)))
        if errors:
            raise StartError(*errors)
        self._renewals = Renewals(self._metrics)
        self._of_others = _of_others(config)
        self._sockets: list[socket.socket] = []
        self._admin_sockets: list[socket.socket] = []
        self._pool: WorkerPool | None = None
        self._admin: AdminServer | None = None
        self._reload_server = ReloadServer(self.reload, self._upgrade)
        self._unready = "starting"
        self._reloading = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()

    async def run(self) -> None:
        """See :func:`run`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        # The threads of asyncio, for names of listening addresses, are to take no signal.
        loop.set_default_executor(ThreadPoolExecutor(initializer=signals.hold))
        signals.let_in()
        process_name.take(process_name.SUPERVISOR)
        try:
            pool = await self._start()
            self._watch_certificates()
            self._spawn(self._renew_client_certificates())
            if self._notifier.watchdog_interval:
                self._spawn(self._feed_watchdog(pool))
            await self._start_reload_server()
            self._spawn(_rotate_tickets(pool))
            self._unready = ""
            self._notifier.ready(self._status())
            await self._stop.wait()
            await self._shut_down(pool)
        finally:
            self._reload_server.close()
            if self._admin is not None:
                self._admin.close()
            if self._pool is not None:
                await self._pool.kill()
            background = list(self._background)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    # -- the start ---------------------------------------------------------------------------

    async def _start(self) -> WorkerPool:
        self._sockets = self._listen()
        config = self._config
        for name in config.routes:
            self._metrics.add_route(name, config.options(name).refusing)
            _tell_route(config, name)
        self._renewals.tell(config)
        self._metrics.maintenance(_in_maintenance(config))
        if config.upstream.disable_ip_validation:
            log.event(log.logger, log.WARN, "IP validation of upstreams is off")
        admin_address = await self._start_admin()
        self._metrics.config_loaded()
        self._pool = WorkerPool(self._sockets, config, self._certificates.pair, self._metrics)
        if self._legacy is not None:
            await self._pool.adopt(self._legacy.workers, config.shutdown_timeout + _STOP_MARGIN)
        try:
            await self._pool.start()
        except (WorkerEnded, OSError) as error:
            raise StartError(f"{error}; the lines before say why") from None
        addresses = dict.fromkeys(sock.getsockname()[:2] for sock in self._sockets)
        log.event(
            log.logger,
            log.INFO,
            "listening",
            addresses=" ".join(f"{host}:{port}" for host, port in addresses),
            workers=config.workers,
        )
        if admin_address:
            log.event(log.logger, log.INFO, "admin listening", address=admin_address)
        return self._pool

    def _listen(self) -> list[socket.socket]:
        listen = self._config.listen
        address = f"{listen.host}:{listen.port}"
        inherited = listening.inherited(os.environ)
        if inherited and self._legacy is not None:
            return self._take_over(inherited, self._legacy)
        sockets, self._admin_sockets = listening.split(inherited, listen, self._config.admin)
        if sockets:
            problem = listening.mismatch(sockets, listen)
            if problem:
                raise StartError(
                    f"listen_addr: {address}, but the service manager passed {problem}; make "
                    "ListenStream= of the socket unit the same"
                )
            return sockets
        try:
            return listening.bind(listen, self._config.workers)
        except OSError as error:
            raise StartError(_bind_problem("listen_addr", address, error)) from None

    def _take_over(
        self, sockets: list[socket.socket], legacy: succession.Legacy
    ) -> list[socket.socket]:
        """Go on with the *sockets* of the release before: another address waits for a restart."""
        ours = len(sockets) - legacy.admin_sockets
        self._admin_sockets = sockets[ours:]
        self._config = replace(self._config, listen=legacy.listen)
        if self._admin_sockets:
            self._config = replace(self._config, admin=legacy.admin)
        return sockets[:ours]

    async def _start_admin(self) -> str:
        """Listen for health and metrics, and return where.

        If the address cannot be bound, requests are served all the same, and more tries follow.
        """
        if self._config.admin is None:
            return ""
        address = self._config.admin
        self._admin = AdminServer(address, self._page, self._why_unready)
        try:
            port = await self._admin.start(self._admin_sockets)
        except OSError as error:
            problem = _bind_problem("admin_addr", f"{address.host}:{address.port}", error)
            log.event(log.logger, log.ERROR, "admin not listening", problem=problem)
            self._spawn(self._start_admin_later(self._admin, address.host))
            return ""
        return f"{address.host}:{port}"

    async def _start_admin_later(self, admin: AdminServer, host: str) -> None:
        while True:
            await asyncio.sleep(_ADMIN_PAUSE)
            with contextlib.suppress(OSError):
                port = await admin.start(self._admin_sockets)
                log.event(log.logger, log.INFO, "admin listening", address=f"{host}:{port}")
                return

    async def _start_reload_server(self) -> None:
        where = reload_socket.path(os.environ)
        if where:
            try:
                await self._reload_server.start(where)
            except OSError as error:
                # SIGHUP still works.
                problem = f"cannot listen at {where}: {error.strerror}"
                log.event(log.logger, log.WARN, "mcp-proxy reload will not work", problem=problem)

    # -- while it runs -----------------------------------------------------------------------

    async def reload(self, code: str = succession.CODE) -> Outcome:
        """Go on with the present content of the configuration file and of the files named there.

        If *code* is not the place that the running code came from, be ready to :meth:`_upgrade`.
        """
        async with self._reloading:
            if self._stop.is_set():
                return Outcome(problems=["the proxy is stopping"])
            self._notifier.reloading()
            if code != succession.CODE:
                problems = await succession.objections(self._path)
                if problems:
                    said = " | ".join(problems)
                    log.event(log.logger, log.ERROR, "new release refused", problems=said)
                    self._notifier.ready(self._status())
                return Outcome(problems=problems, upgrading=not problems)
            try:
                new = reloading.read(self._path, self._config, self._certificates)
            except ConfigError as error:
                outcome = Outcome(problems=error.lines())
                self._metrics.config_reload(loaded=False)
                log.event(
                    log.logger,
                    log.ERROR,
                    "new configuration refused, the old one stays in use",
                    problems=" | ".join(outcome.problems),
                )
            else:
                await self._take(new)
                outcome = Outcome(needs_restart=new.needs_restart)
            self._notifier.ready(self._status())
            return outcome

    async def _upgrade(self) -> None:
        # No signal may be lost: those that have come are looked at, others wait for the successor.
        signals.hold()
        for _dummy in range(_TURNS):
            await asyncio.sleep(0)
        if self._stop.is_set() or self._pool is None:
            signals.let_in()
            return  # the sockets are closed, and requests in flight have their time
        log.event(log.logger, log.INFO, "becoming the release on disk", was=succession.CODE)
        legacy = succession.Legacy(
            self._config.listen,
            self._config.admin,
            len(self._admin_sockets),
            self._pool.hand_over(self._config.shutdown_timeout),
        )
        try:
            succession.become_release_on_disk([*self._sockets, *self._admin_sockets], legacy)
        except OSError as error:
            # systemd starts the proxy again, and holds its sockets meanwhile.
            os.write(2, f"cannot become the release on disk: {error}\n".encode())
            os._exit(1)

    async def _take(self, new: reloading.Candidate) -> None:
        before, self._config = self._config, new.config
        log.configure(new.config.log_level)
        if new.config.metrics != before.metrics:
            self._of_others = _of_others(new.config)
        for name in new.config.routes:
            self._metrics.add_route(name, new.config.options(name).refusing)
            if _route(before, name) != _route(new.config, name):
                _tell_route(new.config, name)
        self._metrics.maintenance(_in_maintenance(new.config))
        for name in before.routes.keys() - new.config.routes.keys():
            log.event(log.logger, log.INFO, "route removed", route=name)
        self._renewals.tell(new.config)
        changed = self._certificates.use(new.config.tls, new.pair)
        if self._pool is not None:
            await self._pool.apply(new.config, new.pair)
        self._watch_certificates()
        self._metrics.config_reload(loaded=True)
        log.event(
            log.logger,
            log.WARN if new.needs_restart else log.INFO,
            "configuration loaded",
            routes=len(new.config.routes),
            certificate_changed=changed,
            needs_restart=" ".join(new.needs_restart) or None,
        )

    def _on_pair(self, pair: Pair) -> None:
        if self._pool is not None:
            self._spawn(self._pool.apply(pair=pair))

    def _watch_certificates(self) -> None:
        """Poll the certificates, from now on at the interval that is configured now."""
        if self._watching is not None:
            self._watching.cancel()
        self._watching = self._spawn(self._certificates.watch())

    async def _renew_client_certificates(self) -> None:
        """Take those into use that have been renewed, as often as the server certificate."""
        while True:
            await asyncio.sleep(self._config.tls.poll_interval)
            async with self._reloading:
                renewed = self._renewals.look(self._config)
                if renewed is not None and self._pool is not None:
                    self._config = renewed
                    await self._pool.apply(renewed)

    async def _feed_watchdog(self, pool: WorkerPool) -> None:
        while True:
            if not pool.trouble():
                self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog_interval)

    async def _page(self) -> bytes:
        own = self._metrics.snapshot()
        if self._pool is None:
            return exposition.page(own, {}, self._of_others)
        counts, costs = await self._pool.count()
        return exposition.page(unite([own, counts]), costs, self._of_others)

    def _why_unready(self) -> str:
        # With a certificate that no client accepts, requests had better go to another replica.
        trouble = "" if self._pool is None else self._pool.trouble()
        return self._unready or trouble or self._certificates.pair.invalidity()

    def _status(self) -> str:
        count = len(self._config.routes)
        return f"{count} route{'' if count == 1 else 's'} configured"

    # -- the end -----------------------------------------------------------------------------

    async def _shut_down(self, pool: WorkerPool) -> None:
        timeout = self._config.shutdown_timeout
        self._unready = "stopping"
        self._notifier.stopping("finishing requests in flight", timeout + _STOP_MARGIN)
        # Before the line, so that its readers can rely on it. Sockets that systemd has passed stay
        # open there, and connections that come now wait for the next start.
        for sock in self._sockets:
            sock.close()
        await pool.stop_accepting(timeout)
        log.event(log.logger, log.INFO, "stopping", shutdown_timeout=timeout)
        stopping = asyncio.ensure_future(pool.ended())
        hurry = asyncio.ensure_future(self._stop_now.wait())
        await asyncio.wait(
            {stopping, hurry},
            timeout=timeout + _STOP_MARGIN / 2,
            return_when=asyncio.FIRST_COMPLETED,
        )
        hurry.cancel()
        if not stopping.done():
            if self._stop_now.is_set():
                log.event(log.logger, log.WARN, "stopping at once, as asked by a second signal")
            pool.hurry()
            await asyncio.wait({stopping}, timeout=_STOP_MARGIN / 4)
            await pool.kill()
        cut = await stopping
        log.event(log.logger, log.WARN if cut else log.INFO, "stopped", cut_requests=cut)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # Without it the certificate would silently grow old, or systemd kill us: say why.
            log.logger.error("background task failed", exc_info=task.exception())
            self._stop.set()

    def _on_stop(self, number: int) -> None:
        log.event(log.logger, log.INFO, "signal received", signal=signal.Signals(number).name)
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    def _on_hangup(self) -> None:
        self._spawn(self._reload_on_signal())

    async def _reload_on_signal(self) -> None:
        await self.reload()


async def _rotate_tickets(pool: WorkerPool) -> None:
    while True:
        await asyncio.sleep(ROTATION_SECONDS)
        await pool.rotate_tickets()


def _route(config: Config, name: str) -> tuple[Any, ...]:
    """All that the configuration says about a route."""
    return config.routes.get(name), config.options(name)


def _tell_route(config: Config, name: str) -> None:
    log.event(
        log.logger,
        log.INFO,
        "route configured",
        route=name,
        upstream=str(config.routes[name]),
        maintenance="yes" if config.options(name).maintenance else None,
    )


def _in_maintenance(config: Config) -> dict[str, bool]:
    """Each route, and whether it is in maintenance."""
    return {name: config.options(name).maintenance for name in config.routes}


def _of_others(config: Config) -> list[Collector]:
    """Return the collectors for the files that root has left on the host."""
    firewall, tunnel = config.metrics.firewall_counters_file, config.metrics.connections_file
    found: list[Collector] = [FirewallCounters(firewall)] if firewall else []
    return [*found, TunnelConnections(tunnel)] if tunnel else found


def _bind_problem(field: str, address: str, error: OSError) -> str:
    # Not its strerror: asyncio puts a sentence with the address there.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"{field}: cannot listen on {address}: {reason}; free the port or choose another"
