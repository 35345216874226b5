# SPDX-License-Identifier: BSD-2-Clause
"""What tools/vm, tools/metal and tools/image share. Python's standard library only."""


class Failure(Exception):
    """Something outside of the program stands in the way: one or two lines that say what, where and the cure."""


class Status:
    """Exit statuses that are the runner's own; every other one is the program's (as in timeout(1), env(1))."""

    TIMED_OUT = 124
    FAILED = 125
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
