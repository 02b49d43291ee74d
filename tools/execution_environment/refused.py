"""The reason why there is no image."""

from __future__ import annotations


class Refused(Exception):
    """Names the object, the problem and the remedy.

    :param output: the whole output of the program that found the problem.
    """

    def __init__(self, subject: str, problem: str, remedy: str, output: str = "") -> None:
        super().__init__(f"{subject}: {problem}. {remedy}.")
        self.output = output
