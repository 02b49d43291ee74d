"""The size of a report, and whether a CA has to be registered."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import report
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options

PEM = "x" * 1200


def made(tunnels, replicas):
    """Return a report of that many tunnels; the last one has stopped."""
    names = [f"replica-{number:04}.sub.domain.example.com" for number in range(replicas)]
    each = {
        f"instance-{number}": report.Tunnel(
            status=report.STOPPED if number == tunnels - 1 else report.DONE,
            why=["y" * 300] * 20,
            healthy=names,
            ca={"fingerprint": "f", "certificate": PEM, "registration": "to do"},
        )
        for number in range(tunnels)
    }
    return report.make("deploy", False, each)


def test_its_name_is_no_variable():
    assert report.NAME not in {*role_options.defaults(), *role_options.options()}


@pytest.mark.parametrize(
    ("tunnels", "replicas", "cut"),
    [
        (1, 1, []),
        (10, 100, []),
        (1, 1000, []),
        (70, 2, ["certificates"]),
        (40, 1000, ["certificates", "names"]),
        (1000, 25, ["certificates", "names", "tunnels"]),
    ],
)
def test_it_is_bounded(tunnels, replicas, cut):
    found = report.bounded(made(tunnels, replicas))
    assert found["cut"] == cut
    assert len(json.dumps(found)) <= 512 * 1024
    last = found["tunnels"][f"instance-{tunnels - 1}"]
    assert last["status"] == found["status"] == "stopped"
    assert last["ca"]["fingerprint"] == "f"
    assert len(last["healthy"]) == (10 if "names" in cut else replicas)
    assert (len(found["tunnels"]) < tunnels) == ("tunnels" in cut)


@pytest.mark.parametrize(
    ("mode", "found", "registration"),
    [
        ("manual", {"changed": True, "certificate": PEM}, "to do"),
        ("manual", {"changed": False, "certificate": PEM}, "unknown"),
        ("manual", {}, "unknown"),
        ("wif", {"changed": True, "certificate": PEM, "certificate_id": "tcrt_1"}, "done"),
        ("wif", {"changed": True, "certificate": "", "certificate_id": ""}, "unknown"),
    ],
)
def test_a_ca(mode, found, registration):
    told = report.ca(mode, found, "ab")
    assert told["registration"] == registration
    assert told["fingerprint"] == "ab"
    assert told["certificate"] == (found.get("certificate", "") if mode == "manual" else "")
