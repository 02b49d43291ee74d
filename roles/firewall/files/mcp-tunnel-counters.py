# Of the Ansible collection mcp_tunnels.stack; edits are overwritten.
"""Copies the counters of table inet mcp_tunnel for the proxy's metrics, as nft prints them.

One is added: ``accounts/wrong``, the number of accounts that the rules do not mean any more. The
kernel knows users by number; the set ``account/<name>`` has the number that the account had when
the rules were loaded. Each such account is reported on standard error, and the exit status is 1.

nft writes to a pipe, and this program writes the file. Under SELinux nft has a domain of its own,
which may not write files for services; it then prints nothing, and reports success.
"""

import json
import os
import pwd
import subprocess
import sys

COPY = "/run/mcp-tunnel/firewall-counters.json"
TABLE = ("inet", "mcp_tunnel")
LIST = ("/usr/sbin/nft", "--numeric", "--json", "list", "table", *TABLE)
REMEDY = "Run the site playbook, which loads the rules again"


def wrong_accounts(listing):
    """Texts about accounts whose number differs from the kernel's, or is not theirs alone."""
    sets = [item["set"] for item in listing if "set" in item]
    held = {each["name"]: each.get("elem", []) for each in sets}
    held = {name[8:]: held[name] for name in held if name.startswith("account/")}
    if not held:
        return ["the rules name no account"]
    return [text for name in sorted(held) for text in wrong(name, held[name])]


def wrong(name, numbers):
    """At most one text about an account."""
    try:
        number = pwd.getpwnam(name).pw_uid
    except KeyError:
        return [f"{name} is no account any more, and {numbers} in the rules"]
    if numbers != [number]:
        return [f"{name} is user {number} on this host, and {numbers} in the rules"]
    with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
        entries = [line.split(":") for line in file]
    others = [entry[0] for entry in entries if entry[2:3] == [str(number)] and entry[0] != name]
    if number and others:
        return [f"{', '.join(others)} has the number of {name}, {number}"]
    return []


def main():
    listed = subprocess.run(LIST, stdout=subprocess.PIPE, check=False)  # noqa: S603
    if listed.returncode:  # nft has said why
        return listed.returncode
    try:
        listing = list(json.loads(listed.stdout)["nftables"])
    except (ValueError, TypeError, KeyError):
        size = len(listed.stdout)
        tell(
            f"nft has printed {size} bytes that are no listing. Look for denials (ausearch -m avc)"
        )
        return 1
    problems = wrong_accounts(listing)
    copied = [item for item in listing if "counter" in item or "metainfo" in item]
    names = {"family": TABLE[0], "table": TABLE[1], "name": "accounts/wrong"}
    copied.append({"counter": {**names, "packets": len(problems), "bytes": 0}})
    try:
        write(copied)
    except OSError as error:
        tell(f"{COPY} could not be written: {error}. Look for denials (ausearch -m avc)")
        return 1
    for text in problems:
        tell(f"{text}. {REMEDY}")
    return 1 if problems else 0


def write(copied):
    """Replaces the copy, or leaves the previous one."""
    with open(COPY + ".new", "w", encoding="utf-8") as file:
        json.dump({"nftables": copied}, file)
    os.replace(COPY + ".new", COPY)


def tell(text):
    print(f"firewall: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
