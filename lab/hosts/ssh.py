"""SSH to the hosts, as an operator's Ansible does it: an ordinary user, checked host keys."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import LabError
from ..core.paths import LabPaths
from ..core.processes import run

USER = "ops"

#: %C of two labs differ by the lab's own directory, in which the control sockets lie.
_CONFIG = """\
Host *
    User {user}
    IdentityFile {directory}/ssh/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/ssh/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    PasswordAuthentication no
    BatchMode yes
    ProxyCommand nsenter --net={network} nc %h %p
    ControlMaster auto
    ControlPath {control}
    ControlPersist 60s
    ServerAliveInterval 5
    ServerAliveCountMax {unanswered}
    ConnectTimeout 60
    LogLevel ERROR
"""

#: Questions after which a host counts as gone. An emulated machine on a busy one takes more than 15
#: seconds to open a session, in which its SSH server answers nothing.
_UNANSWERED, _UNANSWERED_BY_MACHINES = 3, 24

_HOST = """
Host {name} {address}
    HostName {address}
    HostKeyAlias {name}
"""


@dataclass(frozen=True)
class HostKey:
    """A host's own ed25519 key pair, as the two files' texts."""

    private: str
    public: str


def _make_key(path: Path, comment: str) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def control_path(paths: LabPaths) -> str:
    """The path of the shared connections' sockets (a pattern of ssh's)."""
    return f"{paths.run_dir}/ssh/%C"


def prepare(paths: LabPaths, hosts: Sequence[tuple[str, str]], machines: bool = False) -> None:
    """Makes all keys, known_hosts and ssh_config for hosts given as (name, address).

    Args:
        machines: whether they are virtual machines, which may be slow.
    """
    directory = paths.run_dir / "ssh"
    directory.mkdir(mode=0o700)
    _make_key(directory / "id_ed25519", f"{USER}@{paths.label}")
    known = []
    config = _CONFIG.format(
        user=USER,
        directory=paths.run_dir,
        network=paths.network,
        control=control_path(paths),
        unanswered=_UNANSWERED_BY_MACHINES if machines else _UNANSWERED,
    )
    for name, address in hosts:
        _make_key(directory / f"{name}_key", name)
        known.append(f"{name} {(directory / f'{name}_key.pub').read_text()}")
        config += _HOST.format(name=name, address=address)
    (directory / "known_hosts").write_text("".join(known))
    paths.ssh_config.write_text(config)


def host_key(paths: LabPaths, name: str) -> HostKey:
    """The key pair that :func:`prepare` made for the host."""
    private = paths.run_dir / "ssh" / f"{name}_key"
    return HostKey(private.read_text(), private.with_suffix(".pub").read_text())


def user_key(paths: LabPaths) -> str:
    """The public key that opens every host, as a line of authorized_keys."""
    return (paths.run_dir / "ssh" / "id_ed25519.pub").read_text()


def command(paths: LabPaths, host: str, argv: Sequence[str]) -> list[str]:
    """The ssh command line that runs a command line (joined as ssh does) on a host."""
    return ["ssh", "-F", str(paths.ssh_config), host, "--", *argv]


def output(paths: LabPaths, host: str, argv: Sequence[str], timeout: float) -> str | None:
    """Standard output of a command on a host, None if it failed or took too long (seconds)."""
    try:
        done = subprocess.run(
            command(paths, host, argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # A master that stays in the background inherits stderr: a pipe would never end.
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        raise LabError(f"ssh: {error.strerror}; has tools/bootstrap been run?") from error
    return done.stdout if done.returncode == 0 else None
