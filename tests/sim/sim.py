#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tests of the deterministic world itself: it repeats, and finds what it is to find. sim.py FOLDER tools/sim"""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402
from bugs import BUGS  # noqa: E402

FOLDER, TOOL = sys.argv[1:3]
SEEDS = '10000'  # what tools/check runs
LONGEST = 10  # lines of a script that shows the bug below


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, errors='replace')


def main():
    with tap.Tap() as test:
        sim = os.path.join(FOLDER, 'sim-nvme')
        once = run(sim, '0', '200')
        test.equal(run(sim, '0', '200').stdout, once.stdout, 'the same seeds take the same steps')
        test.result(run(sim, '1', '200').stdout != once.stdout, 'other seeds take others')
        text = run(sim, '--print', '8').stderr
        with tempfile.NamedTemporaryFile('w') as file:
            file.write(text)
            file.flush()
            test.equal(run(sim, '--verbose', '--file', file.name).stderr, run(sim, '--verbose', '--seed', '8').stderr,
                       'a seed and its text take the same steps')
        for bug in BUGS:
            done = run(os.path.join(FOLDER, 'sim-bug-' + bug), '0', SEEDS)
            test.result(done.returncode == 1 and 'sim: seed ' in done.stderr, f'it finds the bug {bug}',
                        f'status {done.returncode}\n{done.stderr[-2000:]}')

        buggy = os.path.join(FOLDER, 'sim-bug-wake-lost')
        done = run(TOOL, '--binary', buggy, '--seeds', '3000')
        script = re.split(r'for tools/sim --replay FILE:\n\n', done.stdout)[-1]
        test.result(0 < len(script.splitlines()) <= LONGEST, 'a failing seed shrinks to a few lines', done.stdout[-3000:])
        with tempfile.NamedTemporaryFile('w') as file:
            file.write(script)
            file.flush()
            test.contains(run(TOOL, '--binary', buggy, '--replay', file.name).stderr, 'it hangs', 'which fail again')


main()
