# SPDX-License-Identifier: BSD-2-Clause
"""The folder in which things that are slow to make are kept: complete or absent, whoever else runs."""

import contextlib
import fcntl
import os
import shutil
import tempfile


UNFINISHED = '.making-'


def folder():
    path = os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'chalk')
    os.makedirs(path, exist_ok=True)
    return path


@contextlib.contextmanager
def lock():
    """One maker at a time. The kernel drops the lock when its holder dies, however it dies."""
    with open(os.path.join(folder(), 'lock'), 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for name in os.listdir(folder()):
            if name.startswith(UNFINISHED):  # its maker was killed
                shutil.rmtree(os.path.join(folder(), name), ignore_errors=True)
        yield


@contextlib.contextmanager
def working(beside):
    """Yields a new folder beside a path, on the same disk, and removes it in the end."""
    work = tempfile.mkdtemp(prefix=UNFINISHED, dir=os.path.dirname(os.path.abspath(beside)))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def made(path):
    """Yields a folder to work in, and a name there: what stands at it in the end becomes `path`, whole."""
    with working(path) as work:
        yield work, os.path.join(work, 'result')
        os.rename(os.path.join(work, 'result'), path)
