# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's firewall: loads its rules, keeps them loaded, and can take them back."""

from __future__ import annotations

import contextlib
import pwd
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    accounts as firewall_accounts,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    listing as nft_listing,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import rollback_timer
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.files import (
    CONNECTIONS,
    COUNTERS,
    UNIT,
    RuleFiles,
    Rules,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.records import (
    FirewallRecords,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd, timer_state

SERVICE_USERS = ("mcp-proxy", "mcp-cloudflared", "mcp-tunnel-renew")


@dataclass(frozen=True)
class Firewall:
    """The places of this host's rules and of the records about them."""

    files: RuleFiles = field(default_factory=RuleFiles)
    records: FirewallRecords = field(default_factory=FirewallRecords)


def load(
    firewall: Firewall, instance: str, host: str, rules: str, rollback_timeout: int
) -> dict[str, Any]:
    """Makes the kernel and the disk hold these rules; returns the module's result.

    With *rollback_timeout* (seconds, 0: none) new rules stay on trial: they are not on disk, and
    are taken back when that time is over, until :func:`confirm` is called.

    :raises TunnelError: if nft or the kernel refuse them; the earlier rules are still in force.
    """
    files, records = firewall.files, firewall.records
    with records.locked():
        listing = nft_table.listing()
        records.look(instance, nft_listing.counters(listing))
        found = files.read()
        wanted = found.with_instance(host, instance, rules)
        reasons = _reasons(firewall, found, wanted, listing)
        if reasons:
            nft_table.check(wanted.text)
        if reasons and rollback_timeout:
            records.store_trial(instance, host, rules)
            rollback_timer.arm(instance, rollback_timeout, files.host_path)
            nft_table.load(nft_listing.continued(wanted.text, nft_listing.counters(listing)))
            actions = [f"rules on trial for {rollback_timeout} seconds: {', '.join(reasons)}"]
        else:
            # An earlier run may have ended in the middle of a trial.
            _end_trial(firewall, instance)
            actions = _put_in_force(firewall, found, wanted, listing, reasons)
        return {
            **_prediction(firewall, instance, found, wanted, actions),
            "armed": bool(reasons and rollback_timeout),
        }


def predict(
    firewall: Firewall, instance: str, host: str, rules: str, rollback_timeout: int
) -> dict[str, Any]:
    """The result that :func:`load` would have."""
    found = firewall.files.read()
    wanted = found.with_instance(host, instance, rules)
    reasons = _reasons(firewall, found, wanted, nft_table.listing())
    # On a host without any deployment yet, nft knows neither user.
    if reasons and all(_exists(user) for user in SERVICE_USERS):
        nft_table.check(wanted.text)
    actions = [f"rules loaded: {', '.join(reasons)}"] if reasons else []
    actions += _unit_actions(systemd.show([UNIT])[0])
    actions += _ensure_timer(True, check_mode=True)
    return {
        **_prediction(firewall, instance, found, wanted, actions),
        "armed": bool(reasons and rollback_timeout),
    }


def confirm(firewall: Firewall, instance: str) -> dict[str, Any]:
    """Keeps the rules that are on trial: a new connection reached the host.

    :raises TunnelError: if they have been taken back already.
    """
    files, records = firewall.files, firewall.records
    with records.locked():
        trial = records.on_trial(instance)
        if not trial:
            return {"changed": False, "actions": []}
        records.end_trial(instance)
        if not rollback_timer.disarm(instance):
            raise TunnelError(
                "firewall",
                "its new rules were taken back, because the controller did not connect in time",
                "See that firewall_ssh_sources has the address that it connects from, and "
                "firewall_ssh_ports the port; if they have, raise firewall_rollback_timeout",
            )
        found = files.read()
        wanted = found.with_instance(trial["host"], instance, trial["instance"])
        listing = nft_table.listing()
        # Loaded once more, as another instance's may have come meanwhile.
        return {
            "changed": True,
            "actions": _put_in_force(firewall, found, wanted, listing, ["they were confirmed"]),
        }


def remember(firewall: Firewall, instance: str) -> dict[str, Any]:
    """Keeps the rules of the host and the instance as good: the replica was proven with them."""
    with firewall.records.locked():
        rules = firewall.files.read()
        good = firewall.records.good()
        wanted = good.with_instance(rules.host, instance, rules.instances.get(instance, ""))
        if wanted != good:
            firewall.records.store_good(wanted)
    return {"changed": False, "actions": []}


def restore(firewall: Firewall, instance: str, check_mode: bool) -> dict[str, Any]:
    """Puts back the rules that were last proven good.

    :raises TunnelError: if nft or the kernel refuse them.
    """
    with _locked(firewall, check_mode):
        found, good = firewall.files.read(), firewall.records.good()
        restored = instance in good.instances
        wanted = found
        if restored:
            wanted = found.with_instance(good.host, instance, good.instances[instance])
        listing = nft_table.listing()
        reasons = _reasons(firewall, found, wanted, listing) if wanted.host else []
        actions = [f"rules loaded: {', '.join(reasons)}"] if reasons else []
        if not check_mode:
            on_trial = _end_trial(firewall, instance)
            if wanted.host:
                actions = _put_in_force(firewall, found, wanted, listing, reasons)
            elif on_trial and listing is not None:
                nft_table.delete()
                actions = ["rules on trial removed"]
    return {"changed": bool(actions), "actions": actions, "restored": restored}


def remove(firewall: Firewall, instance: str, check_mode: bool) -> dict[str, Any]:
    """Removes the rules of an instance; with the last instance, removes everything."""
    if not _traces(firewall):
        return {"changed": False, "actions": [], "last": True}
    with _locked(firewall, check_mode):
        found = firewall.files.read()
        wanted = found.without_instance(instance)
        last = not wanted.instances
        changed = last or wanted != found
        if changed and not check_mode:
            _end_trial(firewall, instance)
            if last:
                _remove_all(firewall)
            else:
                firewall.records.forget(instance)
                listing = nft_table.listing()
                _put_in_force(firewall, found, wanted, listing, ["an instance is removed"])
    return {"changed": changed, "actions": ["rules removed"] if changed else [], "last": last}


def _locked(firewall: Firewall, check_mode: bool) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if check_mode else firewall.records.locked()


def _traces(firewall: Firewall) -> bool:
    """Whether the host has any trace of the firewall."""
    on_disk = firewall.files.exist() or firewall.records.exist()
    return on_disk or nft_table.listing() is not None or systemd.show([UNIT])[0].running


def _end_trial(firewall: Firewall, instance: str) -> bool:
    """Stops the dead man's switch and forgets the trial; returns whether there was one."""
    if not firewall.records.on_trial(instance):
        return False
    firewall.records.end_trial(instance)
    rollback_timer.disarm(instance)
    return True


def _remove_all(firewall: Firewall) -> None:
    _ensure_timer(False, check_mode=False)
    unit = systemd.show([UNIT])[0]
    if unit.running:
        systemd.systemctl("stop", unit.name)
    if unit.active == "failed":
        systemd.systemctl("reset-failed", unit.name)
    if nft_table.listing() is not None:
        nft_table.delete()
    firewall.files.remove()
    systemd.systemctl("daemon-reload")
    # Last, so that the next run completes an interrupted one.
    firewall.records.remove()


def _reasons(
    firewall: Firewall, found: Rules, wanted: Rules, listing: nft_table.Listing | None
) -> list[str]:
    """Why the rules have to be loaded; empty if they need not be."""
    reasons = []
    if found.host != wanted.host:
        reasons.append(f"{firewall.files.host_path} changed")
    for name in sorted(wanted.instances):
        if found.instances.get(name) != wanted.instances[name]:
            reasons.append(f"{firewall.files.instance_path(name)} changed")
    if not reasons and listing is None:
        reasons.append("the kernel has none")
    elif not reasons and not firewall.records.describe(wanted, listing):
        reasons.append("the kernel has others than were loaded")
    elif not reasons and listing is not None:
        reasons += firewall_accounts.changed(listing)
    return reasons


def _put_in_force(
    firewall: Firewall,
    found: Rules,
    wanted: Rules,
    listing: nft_table.Listing | None,
    reasons: list[str],
) -> list[str]:
    """Loads the rules if there are *reasons* to, keeps them on disk, and has the unit run."""
    actions = []
    if reasons:
        nft_table.load(nft_listing.continued(wanted.text, nft_listing.counters(listing)))
        actions.append(f"rules loaded: {', '.join(reasons)}")
    if wanted != found:
        firewall.files.write(wanted)
    unit = systemd.show([UNIT])[0]
    actions += _unit_actions(unit)
    if unit.needs_reload or not unit.running:
        systemd.systemctl("daemon-reload")
    if not unit.running:
        if unit.active == "failed":
            systemd.systemctl("reset-failed", UNIT)
        systemd.systemctl("start", UNIT)
    actions += _ensure_timer(True, check_mode=False)
    if actions:
        firewall.records.store_loaded(wanted, nft_table.listing() or [])
    return actions


def _unit_actions(unit: systemd.Unit) -> list[str]:
    return [] if unit.running else [f"{UNIT} started: it was {unit.active or 'not there'}"]


def _prediction(
    firewall: Firewall, instance: str, found: Rules, wanted: Rules, actions: list[str]
) -> dict[str, Any]:
    good = firewall.records.good()
    files = firewall.files
    pairs = [
        (files.host_path, found.host, wanted.host),
        (
            files.instance_path(instance),
            found.instances.get(instance, ""),
            wanted.instances[instance],
        ),
    ]
    return {
        "changed": bool(actions),
        "actions": actions,
        "proven": (good.host, good.instances.get(instance))
        == (wanted.host, wanted.instances[instance]),
        "diff": [
            {"before_header": str(path), "after_header": str(path), "before": old, "after": new}
            for path, old, new in pairs
            if old != new
        ],
    }


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _ensure_timer(wanted: bool, check_mode: bool) -> list[str]:
    """Starts or stops the timer of the two services that copy what the proxies' metrics need."""
    return timer_state.ensure(COUNTERS, wanted, check_mode, (CONNECTIONS,))
