# SPDX-License-Identifier: BSD-2-Clause
"""What every tool here does with its command line, its standard output and its end."""

import argparse
import io
import os
import re
import signal
import sys
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def version():
    """Chalk's version: from meson.build in a checkout, and from what was made of it once installed."""
    for name, pattern in ('meson.build', r"^\s*version: '([^']+)'"), ('VERSION', '(.+)'):
        path = os.path.join(ROOT, name)
        if os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                return re.search(pattern, file.read(), re.M)[1]
    return 'unknown'


def name():
    """The running tool's, as a user calls it: tools/metal in a checkout, chalk-metal once installed."""
    called = os.path.basename(sys.argv[0])
    return called if called.startswith('chalk-') else f'tools/{called}'


class ShowVersion(argparse.Action):
    def __call__(self, parser, *_):
        print(f'{parser.prog} (Chalk) {version()}')
        parser.exit()


class Parser(argparse.ArgumentParser):
    """Answers -h, --help and --version; a mistake in the command line is one line, and status 2."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.add_argument('--version', action=ShowVersion, nargs=0, help='print the version and end')

    def error(self, message):
        say(self.prog, f'{message} (see {self.prog} --help)')
        sys.exit(2)


def say(name, message):
    """One message of a tool's, behind what it has printed."""
    if sys.stdout is not None:
        sys.stdout.flush()
    os.write(2, f'{name}: {message}\n'.encode(errors='replace'))


INCOMPLETE = 'standard output is not complete'


class Output(io.FileIO):
    """Standard output, whose errors say that they are its own: those of other files are seen in the same place."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, INCOMPLETE) from error


def own_output():
    old = sys.stdout
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(Output(1, 'w', closefd=False)), encoding=old.encoding,
                                  errors=old.errors, line_buffering=old.line_buffering)


def run(name, main, failed=1):
    """
    Runs main() and ends the tool with what it returns, as sys.exit() does. What was printed has to arrive: if standard
    output cannot be written, the status is `failed`. Interrupted, it is 130; with no reader left, 141.
    """
    if sys.stdout is None:  # a file that is opened next would be taken for it
        os.write(2, f'{name}: standard output is closed\n'.encode())
        sys.exit(failed)
    own_output()
    try:
        status = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = fail(name, 'interrupted', 128 + signal.SIGINT)
    except BrokenPipeError:
        drop_output()
        status = 128 + signal.SIGPIPE
    except OSError as error:
        status = fail(name, f'{error.filename or place(error)}: {error.strerror}', failed)
    except SystemExit as end:
        status = finish(name, end, failed)
    sys.exit(status)


def finish(name, end, failed):
    """The status of a sys.exit() from within, whose output has to arrive as well."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        return fail(name, f'{INCOMPLETE}: {error.strerror}', end.code or failed)
    return end.code


def place(error):
    """Where an error arose that names no file."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f'{os.path.relpath(frame.filename, ROOT)}:{frame.lineno}: {frame.name}()'


def fail(name, message, status):
    drop_output()
    os.write(2, f'{name}: {message}\n'.encode(errors='replace'))
    return status


def drop_output():
    """What is still buffered could not be written: Python would try again at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
