"""Version numbers of releases: ``major.minor.patch``, as Galaxy and semver.org sort them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .refused import Refused

_FORM = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)


@dataclass(frozen=True, order=True)
class Version:
    """One version number; the larger one is the newer one."""

    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``1.20.3``.

        :raises Refused: for everything else, such as ``v1.2.3``, ``1.2`` and ``1.2.3-rc1``.
        """
        match = _FORM.fullmatch(text)
        if not match:
            raise Refused(f"VERSION: {text!r} is no version. Write three numbers, such as 1.2.3.")
        return cls(*map(int, match.groups()))

    @property
    def tag(self) -> str:
        """The name of its tag."""
        return f"v{self}"

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"
