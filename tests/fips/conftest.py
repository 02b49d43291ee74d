"""A laboratory of one bare host, Debian 13, whose OpenSSL offers approved algorithms alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.paths import LabPaths
from lab.supervision import facts, lifecycle
from tests.cores.controller import Controller

_MODULE = "/usr/lib/x86_64-linux-gnu/ossl-modules/fips.so"
#: The base provider has encoders of keys, but no algorithm.
_CONFIGURATION = """\
openssl_conf = openssl_init
config_diagnostics = 1
.include /etc/ssl/fipsmodule.cnf
[openssl_init]
providers = providers
alg_section = algorithms
[providers]
fips = fips_sect
base = base
[base]
activate = 1
[algorithms]
default_properties = fips=yes
"""


@pytest.fixture(scope="session")
def paths() -> Iterator[LabPaths]:
    """A laboratory with host1, bare at first."""
    packages = ("openssl", "openssl-provider-fips")
    paths = lifecycle.up(f"f{os.getpid() % 10000000}", 1, ["13"], packages)
    yield paths
    lifecycle.down(paths)


@pytest.fixture(scope="session")
def controller(paths: LabPaths) -> Controller:
    """A controller of this checkout's environment; the host is in FIPS mode."""
    controller = Controller(Path(sys.prefix), paths)
    controller.shell(
        "host1",
        f"openssl fipsinstall -quiet -module {_MODULE} -out /etc/ssl/fipsmodule.cnf &&"
        f' printf %s "{_CONFIGURATION}" >/etc/ssl/openssl.cnf',
    )
    return controller


@pytest.fixture(autouse=True)
def _the_laboratory_is_up(paths: LabPaths) -> None:
    if gone := facts.gone(paths):
        pytest.exit(gone, returncode=pytest.ExitCode.INTERNAL_ERROR)
