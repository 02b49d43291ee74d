"""A wheel says what it needs of a host, and holds nothing but modules."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import zipfile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from compiled import wheel
from compiled.compiler import Refused

MODULE = "log.cpython-311-x86_64-linux-gnu.so"


def shared(path: Path, source: str = "int x;", *options: str) -> Path:
    """A shared library in place of an extension module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path), *options]
    subprocess.run(command, input=source, text=True, check=True)
    return path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "source/mcp_proxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "1.2.3"\n')
    return package


def test_a_wheel_names_its_python_architecture_and_platform(package: Path, tmp_path: Path) -> None:
    shared(tmp_path / "made/mcp_proxy" / MODULE)
    (tmp_path / "made/mcp_proxy/log.py").write_text("not taken")
    path = wheel.pack(tmp_path / "made", package, tmp_path)
    distribution, version, _build, tags = parse_wheel_filename(path.name)
    assert (distribution, version.public) == ("mcp-proxy-compiled", "1.2.3")
    assert {str(tag) for tag in tags} == {"cp311-cp311-manylinux_2_17_x86_64"}
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (record,) = [name for name in names if name.endswith("RECORD")]
        rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
        assert {row[0] for row in rows} == set(names)
        for name, said, size in rows[:-1]:
            data = archive.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert (said, size) == (f"sha256={digest}", str(len(data)))
    assert [name for name in names if ".dist-info/" not in name] == [f"mcp_proxy/{MODULE}"]


def test_the_same_modules_give_the_same_wheel(package: Path, tmp_path: Path) -> None:
    shared(tmp_path / "made" / MODULE)
    (tmp_path / "again").mkdir()
    first = wheel.pack(tmp_path / "made", package, tmp_path)
    assert (
        first.read_bytes()
        == wheel.pack(tmp_path / "made", package, tmp_path / "again").read_bytes()
    )


@pytest.mark.parametrize(
    ("symbol", "wanted"),
    [("GLIBC_2.2.5", "2_17"), ("GLIBC_2.25", "2_28"), ("GLIBC_2.33", "2_33")],
)
def test_the_platform_is_what_the_symbols_need(symbol: str, wanted: str, tmp_path: Path) -> None:
    function = {"GLIBC_2.2.5": "puts", "GLIBC_2.25": "getentropy", "GLIBC_2.33": "stat"}[symbol]
    path = shared(tmp_path / MODULE, f"int {function}(); int f(void) {{ return {function}(); }}")
    assert wheel.platform([path]) == f"manylinux_{wanted}"


def test_a_library_beside_glibc_is_refused(tmp_path: Path) -> None:
    other = shared(tmp_path / "libother.so", "int other;", "-Wl,-soname,libother.so.1")
    user = "extern int other; int *f(void) { return &other; }"
    path = shared(tmp_path / MODULE, user, "-x", "none", str(other))
    with pytest.raises(Refused, match=r"libother\.so\.1: is needed"):
        wheel.platform([path])


def test_modules_for_two_pythons_are_no_wheel(package: Path, tmp_path: Path) -> None:
    shared(tmp_path / "made" / MODULE)
    shared(tmp_path / "made" / MODULE.replace("311", "313"))
    with pytest.raises(Refused, match="one CPython"):
        wheel.pack(tmp_path / "made", package, tmp_path)


def test_wheels_of_other_architectures_are_kept_if_the_source_is_the_same(tmp_path: Path) -> None:
    names = {
        "mcp_proxy_compiled-1.2.3+ab-cp311-cp311-manylinux_2_17_x86_64.whl",
        "mcp_proxy_compiled-1.2.3+ab-cp310-cp310-manylinux_2_17_x86_64.whl",
        "mcp_proxy_compiled-1.2.3+ab-cp311-cp311-manylinux_2_17_aarch64.whl",
        "mcp_proxy_compiled-1.2.3+cd-cp311-cp311-manylinux_2_17_aarch64.whl",
    }
    for name in names:
        (tmp_path / name).touch()
    made = tmp_path / "new/mcp_proxy_compiled-1.2.3+ab-cp311-cp311-manylinux_2_17_x86_64.whl"
    kept = [path.name for path in wheel.of_other_architectures(tmp_path, made)]
    assert kept == ["mcp_proxy_compiled-1.2.3+ab-cp311-cp311-manylinux_2_17_aarch64.whl"]


def test_an_abi_that_no_tag_names_is_refused(tmp_path: Path) -> None:
    relative = "int puts(); int x; int *table[] = {&x}; int f(void) { return puts(); }"
    path = shared(tmp_path / MODULE, relative, "-Wl,-z,pack-relative-relocs")
    with pytest.raises(Refused, match="GLIBC_ABI_DT_RELR"):
        wheel.platform([path])


def test_the_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    (tmp_path / "b.whl").write_bytes(b"b")
    wheel.write_sums(tmp_path)
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "a.whl: OK\nb.whl: OK\n"
