"""Reading a YAML mapping field by field, collecting every problem instead of stopping at the first.

Works on YAML nodes and not on loaded values, because nodes know their line and show duplicate keys.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import durations

_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_STR = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_MAX_FILE_BYTES = 1 << 20
_WHOLE_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,9})\Z")  # to YAML 1.1, 010 is eight
_LONGEST_SHOWN = 100  # characters of a value or a name that a message repeats
_SYNTAX_REMEDIES = {
    "\\t": "indent with blanks instead of tabs",
    "stream end": "close the quote or the bracket",
    "end of stream": "close the quote or the bracket",
    "another document": "keep one document, without a line `---` in its midst",
}
"""The remedies, by words in the YAML library's message."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a configuration file.

    ``line`` counts from 1; ``field`` is the dotted name (``tls.cert_file``), empty for the file.
    """

    line: int
    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.field, f"{self.what}; {self.remedy}")))


class ConfigError(Exception):
    """A configuration that cannot be used, with all its problems in the order of the lines."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One ``FILE:LINE: field: what; remedy`` per problem, as compilers print it."""
        return [f"{self.path}:{problem.line}: {problem}" for problem in self.problems]


def shown(text: str) -> str:
    """A value as a message quotes it; one that is long, such as a pasted key, by its length."""
    return repr(text) if len(text) <= _LONGEST_SHOWN else f"a text of {len(text)} characters"


class Report:
    """The result of one pass over a file: its problems, and the line on which each field stands.

    ``on_host`` tells whether the files that the configuration names are looked at.
    """

    def __init__(self, on_host: bool = True) -> None:
        self.on_host = on_host
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}

    def add(self, field: str, what: str, remedy: str) -> None:
        """Record a problem at the line of *field*, or of the nearest enclosing one that exists."""
        self.problems.append(Problem(self.line(field), field, what, remedy))

    def line(self, field: str) -> int:
        """The line of *field*; of its parent when it is not in the file; 1 when there is none."""
        while field and field not in self.lines:
            field = field.rpartition(".")[0]
        return self.lines.get(field, 1)


def read_file(path: str) -> bytes:
    """Return the content of the file at *path*.

    Raises :class:`ConfigError` if it cannot be read, or is larger than 1 MiB.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        problem = Problem(
            1, "", f"cannot read the configuration: {reason}", "check path and permissions"
        )
        raise ConfigError(path, [problem]) from None
    if len(content) > _MAX_FILE_BYTES:
        problem = Problem(
            1, "", "larger than 1 MiB", "this is hardly a configuration file; check the path"
        )
        raise ConfigError(path, [problem])
    return content


def compose(content: bytes, path: str) -> yaml.Node | None:
    """Return the root node of the one YAML document in *content*, ``None`` if it is empty.

    Raises :class:`ConfigError`, which names *path*, if it is not YAML.
    """
    try:
        return yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        problem = _syntax_problem(error)
    except yaml.reader.ReaderError as error:
        line = content[: error.position].count(b"\n") + 1
        what = "not text in UTF-8" if error.encoding != "unicode" else "a control character"
        problem = Problem(line, "", f"not valid YAML: {what}", "save the file as plain UTF-8 text")
    except RecursionError:
        problem = Problem(
            1, "", "not valid YAML: nested too deeply", "use the documented fields only"
        )
    raise ConfigError(path, [problem])


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    what = f"not valid YAML: {error.problem or error.context}"
    if error.context and error.context_mark and error.context_mark.line + 1 != line:
        # A quote or bracket that is never closed is noticed at the end of the file.
        what += f" {error.context} that begins on line {error.context_mark.line + 1}"
    for words, remedy in _SYNTAX_REMEDIES.items():
        if words in what:
            return Problem(line, "", what, remedy)
    return Problem(line, "", what, "check the indentation and the quotes here")


class Section:
    """One mapping of the file. Getters return the default and report when a value is unusable.

    A field that is absent, null or (for texts and lists) empty counts as not set: vendor behaviour,
    where the zero value of a type and a missing field are the same.
    """

    def __init__(
        self, report: Report, name: str, node: yaml.Node | None, known: Sequence[str] = ()
    ) -> None:
        """Take the fields of *node*; ``known`` empty means that any field name is welcome."""
        self.report = report
        self.name = name
        self._nodes: dict[str, yaml.Node] = {}
        if node is None or node.tag == _NULL:
            return
        if not isinstance(node, yaml.MappingNode):
            shape = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
            report.add(
                name,
                f"must be a map of fields, not {shape}",
                f"write `{name or 'field'}:` and below it, indented, one `name: value` per line",
            )
            return
        for key, value in node.value:
            self._take(key, value, known)

    def _take(self, key: yaml.Node, value: yaml.Node, known: Sequence[str]) -> None:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            self.report.problems.append(
                Problem(line, self.name, "a field name must be a plain word", "mend this line")
            )
            return
        field = self.path(key.value)
        if key.tag == _MERGE:
            self.report.problems.append(
                Problem(line, field, "merge keys are not supported", "write the fields out here")
            )
            return
        if key.value in self._nodes:
            first = self.report.lines[field]
            self.report.problems.append(
                Problem(line, field, f"given twice, first on line {first}", "keep one of them")
            )
            return
        self._nodes[key.value] = value
        self.report.lines[field] = line
        if known and key.value not in known:
            near = difflib.get_close_matches(key.value[:_LONGEST_SHOWN], known, n=1)
            remedy = (
                f"did you mean `{self.path(near[0])}`?"
                if near
                else f"known here: {', '.join(sorted(known))}"
            )
            self.report.add(field, "unknown field", remedy)

    def path(self, field: str) -> str:
        """The dotted name of a field of this section."""
        return f"{self.name}.{field}" if self.name else field

    def problem(self, field: str, what: str, remedy: str) -> None:
        """Report that *field* of this section is wrong."""
        self.report.add(self.path(field), what, remedy)

    def names(self) -> list[str]:
        """The fields that the file gives in this section, in its order."""
        return list(self._nodes)

    def section(self, field: str, known: Sequence[str] = ()) -> Section:
        """The mapping under *field*; an empty one if it is not set."""
        return Section(self.report, self.path(field), self._nodes.get(field), known)

    def text(self, field: str) -> str | None:
        """The scalar under *field* as it is written (``""`` included), or ``None`` if not set."""
        node = self._scalar(field, "text")
        return None if node is None else str(node.value)

    def word(self, field: str) -> str | None:
        """Like :meth:`text`, but a truth value or a number is a problem; then returns ``None``."""
        node = self._scalar(field, "text")
        if node is not None and node.tag != _STR:
            self.problem(field, f"must be text, not {shown(node.value)}", "write it in quotes")
            return None
        return None if node is None else str(node.value)

    def required_text(self, field: str, remedy: str) -> str:
        """Like :meth:`text`, but a missing or empty value is a problem; then returns ``""``."""
        value = self.text(field)
        if not value and not self._broken(field):
            self.problem(field, "required, but not set", remedy)
        return value or ""

    def flag(self, field: str) -> bool:
        """The truth value under *field*, false if not set."""
        node = self._scalar(field, "`true` or `false`")
        if node is None:
            return False
        if node.tag != _BOOL:
            self.problem(
                field, f"must be true or false, not {shown(node.value)}", "write it without quotes"
            )
            return False
        return bool(yaml.SafeLoader.bool_values[node.value.lower()])

    def integer(self, field: str, default: int, low: int, high: int) -> int:
        """The whole number under *field*, which must lie between *low* and *high* inclusive.

        Quotes around it do not matter: a template or a command line has often put them there.
        """
        value = self.bound(field, low, high, f"the default is {default}")
        return default if value is None else value

    def bound(
        self, field: str, low: int, high: int, remedy: str = "leave it out for no limit"
    ) -> int | None:
        """Like :meth:`integer`, but ``None`` if not set."""
        node = self._scalar(field, "a whole number")
        if node is None:
            return None
        is_number = node.tag in (_INT, _STR) and _WHOLE_NUMBER.match(node.value)
        value = int(node.value) if is_number else None
        if value is None or not low <= value <= high:
            self.problem(
                field,
                f"must be a whole number from {low} to {high}, not {shown(node.value)}",
                remedy,
            )
            return None
        return value

    def seconds(self, field: str, default: float, zero: bool = False) -> float:
        """The Go duration under *field* in seconds; *zero* tells whether ``0s`` means something."""
        node = self._scalar(field, "a duration")
        if node is None or not node.value:
            return default
        try:
            value = durations.parse(node.value)
        except ValueError:
            self.problem(
                field,
                f"must be a duration, not {shown(node.value)}",
                "write a number with its unit: 30s, 1m30s, 250ms",
            )
            return default
        if value == 0 and not zero:
            self.problem(field, "must be longer than 0s", f"the default is {default:g}s")
            return default
        return value

    def texts(self, field: str) -> list[str]:
        """The list of scalars under *field*, empty if not set.

        Problems of the item *n*, from 0, can be reported for the field ``FIELD[n]``.
        """
        node = self._nodes.get(field)
        if node is None or node.tag == _NULL:
            return []
        if not isinstance(node, yaml.SequenceNode) or not all(
            isinstance(n, yaml.ScalarNode) for n in node.value
        ):
            self.problem(
                field,
                "must be a list of values",
                f"write `{field}:` and below it one `- value` per line",
            )
            return []
        for number, item in enumerate(node.value):
            self.report.lines[f"{self.path(field)}[{number}]"] = item.start_mark.line + 1
        return [str(item.value) for item in node.value]

    def readable_file(self, field: str, path: str) -> None:
        """Report *path* unless it can be opened; an empty one means that none was given."""
        if not path or not self.report.on_host:
            return
        try:
            with Path(path).open("rb") as file:
                file.read(1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.problem(
                field,
                f"cannot read {path}: {reason}",
                "check the path, and that the proxy's user may read it",
            )

    def _scalar(self, field: str, shape: str) -> yaml.ScalarNode | None:
        node = self._nodes.get(field)
        if node is None or node.tag == _NULL:
            return None
        if not isinstance(node, yaml.ScalarNode):
            given = "list" if isinstance(node, yaml.SequenceNode) else "map"
            remedy = f"write `{field}: value` on one line"
            self.problem(field, f"must be {shape}, not a {given}", remedy)
            return None
        return node

    def choices(self, field: str, remedy: str) -> list[str]:
        """Like :meth:`texts`, of a list of what is allowed: one that is empty is a problem.

        It would allow nothing, or, as a field that is not set, everything.
        """
        found = self.texts(field)
        node = self._nodes.get(field)
        if node is not None and (node.tag == _NULL or node.value == []):
            self.problem(field, "allows nothing: the list is empty", remedy)
        for number, text in enumerate(found):
            if text in found[:number]:
                self.problem(f"{field}[{number}]", f"{shown(text)} is given twice", "keep one")
        return found

    def is_null(self, field: str) -> bool:
        """Whether the file names *field* but gives it no value."""
        return field in self._nodes and self._nodes[field].tag == _NULL

    def is_set(self, field: str) -> bool:
        """Whether the file gives *field* a value, right or wrong."""
        node = self._nodes.get(field)
        return node is not None and node.tag != _NULL and node.value != ""

    def _broken(self, field: str) -> bool:
        node = self._nodes.get(field)
        return node is not None and not isinstance(node, yaml.ScalarNode)
