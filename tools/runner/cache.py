# SPDX-License-Identifier: BSD-2-Clause
"""The folder in which things that are slow to make are kept: complete or absent, whoever else runs."""

import contextlib
import fcntl
import os
import shutil
import tempfile


def folder():
    path = os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'chalk')
    os.makedirs(path, exist_ok=True)
    return path


@contextlib.contextmanager
def lock():
    """One maker at a time. The kernel drops the lock when its holder dies, however it dies."""
    with open(os.path.join(folder(), 'lock'), 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def made(path):
    """Yields a folder to work in; what is at the name that it yields besides, at the end, becomes `path`."""
    work = tempfile.mkdtemp(prefix='.making-', dir=folder())
    try:
        yield work, os.path.join(work, 'result')
        os.rename(os.path.join(work, 'result'), path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
