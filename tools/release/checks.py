"""The checks of a release's archive, installed as users install it.

No check reads the checkout: the published files are judged, and only they.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .programs import output
from .refused import Refused
from .version import Version

NAME = "mcp_tunnels.stack"
#: A visitor of the archive looks for these.
WANTED = ("README.md", "LICENSE", "SECURITY.md", "CHANGELOG.md", "changelogs/changelog.yaml")
#: Kinds of plugins that users call, and their folders; ansible-doc has a page of each.
_DOCUMENTED = {"module": "modules", "lookup": "lookup", "filter": "filter", "test": "test"}


class Archive:
    """A built collection and a directory in which it is installed."""

    def __init__(self, archive: Path, version: Version, scratch: Path, tools: Path) -> None:
        """``scratch`` is an empty directory; ``tools`` is that of the archive's own tree."""
        self.archive = archive
        self.version = version
        self.scratch = scratch
        self.tools = tools
        self.collections = scratch / "collections"
        self.installed = self.collections / "ansible_collections" / NAME.replace(".", "/")
        # The configuration of a user or of a checkout must not count.
        settings = scratch / "ansible.cfg"
        settings.touch()
        self.variables = {
            "ANSIBLE_CONFIG": str(settings),
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
        }

    def check(self, told: Callable[[str], None]) -> None:
        """Install it and run all checks; ``told`` is called with the name of each that passes.

        :raises Refused: with the problems of all checks that failed.
        """
        self.install()
        told("ansible-galaxy collection install")
        checks = self.checks()
        refusals = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for name, future in [(name, pool.submit(run)) for name, run in checks.items()]:
                try:
                    future.result()
                    told(name)
                except Refused as refusal:
                    refusals.append(refusal)
        if refusals:
            raise Refused(
                *(problem for refusal in refusals for problem in refusal.problems),
                output="\n".join(filter(None, (refusal.output for refusal in refusals))),
            )

    def checks(self) -> dict[str, Callable[[], None]]:
        """The checks of the installed archive by name; each raises Refused."""
        return {
            "galaxy-importer": self._import,
            "ansible-lint": self._lint,
            "contents": self._contents,
            "ansible-doc": self._documentation,
            "ansible-playbook --syntax-check": self._playbooks,
        }

    def install(self) -> None:
        """Install it into an empty directory.

        :raises Refused: if that fails.
        """
        where = ("--collections-path", str(self.collections))
        install = ("ansible-galaxy", "collection", "install", "--offline", *where)
        self._run(*install, str(self.archive))

    def _run(self, *command: str, directory: Path | None = None, **variables: str) -> str:
        subject = f"{self.archive.name}, {Path(command[0]).name}"
        return output(subject, command, directory or self.scratch, {**self.variables, **variables})

    def _import(self) -> None:
        importer = (sys.executable, "-m", "stages.importer", str(self.archive))
        self._run(*importer, PYTHONPATH=str(self.tools))

    def _lint(self) -> None:
        settings = str(self.tools.parent / ".ansible-lint")
        command = ("ansible-lint", "--offline", "--profile", "production", "-c", settings)
        self._run(*command, directory=self.installed)

    def _contents(self) -> None:
        manifest = json.loads((self.installed / "MANIFEST.json").read_text(encoding="utf-8"))
        stated = manifest["collection_info"]["version"]
        problems = [
            f"{name} is not in it" for name in WANTED if not (self.installed / name).is_file()
        ]
        if stated != str(self.version):
            problems.append(f"its manifest states version {stated}")
        proxy = self.installed / "proxy_src/src/mcp_proxy/__init__.py"
        if f'__version__ = "{self.version}"' not in proxy.read_text(encoding="utf-8"):
            problems.append(f"{proxy.relative_to(self.installed)} does not state {self.version}")
        if problems:
            raise Refused(*(f"{self.archive.name}: {problem}." for problem in problems))

    def _documentation(self) -> None:
        for kind, folder in _DOCUMENTED.items():
            files = sorted((self.installed / "plugins" / folder).glob("*.py"))
            names = [f"{NAME}.{file.stem}" for file in files if file.stem != "__init__"]
            if not names:
                continue
            pages = json.loads(self._run("ansible-doc", "--json", "--type", kind, *names))
            self._all_there(names, [name for name, page in pages.items() if page.get("doc")])
        roles = [f"{NAME}.{path.name}" for path in sorted((self.installed / "roles").iterdir())]
        pages = json.loads(self._run("ansible-doc", "--json", "--type", "role", "--list", NAME))
        self._all_there(roles, [name for name, page in pages.items() if page.get("entry_points")])

    def _all_there(self, wanted: list[str], found: list[str]) -> None:
        if missing := sorted(set(wanted) - set(found)):
            raise Refused(f"{self.archive.name}: ansible-doc has no page of {', '.join(missing)}.")

    def _playbooks(self) -> None:
        files = sorted((self.installed / "playbooks").glob("*.yml"))
        names = [f"{NAME}.{file.stem}" for file in files]
        self._run("ansible-playbook", "--syntax-check", *names)
