"""Each call of a provisioning run, with each fault, in first runs, re-runs and rotations."""

from __future__ import annotations

import itertools

import pytest

from contract.site import Run, Site, check_nothing_left
from lab.tunnels_api.faults import FAULTS, STATUSES

# The calls of each kind of run, in its order.
RUNS = {
    "first run": (
        *("exchange", "list", "create", "reveal_token"),
        *("list_certificates", "add_certificate"),
    ),
    "re-run": ("exchange", "get", "reveal_token", "list_certificates"),
    "rotation": (
        *("exchange", "get", "reveal_token", "rotate_token"),
        *("list_certificates", "add_certificate", "archive_certificate"),
    ),
}
# Calls that are not repeated blindly: after a lost answer, their effect is looked for.
LOOKED_FOR = {
    "create": "list",
    "add_certificate": "list_certificates",
    "rotate_token": "reveal_token",
}
# The call has its effect, and the answer does not arrive whole.
LOST_AFTER = ("reset_after", "timeout_after", "truncated")
FOR_EVER = 1000
# A refused call has no effect, and is repeated.
REPEATED = ("429", "slow")


def is_met_again(run: str, call: str) -> bool:
    """Whether another kind of run, of those before, makes the same call."""
    before = itertools.takewhile(lambda other: other != run, RUNS)
    return any(call in RUNS[other] for other in before)


# Of a call that is met again, an answer that is lost is the fault that depends on the run.
MATRIX = [
    pytest.param(
        *(run, call, fault),
        marks=pytest.mark.exhaustive if is_met_again(run, call) and fault not in LOST_AFTER else (),
    )
    for run, calls in RUNS.items()
    for call in calls
    for fault in sorted(FAULTS)
]


def is_given_up(call: str, fault: str) -> bool:
    """Whether the fault fails a run: a creation without an effect so far may have it later."""
    return call == "create" and fault not in (*REPEATED, *LOST_AFTER)


def act(site: Site, run: str) -> Run:
    return site.rotate() if run == "rotation" else site.provision()


@pytest.fixture
def prepare(site, provisioned):
    """Bring the site to the point where a run of that kind begins."""

    def prepare(run):
        if run != "first run":
            site.begin_with(provisioned)

    return prepare


@pytest.fixture
def put(site, hurry):
    """Puts a fault in the way of the next calls of that name."""

    def put(call, fault, times=1):
        options = {"429": {"retry_after": 1}, "slow": {"seconds": 0.05}}.get(fault, {})
        site.api.ask("fault", call=call, fault=fault, times=times, **options)
        if fault.startswith("timeout"):
            hurry.silent[call] = times

    return put


@pytest.fixture
def clear(site, hurry):
    """Takes all faults away."""

    def clear():
        site.api.ask("clear-faults")
        hurry.silent.clear()

    return clear


def check_effects(site: Site, run: str) -> None:
    """No effect happened twice, even if calls had to be repeated."""
    [tunnel] = site.api.directory.store.read()["tunnels"]
    rotated = run == "rotation"
    assert len(tunnel["rotations"]) == rotated
    assert len(tunnel["certificates"]) == 1 + rotated


@pytest.mark.parametrize(("run", "call", "fault"), MATRIX)
def test_one_fault_is_survived(site, prepare, put, hurry, run, call, fault):
    prepare(run)
    hurry.pauses.clear()
    put(call, fault)
    done = act(site, run)
    assert site.api.ask("faults") == []
    if is_given_up(call, fault):
        check_told(done, call, fault)
        assert done.calls.count(call) == 1
        assert site.api.directory.store.read()["tunnels"] == []
        done = act(site, run)
    assert not done.failed, done.message
    if fault == "429":
        assert any(1 <= pause <= 1.25 for pause in hurry.pauses), "retry-after was not honoured"
    check_effects(site, run)
    check_nothing_left(site)


@pytest.mark.parametrize(("run", "call", "fault"), MATRIX)
def test_a_fault_that_stays_is_told_and_the_next_run_completes(
    site, prepare, put, clear, run, call, fault
):
    prepare(run)
    put(call, fault, FOR_EVER)
    done = act(site, run)
    if fault == "slow" or (call in LOOKED_FOR and fault in LOST_AFTER):
        assert not done.failed, done.message
    else:
        check_told(done, call, fault)
        clear()
        put(call, fault)  # the re-run meets it, too
        again = act(site, run)
        if is_given_up(call, fault):
            check_told(again, call, fault)
            again = act(site, run)
        assert not again.failed, again.message
    clear()
    check_effects(site, run)
    check_nothing_left(site)


# The step that was under way, as a message names it.
DOING = {
    "exchange": "token exchange: ",
    "list": "tunnels: ",
    "create": "creating the tunnel 'mcp-tunnel-",
    "get": "tunnel tnl_",
    "reveal_token": "revealing the token of the tunnel tnl_",
    "rotate_token": "rotating the token of the tunnel tnl_",
    "list_certificates": "CA certificates of the tunnel tnl_",
    "add_certificate": "registering the CA on the tunnel tnl_",
    "archive_certificate": "archiving the CA certificate tcrt_",
}
SAID = {
    **{status: f"the API answered {status} " for status in STATUSES},
    **{
        f"reset_{when}": "did not answer (the connection was closed)"
        for when in ("before", "after")
    },
    **{f"timeout_{when}": "did not answer (no answer in time)" for when in ("before", "after")},
    "truncated": "not a whole JSON object",
}


def check_told(done: Run, call: str, fault: str) -> None:
    assert done.failed
    assert done.message.startswith(DOING[call])
    assert SAID[fault] in done.message
    assert ("request-id req_" in done.message) == (fault in STATUSES or fault == "truncated")
    unknown = call in LOOKED_FOR and fault != "429"
    assert ("whether it took effect is not known. Run again" in done.message) == unknown
    assert "Traceback" not in done.outcomes[-1].everything


@pytest.mark.parametrize(("call", "fault"), list(itertools.product(LOOKED_FOR, LOST_AFTER)))
def test_an_effect_that_could_not_be_looked_for_is_found_by_the_next_run(
    site, prepare, put, clear, call, fault
):
    run = "rotation" if call == "rotate_token" else "first run"
    prepare(run)
    put(LOOKED_FOR[call], "slow")  # the look before the call
    put(LOOKED_FOR[call], "500", FOR_EVER)
    put(call, fault)
    done = act(site, run)
    assert done.failed
    clear()
    done = act(site, run)
    assert not done.failed, done.message
    check_effects(site, run)
    check_nothing_left(site)
