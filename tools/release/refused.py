"""The reasons why there is no release."""

from __future__ import annotations

from collections.abc import Sequence


class Refused(Exception):
    """Nothing was released. Each problem names its object and the remedy."""

    def __init__(self, *problems: str, output: str = "") -> None:
        """``output`` is the output of the program that found the problem."""
        super().__init__("; ".join(problems))
        self.problems: Sequence[str] = problems
        self.output = output
