# Of the Ansible collection mcp_tunnels.stack; edits are overwritten.
"""Notes for the proxies' metrics how many connections to the edge each cloudflared has.

cloudflared's own metrics do not have the number: its ``ha_connections`` counts attempts, and stays
when the edge is gone. ``GET /ready`` on the same port does (200 or 503, ``readyConnections``). The
firewall lets root ask, and not the proxy. A cloudflared that does not answer has no connection; one
whose answer is no such thing neither, which is told on standard error, with exit status 1.
"""

import glob
import json
import os
import socket
import sys
import time

SETTINGS = "/etc/mcp-tunnel/*/cloudflared.env"
NOTES = "/run/mcp-tunnel/connections-{}.json"
PATIENCE = 2.0  # seconds for one answer
BUDGET = 6.0  # seconds for all of them: a cloudflared that hangs shall not hide the others
LONGEST = 65536  # bytes; the answer has about 100
REQUEST = b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n"


def metrics_port(path):
    """The port in MCP_METRICS=127.0.0.1:PORT. Raises OSError or ValueError."""
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if line.startswith("MCP_METRICS=")]
    if len(lines) != 1:
        raise ValueError(f"MCP_METRICS stands {len(lines)} times in it")
    return int(lines[0].rpartition(":")[2])


def answer(port, seconds):
    """What /ready answers, head and body; empty if nothing does. Bounded in size and time."""
    end = time.monotonic() + seconds
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
            sock.sendall(REQUEST)
            while block := sock.recv(LONGEST):
                received += block
                left = end - time.monotonic()
                if left <= 0 or len(received) > LONGEST:
                    return b""
                sock.settimeout(left)
    except OSError:
        return b""
    return received


def ready_connections(received):
    """The number in the answer; 0 for none. Raises ValueError if it is not cloudflared's."""
    if not received:
        return 0
    body = received.partition(b"\r\n\r\n")[2]
    try:
        number = json.loads(body)["readyConnections"]
    except (KeyError, TypeError, RecursionError):
        number = None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1000:
        raise ValueError("what answers there is not cloudflared's /ready")
    return number


def note(instance, number):
    """Replaces the note of an instance at once."""
    path = NOTES.format(instance)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({"readyConnections": number}, file)
    os.replace(path + ".new", path)


def forget(instances):
    """Removes the notes of instances that are no more."""
    kept = {NOTES.format(instance) for instance in instances}
    for path in glob.glob(NOTES.format("*")):
        if path not in kept:
            os.unlink(path)


def main():
    """Notes the connections of every instance; returns the exit status."""
    paths = {os.path.basename(os.path.dirname(path)): path for path in glob.glob(SETTINGS)}
    end = time.monotonic() + BUDGET
    problems = []
    for instance, path in sorted(paths.items()):
        seconds = max(0.1, min(PATIENCE, end - time.monotonic()))
        number = 0
        try:
            number = ready_connections(answer(metrics_port(path), seconds))
        except (OSError, ValueError) as error:
            problems.append(f"{path}: {error}")
        note(instance, number)
    forget(paths)
    for text in problems:
        print(f"connections: {text}. See cloudflared_metrics_port", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
