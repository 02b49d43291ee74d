"""The changes that a reload would make, judged as a whole before any of them is used."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..config import load as configuration
from ..config.load import ConfigError, Problem
from ..config.model import Config
from ..tls.certificates import CertificateStore, Pair, read_ca
from ..tls.contexts import CertificateError
from ..tls.route_files import with_contents

_FIXED_AT_START = {"listen": "listen_addr", "admin": "admin_addr", "workers": "workers"}


@dataclass(frozen=True)
class Candidate:
    """A configuration to go on with.

    ``pair`` is ``None`` if the certificate is the one in use. ``needs_restart`` names the fields
    whose new values are ignored until the next start, ``config`` has the old ones there.
    """

    config: Config
    pair: Pair | None
    needs_restart: list[str]


def read(path: str, running: Config, certificates: CertificateStore) -> Candidate:
    """Read *path* and the files that it names. Raises :class:`ConfigError` with every problem."""
    config = configuration.load(path)
    problems = []
    pair = None
    try:
        pair = certificates.look(config.tls)
    except CertificateError as error:
        problems.append(as_problem(config, error))
    try:
        config = replace(config, upstream=read_ca(config.upstream))
    except CertificateError as error:
        problems.append(as_problem(config, error))
    config, errors = with_contents(config, running)
    problems += [as_problem(config, error) for error in errors]
    if problems:
        raise ConfigError(path, problems)
    fixed = {name: getattr(running, name) for name in _FIXED_AT_START}
    changed = [
        field for name, field in _FIXED_AT_START.items() if getattr(config, name) != fixed[name]
    ]
    return Candidate(replace(config, **fixed), pair, changed)


def as_problem(config: Config, error: CertificateError) -> Problem:
    """*error* with the line of the field that it is about."""
    return Problem(_line(config, error.field), error.field, error.what, error.remedy)


def _line(config: Config, field: str) -> int:
    """The line of *field*, in which a route has its name as it is looked up."""
    if field in config.lines:
        return config.lines[field]
    lines = {configured.lower(): line for configured, line in config.lines.items()}
    while field and field not in lines:
        field = field.rpartition(".")[0]
    return lines.get(field, 1)
