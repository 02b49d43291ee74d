# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status for people: the verdict, the problems with their remedies, a glance, the layers.

Somebody reads it who was woken by an alert: what is wrong comes first. Without a terminal there are
no colours and no folded lines, so that grep and mail show the same text.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.text_table import span
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.status.parts import (
    FAILED,
    NOT_PROVEN,
    NOTICE,
    OK,
    UNKNOWN,
)

if TYPE_CHECKING:
    # A library of the commands, which modules do not have.
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_STYLES = {
    OK: "green", NOTICE: "yellow", "down": "yellow", NOT_PROVEN: "yellow", FAILED: "bold red",
    UNKNOWN: "bold magenta", "drained": "yellow", "maintenance": "yellow",
}  # fmt: skip
_FORMS = {"none": "in clear", "host": "encrypted (host)", "tpm2": "encrypted (tpm2)"}
# Parts of which a layer says in better words why they cannot be read.
_TOLD_BY = {"edge": "edge", "traffic": "proxy"}
# Where nobody folds lines: wider than any of them.
_UNFOLDED = 4000
_SHA256, _SHOWN_OF_SHA256 = 64, 12  # characters


def console(stream: TextIO) -> Console:
    """A console that colours on a terminal only, and never if NO_COLOR is set (no-color.org)."""
    from rich.console import Console

    on_terminal = stream.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or not on_terminal
    return Console(
        file=stream,
        force_terminal=on_terminal,
        color_system=None if plain else "auto",
        no_color=plain,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if on_terminal else _UNFOLDED,
    )


def show(document: Mapping[str, Any], on: Console) -> None:
    """Writes the status. Lines have no blanks at their ends where nobody sees colours."""
    if on.is_terminal:
        on.print(rendered(document))
        return
    with on.capture() as captured:
        on.print(rendered(document))
    lines = (line.rstrip() for line in captured.get().splitlines())
    on.file.write("\n".join(lines) + "\n")
    on.file.flush()


def watch(look: Callable[[], Mapping[str, Any]], on: Console, seconds: float) -> None:
    """Shows the status again and again, until somebody interrupts it."""
    from rich.live import Live

    if not on.is_terminal:
        while True:
            show(look(), on)
            on.file.write("\n")
            time.sleep(seconds)
    first = rendered(look())
    with Live(first, console=on, screen=True, auto_refresh=False) as live:
        while True:
            live.refresh()
            time.sleep(seconds)
            live.update(rendered(look()))


def rendered(document: Mapping[str, Any]) -> RenderableType:
    """The document as something that rich shows."""
    from rich.console import Group

    parts: list[RenderableType] = [_verdict(document)]
    if not document["instances"]:
        parts.append(_line("No instance was deployed on this host: /etc/mcp-tunnel has none."))
    for instance in document["instances"]:
        parts += _of_instance(instance, document)
    return Group(*parts)


def _verdict(document: Mapping[str, Any]) -> Text:
    from rich.text import Text

    return Text.assemble(
        _word(document["healthy"]), f"  {document['host']}  {_moment(document['at'])}"
    )


def _word(healthy: bool) -> tuple[str, str]:
    return ("HEALTHY", "bold green") if healthy else ("NOT HEALTHY", "bold red")


def _of_instance(
    instance: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[RenderableType]:
    from rich.text import Text

    yield _line("")
    yield Text.assemble(
        (f"instance {instance['instance']}", "bold"),
        f"  {instance['domain']}  ",
        _word(instance["healthy"]),
    )
    problems = list(_not_ok(instance))
    if problems:
        yield _line("")
        yield _problems(problems)
    yield _line("")
    yield _glance(instance, document)
    if not instance["certificate"]["error"]:
        # Without a column for the state, it is whole on a terminal with 80 columns.
        yield _line(f"fingerprint  {instance['certificate']['fingerprint']}")
    yield _line("")
    yield _layers(instance["layers"]["rows"])


def _problems(problems: Iterable[tuple[str, str, str, str]]) -> Table:
    """Each thing that is not ok, with the remedy below it."""
    from rich.text import Text

    table = _table()
    for state, subject, detail, remedy in problems:
        table.add_row(_state(state), f"{subject}: {detail}")
        if remedy:
            table.add_row("", Text(f"-> {remedy}.", style="bold" if state == FAILED else ""))
    return table


def _not_ok(instance: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for row in instance["layers"]["rows"]:
        if row["state"] != OK:
            yield row["state"], f"{row['layer']} {row['object']}", row["detail"], row["remedy"]
    for row in instance["firewall"]["rows"]:
        if row["state"] in (FAILED, UNKNOWN):
            yield row["state"], f"firewall {row['object']}", row["detail"], row["remedy"]
    failed = {row["layer"] for row in instance["layers"]["rows"] if row["state"] == FAILED}
    for name, read in instance.items():
        if isinstance(read, Mapping) and read["error"] and _TOLD_BY.get(name) not in failed:
            yield read["state"], name.replace("_", " "), read["error"], read.get("remedy", "")
    certificate, run = instance["certificate"], instance["last_run"]
    if certificate["state"] in (FAILED, NOTICE):
        yield certificate["state"], "certificate", _certificate(certificate), certificate["remedy"]
    renewal = instance["renewal"]
    if renewal["state"] == NOTICE:
        yield NOTICE, "renewal", renewal["detail"], renewal["remedy"]
    if run["state"] == NOTICE:
        yield NOTICE, "last run", "was not proven", run["remedy"]


def _glance(instance: Mapping[str, Any], document: Mapping[str, Any]) -> Table:
    now = document["at"]
    texts: dict[str, Callable[[Any], str]] = {
        "edge": _edge,
        "certificate": _certificate,
        "secrets": _secrets,
        "renewal": lambda read: _renewal(read, now),
        "traffic": lambda read: _traffic(read, now),
        "firewall": _firewall,
        "versions": lambda read: _versions(read, document),
        "last_run": lambda read: _last_run(read, now),
    }
    table = _table("", "", "")
    table.show_header = False
    for name, text in texts.items():
        read = instance[name]
        said = "cannot be read, see above" if read["error"] else text(read)
        table.add_row(name.replace("_", " "), _state(read["state"]), said)
    return table


def _layers(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("layer", "object", "state", "detail")
    for row in rows:
        table.add_row(row["layer"], row["object"], _state(row["state"]), row["detail"])
    return table


def _edge(read: Mapping[str, Any]) -> str:
    if read["drained"]:
        return "away from it, because the replica is drained"
    where = f" ({', '.join(read['locations'])})" if read["locations"] else ""
    return f"{read['connections']} of {read['wanted']} connections{where}"


def _certificate(read: Mapping[str, Any]) -> str:
    return (
        f"{_left(read['days_left'])}, until {_moment(read['not_after'])}; "
        f"its CA {_left(read['ca_days_left'])}"
    )


def _secrets(read: Mapping[str, Any]) -> str:
    names = {"token": "tunnel token", "key": "own key", "ca_key": "CA's key"}
    return ", ".join(
        f"{told} {_FORMS.get(read[name], read[name])}" for name, told in names.items() if read[name]
    )


def _renewal(read: Mapping[str, Any], now: str) -> str:
    if not read["wanted"]:
        return "by runs alone (mcp_tunnel_cert_renew_timer is false)"
    due, look = (_moment(read[name]) or "unknown" for name in ("due_at", "next_look_at"))
    last = read["last_success_at"]
    succeeded = f"last success {_moment(last)}{_ago(last, now)}" if last else "no success yet"
    signer = "would sign" if read["would_sign"] else "WOULD NOT SIGN"
    return f"due {due}; the state host {signer}; {succeeded}; next look {look}"


def _left(days: int) -> str:
    return f"{days} d left" if days >= 0 else f"EXPIRED {-days} d ago"


def _traffic(read: Mapping[str, Any], now: str) -> str:
    sums: dict[str, int] = {}
    for statuses in read["routes"].values():
        for status, count in statuses.items():
            sums[status] = sums.get(status, 0) + count
    since = f"since {_moment(read['since'])}{_ago(read['since'], now)}"
    figures = (
        f"{read['requests']} requests{_counts(sums)} {since}; {read['in_flight']} in flight; "
        f"{read['connections_open']} connections open"
    )
    refusals = "; ".join(_refusals(read))
    return f"{figures}\n{refusals}" if refusals else figures


def _refusals(read: Mapping[str, Any]) -> Iterator[str]:
    """Each kind of refusal or failure that has happened: how often, with reasons or routes."""
    found = {
        "connections refused": {"": read["connections_refused"]},
        "handshakes failed": read["handshake_failures"],
        "upstream connects failed": read["connect_failures"],
        "upstreams not allowed": read["validation_refusals"],
        "no route": {"": sum(read["routes"].get("-", {}).values())},
    }
    for what, counts in found.items():
        if total := sum(counts.values()):
            yield f"{what} {total}{_counts({name: n for name, n in counts.items() if name})}"


def _counts(counts: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    return f" ({shown})" if shown else ""


def _firewall(read: Mapping[str, Any]) -> str:
    state = "loaded" if read["loaded"] else "NOT LOADED"
    proven = "on trial" if read["on_trial"] else "proven" if read["proven"] else "not proven"
    total, new = (sum(read[name].values()) for name in ("refused", "refused_since"))
    since = f", {new} since the last run{_counts(read['refused_since'])}" if new else ""
    return f"{state}, {proven}; {total} packets refused{since}"


def _versions(read: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    says = read["cloudflared_running"]
    cloudflared = " ".join(filter(None, (says, f"({_release(read['cloudflared'])})")))
    stale = [
        f"; {name} {_release(current)} is active, but was not started"
        for name, current in document["releases"].items()
        if read[name] and current and current != read[name]
    ]
    return (
        f"cloudflared {cloudflared}, proxy {_release(read['proxy'])}, Python {document['python']}"
        + "".join(stale)
    )


def _release(name: str) -> str:
    """A release's name. That of a binary of the operator's own is a whole SHA-256."""
    if len(name) == _SHA256:
        return f"{name[:_SHOWN_OF_SHA256]}..."
    return name or "unknown"


def _last_run(read: Mapping[str, Any], now: str) -> str:
    began, proven = (
        f"{_moment(read[name])}{_ago(read[name], now)}" if read[name] else "never"
        for name in ("started_at", "proven_at")
    )
    return f"began {began}; {'proven since' if read['proven'] else 'NOT PROVEN, before'} {proven}"


def _ago(then: str, now: str) -> str:
    """The time between two moments of a document, in brackets."""
    if not then:
        return ""
    first, second = (datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ") for text in (then, now))
    return f" ({span((second - first).total_seconds())} ago)"


def _moment(text: str) -> str:
    """A moment as people read it: ``2026-11-29 05:01:12 UTC``."""
    return text.replace("T", " ").replace("Z", " UTC")


def _table(*header: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=bool(header), header_style="dim")
    *first, last = header or ("", "")
    for name in first:
        table.add_column(name, no_wrap=name != "object", overflow="fold")
    table.add_column(last, overflow="fold")
    return table


def _state(state: str) -> Text:
    from rich.text import Text

    return Text(state, style=_STYLES.get(state, ""))


def _line(text: str) -> Text:
    from rich.text import Text

    return Text(text)
