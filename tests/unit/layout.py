#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every C file is laid out as clang-format lays it out by .clang-format: layout.py ROOT

Versions of clang-format differ in details, so another one than 14 judges nothing.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from tap import Tap  # noqa: E402

FOLDERS = ['baremetal', 'bench', 'drivers', 'examples', 'hosted', 'lib', 'tests', 'tools']
VERSION = 14


def sources(root):
    for folder in FOLDERS:
        for path, _, names in os.walk(os.path.join(root, folder)):
            yield from (os.path.join(path, name) for name in sorted(names) if name.endswith(('.c', '.h')))


def version():
    try:
        said = subprocess.run(['clang-format', '--version'], stdout=subprocess.PIPE, text=True).stdout
    except FileNotFoundError:
        return 0
    return int(re.search(r'version (\d+)', said)[1])


def complaints(files, style=None):
    run = subprocess.run(['clang-format', '--dry-run', *([f'--style={style}'] if style else []), *files],
                         stderr=subprocess.PIPE, text=True)
    return sorted(set(re.findall(r'^(\S+?):\d+:\d+: warning', run.stderr, re.M)))


def main():
    with Tap() as tap:
        found = version()
        if found != VERSION:
            tap.skip('layout', f'clang-format {VERSION} is needed, not {found or "none"}: apt install clang-format-{VERSION}')
            return
        files = list(sources(sys.argv[1]))
        tap.equal(complaints(files), [], f'{len(files)} files are laid out by .clang-format; cure: clang-format -i FILE')
        tap.result(complaints(files[:1], style='GNU'), 'another style is seen')


if __name__ == '__main__':
    main()
