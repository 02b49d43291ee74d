"""Deletes each rule of the deployed table in turn: the matrix has to notice every one.

Each run of the matrix deletes one rule on every host, a different one on each. Where a host sends
to another one, only the sender's counters count, as the other lacks a rule, too. A rule by which
the state host lets the others in has a run of its own. Prints which cells turn red; exit status 1
if no cell shows a rule's loss.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from typing import NamedTuple

from places import Agent, Unreachable
from replicas import HOSTS, LAB
from runs import RELOAD, Runs

_TABLE = ("inet", "mcp_tunnel")
_SHOWN = 3
#: Its rules let other hosts in, so the cells of those turn red.
_FOR_OTHERS = "host_input_instances"


class Rule(NamedTuple):
    """A rule: its chain, its text, and how many rules of the same text stand before it."""

    chain: str
    text: str
    number: int

    def __str__(self) -> str:
        return f"{self.chain}: {self.text}"


def _rules(agent: Agent) -> dict[Rule, int]:
    """Return all rules of a host's table with their handles, in their order."""
    listing = agent.run("nft", "--handle", "--stateless", "--guid", "list", "table", *_TABLE)
    found: dict[Rule, int] = {}
    chain = ""
    for line in listing.splitlines():
        text, _, handle = line.strip().partition(" # handle ")
        if begins := re.match(r"chain (\S+) {", text):
            chain = begins[1]
        elif text == "}":
            chain = ""
        elif chain and handle:
            number = sum((rule.chain, rule.text) == (chain, text) for rule in found)
            found[Rule(chain, text, number)] = int(handle)
    return found


def _load(agent: Agent, without: Rule | None = None) -> None:
    """Load the deployed rules, all or all but one."""
    agent.run(*RELOAD)
    if without:
        handle = _rules(agent)[without]
        agent.run("nft", "delete", "rule", *_TABLE, without.chain, "handle", str(handle))


def _shared_out(left: dict[Rule, list[str]]) -> dict[str, Rule]:
    """Return the rule that each host lacks next; rules that few hosts have come first."""
    run: dict[str, Rule] = {}
    for host in HOSTS:
        own = [rule for rule, hosts in left.items() if host in hosts and rule not in run.values()]
        if own:
            run[host] = min(own, key=lambda rule: len(left[rule]))
        if own and run[host].chain == _FOR_OTHERS:
            return {host: run[host]}
    return run


def _red(runs: Runs, policy: str, deleted: dict[str, Rule]) -> dict[str, list[str]]:
    lets_in = [host for host, rule in deleted.items() if rule.chain == _FOR_OTHERS]
    try:
        if lets_in:
            verdicts = runs.run(policy)
            return {lets_in[0]: [line for each in verdicts.values() for line in each.red()]}
        verdicts = runs.run(policy, tuple(deleted))
    except Unreachable as error:
        # This says nothing about the rules that the other hosts lack.
        host = str(error).partition(":")[0]
        runs.renew(host)
        return {host: [str(error)]}
    addresses = {entry["name"]: (entry["address"], entry["address6"]) for entry in LAB["hosts"]}
    return {
        host: verdict.red({each for other in deleted if other != host for each in addresses[other]})
        for host, verdict in verdicts.items()
    }


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("policy", choices=("none", "strict"))
    parser.add_argument("--only", default="", help="rules of whose text this is a part")
    arguments = parser.parse_args()
    began = time.monotonic()
    survivors = []
    with Runs(HOSTS) as runs:
        agents = runs.agents
        # Rule -> the hosts where it was not deleted yet. It may matter only on one, the state host.
        left: dict[Rule, list[str]] = {}
        for host in HOSTS:
            for rule in _rules(agents[host]):
                if arguments.only in str(rule):
                    left.setdefault(rule, []).append(host)
        count = len(left)
        try:
            for host in HOSTS:
                _load(agents[host])
            sound = [line for v in runs.run(arguments.policy).values() for line in v.red()]
            assert not sound, "red before any rule was deleted:\n" + "\n".join(sound)
            while deleted := _shared_out(left):
                for host in HOSTS:
                    _load(agents[host], deleted.get(host))
                for host, red in _red(runs, arguments.policy, deleted).items():
                    rule = deleted[host]
                    left[rule].remove(host)
                    if red or not left[rule]:
                        _print(host, rule, red)
                        survivors += [rule] if not red else []
                        del left[rule]
        finally:
            for host in HOSTS:
                _load(agents[host])
    print(
        f"policy {arguments.policy}: {count} rules deleted, {len(survivors)} not missed, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if survivors else 0


def _print(host: str, rule: Rule, red: list[str]) -> None:
    print(f"{'killed' if red else 'SURVIVED'}  {rule}  [{host}]")
    for line in red[:_SHOWN]:
        print(f"          {line}")
    if len(red) > _SHOWN:
        print(f"          and {len(red) - _SHOWN} more")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
