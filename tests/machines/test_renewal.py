"""The clock of each machine moves on by 70 days: the timer renews, without a run or a restart."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.machines.deployed import CONNECTOR, PROXY, Deployed

pytestmark = pytest.mark.exhaustive

_RENEWAL = "mcp-tunnel-renew-cert@default"
_CERTIFICATE = "/etc/mcp-tunnel/default/tls/tls.crt"
_STORED = f"openssl x509 -in {_CERTIFICATE}"
_SERVICES = f"systemctl show --property=MainPID,NRestarts {PROXY} {CONNECTOR}"
_TRIGGERED = f"systemctl show --value --property=LastTriggerUSec {_RENEWAL}.timer"

#: Replicas look at times of their own, up to six hours after midnight. Each time that the clock is
#: set, systemd draws the delay anew, and a test cannot wait that long.
_AT_ONCE = f"""
mkdir -p /run/systemd/system/{_RENEWAL}.timer.d
printf '[Timer]\\nRandomizedDelaySec=0\\n' >/run/systemd/system/{_RENEWAL}.timer.d/test.conf
systemctl daemon-reload
"""
_BACK = f"""
date --set @$(cat /sys/class/rtc/rtc0/since_epoch)
rm -rf /run/systemd/system/{_RENEWAL}.timer.d
systemctl daemon-reload
"""

#: The ends of the certificates that the proxy has in use, by its own metric: a client in the
#: present, where the edge is, would not take one from the future.
_ENDS_IN_USE = r"""
import re, urllib.request
page = urllib.request.urlopen("http://127.0.0.1:8081/metrics").read().decode()
name = "mcp_proxy_certificate_expiry_timestamp_seconds"
print(*(round(float(end)) for end in re.findall(rf"(?m)^{name}(?:{{.*}})? (\S+)$", page)))
"""
_END = f'date --date "$({_STORED} -noout -enddate | cut -d= -f2)" +%s'


def _is_in_use(deployed: Deployed, host: str) -> bool:
    ends = deployed.python(host, _ENDS_IN_USE).split()
    return deployed.root(host, _END) in ends


def _renewed_by_its_timer(deployed: Deployed, host: str) -> None:
    old, triggered = deployed.root(host, _STORED), deployed.root(host, _TRIGGERED)
    deployed.root(host, _AT_ONCE)
    assert _is_in_use(deployed, host)
    deployed.root(host, "date --set '70 days'")
    _await(lambda: deployed.root(host, _STORED) != old, f"{host} has not renewed")
    deployed.root(host, f"{_STORED} -noout -checkend {89 * 24 * 3600}")
    assert deployed.root(host, _TRIGGERED) != triggered
    said = f"journalctl --unit={_RENEWAL}.service --output=cat"
    because = "renewed, because it ends on "
    _await(lambda: because in deployed.root(host, said), f"{host} has not said why")
    _await(lambda: _is_in_use(deployed, host), f"the proxy of {host} has another certificate")


def _await(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 600
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(1)


def test_after_seventy_days_each_timer_has_renewed_and_nothing_was_restarted(
    deployed: Deployed,
) -> None:
    deployed.play("-e", "mcp_tunnel_cert_renew_timer=true")
    services = {host: deployed.root(host, _SERVICES) for host in deployed.hosts}
    try:
        # The state host is the first: it has to be there in time to sign for the other.
        for host in deployed.hosts:
            _renewed_by_its_timer(deployed, host)
        assert {host: deployed.root(host, _SERVICES) for host in deployed.hosts} == services
    finally:
        for host in deployed.hosts:
            deployed.root(host, _BACK)
        # A certificate from the future is none today: the next run makes another.
        deployed.play()
    assert {host: deployed.root(host, _SERVICES) for host in deployed.hosts} == services
    for host in deployed.hosts:
        deployed.lab("edge", "pin", host)
        deployed.call(f"in the present, by way of {host}")
    deployed.lab("edge", "unpin")
