#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of the fuzz tests of drivers: recordings are inputs, and bugs are found. fuzz.py FOLDER tools/fuzz"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import seeds  # noqa: E402
import tap  # noqa: E402
from bugs import BUGS, harness  # noqa: E402

FOLDER, TOOL = sys.argv[1:3]
RUNS = '40000'  # at most, for a bug
STEP = re.compile(r'(read|write|config read|config write) (?:(\d) )?(\w+/\d)(?: = (\w+))?')


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, errors='replace', **options)


def steps(text):
    """Accesses to registers up to the end of a life, without what is written, which has addresses; repeated ones once."""
    found = []
    for line in text.splitlines():
        match = STEP.match(line)
        if match and (not found or match.groups() != found[-1]):
            found.append(match.groups())
        if line.startswith('unmap'):
            break
    return found


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        for name, recordings in seeds.RECORDINGS.items():
            for kept, before in recordings:
                path = os.path.join(folder, kept)
                with open(path, 'wb') as file:
                    file.write(bytes(before) + seeds.recording(kept))
                with open(os.path.join(HERE, '../record', kept + '.recording'), encoding='ascii') as file:
                    recorded = file.read()
                said = run(os.path.join(FOLDER, 'fuzz-' + name), path, env={**os.environ, 'CHALK_FUZZ_SHOW': '1'}).stderr
                test.equal(steps(said), steps(recorded), f'{name} does on the recording {kept} what was recorded')
        for bug in BUGS:
            done = run(TOOL, harness(bug), '--binary', os.path.join(FOLDER, 'fuzz-bug-' + bug), '--runs', RUNS)
            test.result(done.returncode == 1 and 'FAILED: ' in done.stdout, f'it finds the bug {bug}',
                        f'status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
        done = run(TOOL, 'driver-nvme', '--binary', os.path.join(folder, 'nothing'), '--runs', '1')
        test.result(done.returncode != 0 and 'Traceback' not in done.stderr, 'a program that is not there is said', done)


main()
