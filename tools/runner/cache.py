# SPDX-License-Identifier: BSD-2-Clause
"""The folder in which things that are slow to make are kept: complete or absent, whoever else runs."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile

from . import Failure

UNFINISHED = '.making-'
NEARLY_FULL = 8 << 20  # bytes that are free on a disk, on which something has just failed
CURE = 'set XDG_CACHE_HOME to a folder that has room and that you may write to'


def folder():
    home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    if home.startswith('~'):
        raise Failure(f"there is no home folder to keep the guest's kernel and discs in: {CURE}")
    path = os.path.join(os.path.abspath(home), 'chalk')
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise Failure(f"{path}, to keep the guest's kernel and discs in, cannot be made: {error.strerror}: {CURE}")
    return path


@contextlib.contextmanager
def lock():
    """One maker at a time. The kernel drops the lock when its holder dies, however it dies."""
    path = os.path.join(folder(), 'lock')
    try:
        file = open(path, 'w')
    except OSError as error:
        raise Failure(f'{path}: {error.strerror}: {CURE}')
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for name in os.listdir(folder()):
            if name.startswith(UNFINISHED):  # its maker was killed
                shutil.rmtree(os.path.join(folder(), name), ignore_errors=True)
        yield


@contextlib.contextmanager
def working(beside):
    """Yields a new folder beside a path, on the same disk, and removes it in the end."""
    place = os.path.dirname(os.path.abspath(beside))
    work = None
    try:
        work = tempfile.mkdtemp(prefix=UNFINISHED, dir=place)
        yield work
    except (Failure, OSError) as error:
        if is_full(place, error):
            cure = CURE if place == folder() else 'free some of it'
            raise Failure(f'{place}: there is no space left on its disk: {cure}') from error
        if isinstance(error, OSError) and not error.filename:  # of a write, which names no file
            raise Failure(f'{place}: a file there cannot be written: {error.strerror}' +
                          (": 'ulimit -f unlimited' before" if error.errno == errno.EFBIG else '')) from error
        raise
    finally:
        if work:
            shutil.rmtree(work, ignore_errors=True)


def is_full(place, error):
    """Whether something failed because a folder's disk is full. Programs say so, or say something else."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))
    return said or shutil.disk_usage(place).free < NEARLY_FULL


@contextlib.contextmanager
def made(path):
    """Yields a folder to work in, and a name there: what stands at it in the end becomes `path`, whole."""
    with working(path) as work:
        yield work, os.path.join(work, 'result')
        os.rename(os.path.join(work, 'result'), path)
