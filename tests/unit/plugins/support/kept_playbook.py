"""ansible-playbook with modules that stay packed: the same runs for half of the processor time.

Ansible packs each module with all that it imports, and compiles each file of a collection, anew in
each run, and Jinja each template in each process. Here the packed modules stay in the directory of
the variable ``KEPT_MODULES``, each under a hash of everything that can be in it, and so does
compiled code, under a hash of its source. ``KEPT_BYTECODE`` has the commands of the hosts' Pythons,
one a line; packed modules then have the bytecode of each, too. A task that is skipped gets no
process. Without ``KEPT_MODULES``, there is none of this. Python's garbage collector is off: in the
process that Ansible forks for each task of each host, it would visit, and so copy, all memory of
the parent.

Run as a program, with the arguments of ansible-playbook.
"""

from __future__ import annotations

import base64
import builtins
import gc
import hashlib
import importlib.util
import io
import marshal
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

_COLLECTION = "ansible_collections/mcp_tunnels/stack"
#: What Ansible packs of a collection, and what says where that is.
_PARTS = ("plugins/modules", "plugins/module_utils", "meta")


def content(collections: list[str]) -> str:
    """A hash of Ansible, of Python, and of the files that can be in a packed module.

    :param collections: the directories in which Ansible looks for collections, in that order.
    """
    from ansible import release

    digest = hashlib.sha256()
    ansible = Path(release.__file__).parent
    places = [ansible / "module_utils", ansible / "modules"]
    found = [Path(place, _COLLECTION) for place in collections]
    places += [place / part for place in found for part in _PARTS]
    # Of Ansible itself, which nobody writes to, the version, the place and the times are enough.
    digest.update(f"{sys.version} {release.__version__} {ansible}".encode())
    for place in places:
        for path in sorted(place.rglob("*")):
            if path.suffix not in (".py", ".yml"):
                continue
            is_ours = ansible not in path.parents
            known = path.read_bytes() if is_ours else str(path.stat().st_mtime_ns).encode()
            digest.update(f"\0{path}\0{len(known)}\0".encode() + known)
    return digest.hexdigest()


def keep_modules(directory: Path) -> Callable[[], None]:
    """Return what lets Ansible find its packed modules below the directory."""
    from ansible import constants

    place = directory / content(constants.COLLECTIONS_PATHS)
    place.mkdir(parents=True, exist_ok=True)
    return lambda: Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(place)


#: Reads sources, file to content, and writes the name of this Python and its bytecode of each.
_COMPILER = """
import importlib.util, marshal, sys
codes = {}
for name, text in marshal.load(sys.stdin.buffer).items():
    code = marshal.dumps(compile(text, name, "exec", dont_inherit=True))
    # PEP 552: named by the hash of its source, which nobody compares.
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    codes[name + "c"] = head + importlib.util.source_hash(text) + code
marshal.dump((sys.implementation.cache_tag, codes), sys.stdout.buffer, 2)
"""
#: The first file of a packed module that is imported.
_FIRST = "ansible/__init__.py"
#: Its end: from then on, this Python looks first where its bytecode would be.
_CHOICE = b"""
import sys
_all = __path__[0].rpartition("/")[0]
_own = f"{_all}/{sys.implementation.cache_tag}"
sys.path.insert(sys.path.index(_all), _own)
__path__.insert(0, f"{_own}/ansible")
"""


def _with_bytecode(packed: bytes, pythons: list[list[str]]) -> bytes:
    """Return a packed module (a zip archive in base64) with bytecode of its sources.

    :param pythons: the commands of the hosts' Pythons; any other compiles the sources.
    """
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files[_FIRST] += _CHOICE
    sources = {name: text for name, text in files.items() if name.endswith(".py")}
    for python in pythons:
        compiled = subprocess.run(
            [*python, "-ISB", "-c", _COMPILER],
            input=marshal.dumps(sources, 2),  # every Python has this format
            stdout=subprocess.PIPE,
            check=True,
        )
        tag, codes = marshal.loads(compiled.stdout)
        files |= {f"{tag}/{name}": code for name, code in codes.items()}
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return base64.b64encode(result.getvalue())


def ship_bytecode(pythons: list[list[str]]) -> None:
    """Let Ansible keep packed modules with bytecode: hosts spend most of a call on compiling."""
    try:
        from ansible.executor.module_common import _CachedModule
    except ImportError:  # before ansible-core 2.19, which packs them in another form
        return

    dump = _CachedModule.dump

    def dumped(self: Any, path: str) -> None:
        # It is frozen, and Ansible goes on with this one.
        object.__setattr__(self, "zip_data", _with_bytecode(self.zip_data, pythons))
        dump(self, path)

    _CachedModule.dump = dumped


class _Code:
    """Compiled code, each in a file that is named after everything it was made of."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)

    def get(self, made_of: object, make: Callable[[], CodeType]) -> CodeType:
        """Return the code that was kept, or what *make* makes."""
        named = repr((importlib.util.MAGIC_NUMBER, made_of)).encode()
        path = self._directory / hashlib.sha256(named).hexdigest()
        if path.exists():
            kept: CodeType = marshal.loads(path.read_bytes())
            return kept
        code = make()
        # Other runs read and write at the same time: a file is there whole, or not at all.
        whole = path.with_suffix(f".{os.getpid()}")
        whole.write_bytes(marshal.dumps(code))
        whole.replace(path)
        return code


def keep_code(directory: Path) -> None:
    """Let Ansible's loader of collections find compiled code below the directory."""
    from ansible.utils.collection_loader import _collection_finder

    kept = _Code(directory / "code")

    def compiled(source: str | bytes, filename: str, **how: Any) -> CodeType:
        text = source if isinstance(source, bytes) else source.encode()
        return kept.get((filename, text), lambda: builtins.compile(source, filename, **how))

    _collection_finder.compile = compiled


#: The settings of a Jinja environment that tell what becomes of a template.
_SYNTAX = (
    *("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string", "line_statement_prefix"),
    *("line_comment_prefix", "trim_blocks", "lstrip_blocks", "newline_sequence"),
    *("keep_trailing_newline", "optimized", "is_async", "sandboxed", "autoescape"),
)


def keep_templates(directory: Path) -> None:
    """Let Jinja find compiled templates and expressions below the directory.

    Ansible's compiler does not compute what is constant, so that no filter is part of its code.
    """
    try:
        from ansible._internal._templating import _jinja_bits
    except ImportError:  # before ansible-core 2.19, whose compiler is Jinja's own
        return
    from jinja2.environment import Environment, TemplateExpression

    kept = _Code(directory / "templates")
    ours = _jinja_bits.AnsibleEnvironment

    def made_of(environment: Environment, kind: str, source: str) -> object:
        # Tags, such as the place that a text comes from, are none of its characters.
        assert not environment.optimized
        state = _jinja_bits._TemplateCompileContext.current(optional=True)
        about = [getattr(environment, name) for name in _SYNTAX]
        about += [sorted(environment.extensions), state and state.escape_backslashes]
        return kind, _jinja_bits._TemplateConfig.allow_embedded_templates, about, str(source)

    def compiled(
        self: Any,
        source: Any,
        name: str | None = None,
        filename: str | None = None,
        **how: Any,
    ) -> Any:
        def make() -> CodeType:
            code: CodeType = Environment.compile(self, source, name, filename, **how)
            return code

        if not isinstance(source, str) or how:
            return make()
        return kept.get((made_of(self, "template", source), name, filename), make)

    def expression(self: Any, source: str, undefined_to_none: bool = True) -> TemplateExpression:
        made: list[TemplateExpression] = []

        def make() -> CodeType:
            codes: list[CodeType] = []
            self.compile = lambda *given: codes.append(compiled(self, *given)) or codes[-1]
            try:
                made.append(Environment.compile_expression(self, source, undefined_to_none))
            finally:
                del self.compile
            return codes[0]

        code = kept.get(made_of(self, "expression", source), make)
        if made:
            return made[0]
        template = self.template_class.from_code(self, code, self.make_globals(None), None)
        return TemplateExpression(template, undefined_to_none)

    ours.compile, ours.compile_expression = compiled, expression


class _NotSkipped(BaseException):
    """A task is not skipped, or nobody knows yet."""


def skip_at_once() -> None:
    """Let tasks be skipped without a process for each.

    Ansible's own code judges the conditions of a copy of the task and makes the result, as it does
    in a process. As soon as it finds that they are true, or have an error, it is stopped; then the
    process is made, and judges them anew.
    """
    from ansible.executor.process import worker

    if not hasattr(worker, "_RawTaskResult"):  # before ansible-core 2.19: each gets its process
        return
    start = worker.WorkerProcess.start

    def started(self: Any) -> None:
        task = self._task
        if task.when and task.loop is None and not (task.loop_with or task.delegate_to):
            try:
                result = _skipped(worker, self)
            except _NotSkipped:
                pass
            else:
                self._final_q.send_task_result(result)
                return
        start(self)

    worker.WorkerProcess.start = started


def _skipped(worker: Any, process: Any) -> Any:
    """Return the result of a process (of the module *worker*) that finds its task skipped.

    :raises _NotSkipped: if it is not.
    """
    task = process._task.copy(exclude_parent=True, exclude_tasks=True)
    task._parent = process._task._parent
    judge = task._resolve_conditional

    def judged(*given: Any, **more: Any) -> bool:
        if judge(*given, **more):
            raise _NotSkipped
        return False

    task._resolve_conditional = judged
    executor = worker.TaskExecutor(
        process._host,
        task,
        process._task_vars.copy(),
        process._play_context.copy(),
        process._loader,
        process._shared_loader_obj,
        process._final_q,
        process._variable_manager,
    )
    with worker._task.TaskContext(task):
        result = executor.run()
    if not result.get("skipped"):
        raise _NotSkipped
    return worker._RawTaskResult(
        host=process._host, task=task, return_data=result, task_fields=task.dump_attrs()
    )


def prepare() -> Callable[[], None]:
    """Change Ansible in this process; return what is left to do in the process that runs it."""
    gc.disable()
    directory = os.environ.get("KEPT_MODULES")
    if not directory:
        return lambda: None
    later = keep_modules(Path(directory))
    keep_code(Path(directory))
    keep_templates(Path(directory))
    if pythons := os.environ.get("KEPT_BYTECODE"):
        ship_bytecode([line.split() for line in pythons.splitlines()])
    skip_at_once()
    return later


def main() -> None:
    """Run the playbook; see the module."""
    # Else the files beside this one would be modules for everybody.
    sys.path.pop(0)
    prepare()()
    from ansible.cli.playbook import main as ansible_playbook

    ansible_playbook()


if __name__ == "__main__":
    main()
