"""The cases that load rules, those that do not, those that undo them, and the state in the end."""

from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    accounts as firewall_accounts,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import rollback_timer
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    state as firewall_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import table as nft_table
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.files import (
    RuleFiles,
    Rules,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.records import (
    FirewallRecords,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd

HOST = 'counter proxy/refused { }\n{}include "/etc/nftables.d/mcp-tunnel.d/*.nft"\n'


UNIT = firewall_state.UNIT
TIMER = f"{firewall_state.COUNTERS}.timer"


def host_rules(text=""):
    return HOST.replace("{}", text)


class Kernel:
    """Take rules, line by line, as nft does: all of them, unless one is ``bad``."""

    def __init__(self):
        self.rules = None
        self.packets = 0
        self.version = "1.0.6"
        self.checks = 0
        self.loads = []

    def check(self, rules):
        self.checks += 1
        if "bad" in rules:
            raise TunnelError("table", "nft refuses the rules", "Mend them")

    def load(self, rules):
        self.check(rules)
        self.loads.append(rules)
        counter, *others = rules.splitlines()
        self.packets = int(counter.split()[4])
        self.rules = others

    def delete(self):
        assert self.rules is not None
        self.rules = None

    def listing(self):
        if self.rules is None:
            return None
        return [
            {"metainfo": {"version": self.version}},
            {"counter": {"name": "proxy/refused", "packets": self.packets, "bytes": 0}},
            *({"rule": {"text": rule}} for rule in self.rules),
        ]


class Systemd:
    """A systemd with the unit that loads the rules at boot, and the timer of their counters."""

    def __init__(self):
        self.units = {}
        self.written_anew = set()
        self.verbs = []

    def show(self, names):
        states = [self.units.get(name, "inactive") for name in names]
        return [
            systemd.Unit(name, active, "", True, name in self.written_anew, True, 0)
            for name, active in zip(names, states)
        ]

    def systemctl(self, verb, *units):
        self.verbs.append(" ".join([verb, *units]))
        if verb == "daemon-reload":
            self.written_anew.clear()
        active = "inactive" if verb in ("stop", "reset-failed") else "active"
        self.units.update(dict.fromkeys(units, active))
        return ""


class Timer:
    """The dead man's switch; ``fire`` does the same as the host when nobody stops it."""

    def __init__(self, machine):
        self.machine = machine
        self.armed = None

    def arm(self, instance, seconds, path):
        assert path == self.machine.files.host_path
        self.armed = (instance, seconds)

    def disarm(self, instance):
        in_time, self.armed = self.armed is not None, None
        return in_time

    def fire(self):
        self.armed = None
        rules = self.machine.files.read()
        if rules.host:
            self.machine.kernel.load(rules.text.replace("{ }", "{ packets 0 }"))
        else:
            self.machine.kernel.delete()


class Machine:
    def __init__(self, directory):
        self.directory = directory
        self.renumbered = []
        self.kernel, self.systemd, self.timer = Kernel(), Systemd(), Timer(self)
        self.files = RuleFiles(directory / "nftables.d", directory / "units")
        self.records = FirewallRecords(directory / "records")
        self.firewall = firewall_state.Firewall(self.files, self.records)

    def load(self, rules="rule\n", host="", instance="default", trial=0):
        return firewall_state.load(self.firewall, instance, host_rules(host), rules, trial)

    def predict(self, rules="rule\n", host="", trial=0):
        return firewall_state.predict(self.firewall, "default", host_rules(host), rules, trial)

    def confirm(self):
        return firewall_state.confirm(self.firewall, "default")

    def remember(self, instance="default"):
        return firewall_state.remember(self.firewall, instance)

    def restore(self, check_mode=False):
        return firewall_state.restore(self.firewall, "default", check_mode)

    def remove(self, instance="default", check_mode=False):
        return firewall_state.remove(self.firewall, instance, check_mode)

    def everything(self):
        return {
            str(path.relative_to(self.directory)): path.read_bytes() if path.is_file() else None
            for path in self.directory.rglob("*")
        }


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    for module, fake in (
        (nft_table, machine.kernel),
        (systemd, machine.systemd),
        (rollback_timer, machine.timer),
    ):
        names = [name for name in vars(type(fake)) if not name.startswith("_") and name != "fire"]
        for name in names:
            monkeypatch.setattr(module, name, getattr(fake, name))
    monkeypatch.setattr(firewall_state, "SERVICE_USERS", ("root",))
    monkeypatch.setattr(firewall_accounts, "changed", lambda _: machine.renumbered)
    return machine


@pytest.fixture
def deployed(machine):
    machine.load()
    machine.remember()
    machine.kernel.loads.clear()
    machine.systemd.verbs.clear()
    return machine


def test_first_deployment(machine):
    result = machine.load()
    assert (result["changed"], result["armed"], result["proven"]) == (True, False, False)
    assert machine.kernel.rules == ["rule"]
    assert machine.files.read() == Rules(host_rules(), {"default": "rule\n"})
    assert machine.systemd.units == {UNIT: "active", TIMER: "active"}
    assert machine.systemd.verbs[:2] == ["daemon-reload", f"start {UNIT}"]
    assert [item["after"] for item in result["diff"]] == [host_rules(), "rule\n"]


def test_nothing_to_do(deployed):
    result = deployed.load()
    assert result == {
        "changed": False, "actions": [], "proven": True, "armed": False, "diff": [],
    }  # fmt: skip
    assert deployed.kernel.loads == []
    assert deployed.systemd.verbs == []


def test_units_that_a_killed_run_has_written(deployed):
    deployed.systemd.written_anew = {UNIT}
    assert not deployed.load()["changed"]
    assert deployed.systemd.verbs == ["daemon-reload"]
    deployed.systemd.written_anew = {TIMER}
    assert deployed.load()["changed"]
    assert deployed.systemd.verbs[1:] == ["daemon-reload", f"restart {TIMER}"]


@pytest.mark.parametrize("change", [{"rules": "other\n"}, {"host": "other\n"}])
def test_changed_rules_are_loaded_and_have_to_be_proven(deployed, change):
    result = deployed.load(**change)
    assert (result["changed"], result["proven"]) == (True, False)
    assert "other" in deployed.kernel.rules
    assert len(result["diff"]) == 1
    assert not deployed.load(**change)["changed"]
    deployed.remember()
    assert deployed.load(**change)["proven"]


def test_refused_rules_change_nothing(deployed):
    before = deployed.everything()
    with pytest.raises(TunnelError, match="nft refuses the rules"):
        deployed.load("bad\n")
    after = deployed.everything()
    before.pop("records/counters-default.json"), after.pop("records/counters-default.json")
    assert after == before
    assert deployed.kernel.loads == []


def test_a_rule_that_somebody_removed_comes_back(deployed):
    deployed.kernel.rules = []
    assert deployed.predict()["changed"]
    assert deployed.load()["actions"] == ["rules loaded: the kernel has others than were loaded"]
    assert deployed.kernel.rules == ["rule"]


def test_a_table_that_somebody_removed_comes_back(deployed):
    deployed.kernel.rules = None
    assert deployed.load()["actions"] == ["rules loaded: the kernel has none"]


def test_a_file_that_somebody_changed_is_put_right(deployed):
    deployed.files.host_path.write_text("mine\n")
    assert deployed.load()["changed"]
    assert deployed.files.read().host == host_rules()


def test_an_account_with_another_number_has_the_rules_loaded(deployed):
    deployed.renumbered = ["mcp-proxy is user 5 on this host, and 7 in the rules"]
    reason = f"rules loaded: {deployed.renumbered[0]}"
    assert deployed.predict()["actions"] == [reason]
    assert not deployed.kernel.loads
    assert deployed.load()["actions"] == [reason]
    assert len(deployed.kernel.loads) == 1
    deployed.renumbered = []
    assert not deployed.load()["changed"]


def test_a_boot_is_no_change(deployed):
    deployed.kernel.rules, deployed.kernel.packets = None, 0
    deployed.timer.fire()  # the unit does the same
    assert not deployed.load()["changed"]


def test_another_nft_may_describe_the_same_rules_otherwise(deployed):
    deployed.kernel.version = "1.1.3"
    assert deployed.load()["changed"]
    assert not deployed.load()["changed"]


def test_counters_go_on(deployed):
    deployed.kernel.packets = 7
    deployed.load("other\n")
    assert deployed.kernel.packets == 7


def test_the_unit_is_started_again(deployed):
    deployed.systemd.units[UNIT] = "failed"
    assert deployed.load()["actions"] == [f"{UNIT} started: it was failed"]
    assert deployed.systemd.verbs == ["daemon-reload", f"reset-failed {UNIT}", f"start {UNIT}"]


def test_the_timer_is_started_again(deployed):
    deployed.systemd.units[TIMER] = "inactive"
    assert deployed.predict()["changed"]
    assert deployed.load()["actions"] == [f"{TIMER} started: it was inactive"]
    assert not deployed.load()["changed"]


def test_instances_share_the_table(deployed):
    deployed.load("second\n", instance="lab")
    assert deployed.kernel.rules == ["rule", "second"]
    assert not deployed.load()["changed"]


def test_the_looks_at_the_counters(machine):
    machine.load()
    for packets in (3, 5):
        machine.kernel.packets = packets
        machine.load()
        machine.load(instance="lab")
    looks = machine.records.looks("default")
    assert looks["before"]["totals"] == {"proxy/refused": [3, 0]}
    assert looks["last"]["totals"] == {"proxy/refused": [5, 0]}


@pytest.mark.parametrize("rules", ["rule\n", "other\n"])
def test_check_mode_predicts_and_does_nothing(deployed, rules):
    before = deployed.everything()
    predicted = deployed.predict(rules)
    assert deployed.everything() == before
    assert deployed.kernel.loads == []
    done = deployed.load(rules)
    assert {**predicted, "actions": done["actions"]} == done


def test_check_mode_lets_nft_judge(deployed):
    with pytest.raises(TunnelError, match="nft refuses the rules"):
        deployed.predict("bad\n")


def test_check_mode_on_a_bare_host(machine, monkeypatch):
    monkeypatch.setattr(firewall_state, "SERVICE_USERS", ("no-such-user",))
    assert machine.predict("rule for no-such-user: bad\n")["changed"]
    assert machine.kernel.checks == 0
    assert machine.everything() == {}


def test_rules_on_trial_are_not_on_disk(deployed):
    result = deployed.load("other\n", trial=30)
    assert (result["changed"], result["armed"]) == (True, True)
    assert deployed.timer.armed == ("default", 30)
    assert deployed.kernel.rules == ["other"]
    assert deployed.files.read().instances == {"default": "rule\n"}


def test_a_trial_that_is_confirmed(deployed):
    deployed.kernel.packets = 7
    deployed.load("other\n", trial=30)
    assert deployed.confirm()["changed"]
    assert deployed.timer.armed is None
    assert deployed.files.read().instances == {"default": "other\n"}
    assert deployed.kernel.packets == 7
    assert not deployed.load("other\n", trial=30)["changed"]
    assert not deployed.confirm()["changed"]


def test_a_trial_that_failed(deployed):
    deployed.load("other\n", trial=30)
    deployed.timer.fire()
    assert deployed.kernel.rules == ["rule"]
    with pytest.raises(TunnelError, match="did not connect in time"):
        deployed.confirm()
    assert deployed.files.read().instances == {"default": "rule\n"}
    assert not deployed.load()["changed"]


def test_a_first_trial_that_failed_leaves_no_table(machine):
    machine.load(trial=30)
    machine.timer.fire()
    assert machine.kernel.rules is None
    assert machine.files.read() == Rules()


def test_a_trial_that_was_abandoned_is_ended_by_the_next_run(deployed):
    deployed.load("other\n", trial=30)
    deployed.load("another\n")
    assert deployed.timer.armed is None
    assert deployed.kernel.rules == ["another"]
    assert not deployed.confirm()["changed"]


def test_nothing_new_needs_no_trial(deployed):
    assert not deployed.load(trial=30)["armed"]
    assert deployed.timer.armed is None


def test_refused_rules_arm_nothing(deployed):
    with pytest.raises(TunnelError):
        deployed.load("bad\n", trial=30)
    assert deployed.timer.armed is None
    assert not deployed.confirm()["changed"]


def test_put_back(deployed):
    deployed.load("other\n", host="more\n")
    assert deployed.restore(check_mode=True)["changed"]
    assert deployed.kernel.rules == ["more", "other"]
    result = deployed.restore()
    assert (result["changed"], result["restored"]) == (True, True)
    assert deployed.kernel.rules == ["rule"]
    assert deployed.load()["proven"]
    assert not deployed.restore()["changed"]


def test_put_back_from_a_trial(deployed):
    deployed.load("other\n", trial=30)
    assert deployed.restore()["changed"]
    assert deployed.timer.armed is None
    assert deployed.kernel.rules == ["rule"]
    assert not deployed.confirm()["changed"]


def test_nothing_to_put_back_before_anything_was_good(machine):
    machine.load()
    result = machine.restore()
    assert (result["changed"], result["restored"]) == (False, False)
    assert machine.kernel.rules == ["rule"]


def test_a_first_trial_is_taken_back(machine):
    machine.load(trial=30)
    machine.restore()
    assert machine.kernel.rules is None
    assert machine.timer.armed is None


def test_each_instance_has_its_own_good_rules(deployed):
    deployed.load("second\n", instance="lab")
    deployed.remember("lab")
    deployed.load("third\n", instance="lab")
    deployed.load("other\n")
    deployed.restore()
    assert deployed.kernel.rules == ["rule", "third"]


def test_one_instance_of_two_goes(deployed):
    deployed.load("second\n", instance="lab")
    deployed.remember("lab")
    result = deployed.remove("lab")
    assert (result["changed"], result["last"]) == (True, False)
    assert deployed.kernel.rules == ["rule"]
    assert deployed.systemd.units == {UNIT: "active", TIMER: "active"}
    assert set(deployed.records.good().instances) == {"default"}
    assert not [path for path in deployed.everything() if "lab" in path]
    assert not deployed.load()["changed"]
    assert not deployed.remove("lab")["changed"]


def test_the_last_instance_takes_everything_with_it(deployed):
    assert deployed.remove(check_mode=True)["changed"]
    assert deployed.kernel.rules == ["rule"]
    result = deployed.remove()
    assert (result["changed"], result["last"]) == (True, True)
    assert deployed.kernel.rules is None
    assert set(deployed.systemd.units.values()) == {"inactive"}
    assert deployed.systemd.verbs[-1] == "daemon-reload"
    assert deployed.everything() == {}
    assert not deployed.remove()["changed"]


@pytest.mark.parametrize("left", ["table", "records", "unit"])
def test_an_interrupted_removal_is_completed(deployed, left):
    rules = deployed.kernel.rules
    deployed.remove()
    if left == "table":
        deployed.kernel.rules = rules
    elif left == "records":
        (deployed.directory / "records").mkdir()
    else:
        deployed.systemd.units[UNIT] = "active"
    assert deployed.remove()["changed"]
    assert not deployed.remove()["changed"]


def test_records_are_for_root_only(deployed):
    directory = deployed.directory / "records"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
