"""The real Prometheus (Debian's, unpacked by tools/bootstrap), and the files shipped for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import yaml
from running import becomes
from upstreams import nobodys_port

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "docs/monitoring"
_PROGRAMS = ROOT / ".build/prometheus/usr/bin"
_INTERVAL = 1


def promtool(*arguments: str, stdin: str = "") -> str:
    """Return the output of ``promtool``; fail with it if ``promtool`` finds anything wrong."""
    run = subprocess.run(
        [_PROGRAMS / "promtool", *arguments], input=stdin, capture_output=True, text=True
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    return run.stdout + run.stderr


def rules() -> list[dict[str, Any]]:
    """The shipped alert rules."""
    document = yaml.safe_load((SHIPPED / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """(panel, expression) of the shipped dashboard, its variables replaced by all there is."""
    document = json.loads((SHIPPED / "dashboard.json").read_text())
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "1m")
            yield panel["title"], re.sub(r"\$(instance|route)\b", ".*", query)


class Prometheus:
    """A running one, asked through its HTTP API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    async def ready(self) -> None:
        """Wait until it answers."""
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self._url}/-/ready", timeout=10).close()  # noqa: ASYNC210
                return
            await asyncio.sleep(0.1)
        raise AssertionError("Prometheus is not ready")

    async def get(self, path: str, **parameters: str) -> Any:
        """The ``data`` of an answer; fails with Prometheus' own error."""

        def fetch() -> Any:
            url = f"{self._url}{path}?{urllib.parse.urlencode(parameters)}"
            try:
                with urllib.request.urlopen(url, timeout=30) as answer:
                    return json.load(answer)["data"]
            except urllib.error.HTTPError as error:
                with error:
                    raise AssertionError(f"{parameters}: {error.read().decode()}") from None

        return await asyncio.get_running_loop().run_in_executor(None, fetch)

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        found: list[dict[str, Any]] = (await self.get("/api/v1/query", query=expression))["result"]
        return found

    async def until(self, expression: str) -> None:
        """Wait until *expression* has a sample."""

        async def found() -> str:
            return expression if await self.query(expression) else ""

        await becomes(expression, found)


@contextlib.asynccontextmanager
async def running_prometheus(home: Path, **ports: int) -> AsyncIterator[Prometheus]:
    """Run Prometheus on loopback with the shipped rules and jobs, these at other *ports*.

    *ports* are by the name of the job, with ``_`` for ``-``. One that is not shipped, as that of a
    node exporter, is added.
    """
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{_INTERVAL}s", "evaluation_interval": f"{_INTERVAL}s"}
    config["rule_files"] = [str(SHIPPED / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        port = ports.pop(job["job_name"].replace("-", "_"))
        job["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    labels = config["scrape_configs"][0]["static_configs"][0]["labels"]
    for name, port in ports.items():
        static = {"targets": [f"127.0.0.1:{port}"], "labels": labels}
        config["scrape_configs"].append({"job_name": name, "static_configs": [static]})
    path = home / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    log = home / "prometheus.log"
    with nobodys_port() as port, log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            _PROGRAMS / "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={home / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=output,
            stderr=output,
        )
        prometheus = Prometheus(port)
        try:
            await prometheus.ready()
            yield prometheus
        except BaseException as error:
            error.add_note(log.read_text()[-2000:])
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
