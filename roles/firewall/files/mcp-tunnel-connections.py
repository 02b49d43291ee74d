# Of the Ansible collection mcp_tunnels.stack; edits are overwritten.
"""Notes, for the proxies' metrics, the number of connections to the edge of each cloudflared, and
whether its replica is drained: then it has none on purpose.

cloudflared's own metrics do not have the number: its ``ha_connections`` counts attempts, and stays
when the edge is gone. ``GET /ready`` on the same port has it (200 or 503, ``readyConnections``).
The firewall lets root ask, and not the proxy. A cloudflared that does not answer counts as having
no connection. So does one with any other answer, and another user's program on its port: both are
reported on standard error, with exit status 1. All are asked at the same time, and each is noted as
soon as it has answered.
"""

import glob
import json
import os
import pwd
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

SETTINGS = "/etc/mcp-tunnel/*/cloudflared.env"
DRAINED = "drained"  # beside the settings: the mark of a drained replica
NOTES = "/run/mcp-tunnel/connections-{}.json"
USER = "mcp-cloudflared"
LISTENERS = "/proc/self/net/tcp"
PATIENCE = 2.0  # seconds for one answer
BUDGET = 6.0  # seconds for all of them, below TimeoutStartSec= of the unit
AT_A_TIME = 12  # below TasksMax= of the unit: those that hang shall not hide the others
LONGEST = 65536  # bytes; the answer has about 100
REQUEST = b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n"


def metrics_port(path):
    """The port in MCP_METRICS=127.0.0.1:PORT. Raises OSError or ValueError."""
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if line.startswith("MCP_METRICS=")]
    if len(lines) != 1:
        raise ValueError(f"MCP_METRICS stands {len(lines)} times in it")
    return int(lines[0].rpartition(":")[2])


def listening_user(port):
    """The ID of the user who listens on 127.0.0.1:*port*; None if nobody does."""
    address = int.from_bytes(socket.inet_aton("127.0.0.1"), sys.byteorder)
    local, listens = f"{address:08X}:{port:04X}", "0A"
    with open(LISTENERS, encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if fields[1] == local and fields[3] == listens:
                return int(fields[7])
    return None


def asked(port, seconds):
    """The connections of the cloudflared on *port*. Raises ValueError if it is not cloudflared."""
    user = listening_user(port)
    if user is None:
        return 0
    # While cloudflared is down, anybody may hold its port.
    if user != pwd.getpwnam(USER).pw_uid:
        raise ValueError(f"the user with ID {user} listens on port {port}, not {USER}")
    return ready_connections(answer(port, seconds))


def answer(port, seconds):
    """The answer of /ready, head and body; empty without one. Bounded in size and time."""
    end = time.monotonic() + seconds
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
            sock.settimeout(max(0.05, end - time.monotonic()))
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


def note(instance, number, drained):
    """Replaces the note of an instance at once."""
    path = NOTES.format(instance)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({"readyConnections": number, "drained": drained}, file)
    os.replace(path + ".new", path)


def forget(instances):
    """Removes the notes of instances that are no more."""
    kept = {NOTES.format(instance) for instance in instances}
    for path in glob.glob(NOTES.format("*")):
        if path not in kept:
            os.unlink(path)


def examine(instance, path, end):
    """Notes the connections of one instance; returns the problem, None if there is none."""
    seconds = max(0.1, min(PATIENCE, end - time.monotonic()))
    number, problem = 0, None
    try:
        number = asked(metrics_port(path), seconds)
    except (OSError, ValueError, KeyError) as error:
        problem = f"{path}: {error}"
    note(instance, number, os.path.exists(os.path.join(os.path.dirname(path), DRAINED)))
    return problem


def main():
    """Notes the connections of every instance; returns the exit status."""
    paths = {os.path.basename(os.path.dirname(path)): path for path in glob.glob(SETTINGS)}
    end = time.monotonic() + BUDGET
    forget(paths)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        running = [pool.submit(examine, *item, end) for item in sorted(paths.items())]
        problems = [task.result() for task in running]
    for text in filter(None, problems):
        print(f"connections: {text}. See cloudflared_metrics_port", file=sys.stderr)
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
