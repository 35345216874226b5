#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Lets spin prove the protocol of rings, and shows that nothing can be left out of it: ring_model.py RING_PML

The model has to hold for each pairing of ends, and to fail without any one of its checks and memory orders.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from tap import Tap  # noqa: E402

SPSC = dict(PRODUCERS=1, CONSUMERS=1, ITEMS=4)
MPSC = dict(PRODUCERS=2, CONSUMERS=1, ITEMS=2)
SPMC = dict(PRODUCERS=1, CONSUMERS=2, ITEMS=3)
MPMC = dict(PRODUCERS=2, CONSUMERS=2, ITEMS=1, BURST=1)
MPMC_REUSE = dict(PRODUCERS=2, CONSUMERS=2, ITEMS=1, SIZE=1)

SINGLE = ['DONE_RELEASE', 'DONE_ACQUIRE', 'ROOM_CHECK']
SHARED = ['LIMIT_RELEASE', 'LIMIT_ACQUIRE', 'TURN_ACQUIRE', 'TURN_WAIT', 'CLAIM_ATOMIC']


def verify(model, settings):
    """(number of errors, what the verifier said); errors is None if it did not search everything."""
    with tempfile.TemporaryDirectory() as folder:
        defines = [f'-D{name}={value}' for name, value in settings.items()]
        for command in (['spin', '-a', *defines, model],
                        ['cc', '-O1', '-w', '-DSAFETY', '-DCOLLAPSE', '-DMEMLIM=1000', '-o', 'pan', 'pan.c'],
                        ['./pan', '-m100000']):
            run = subprocess.run(command, cwd=folder, text=True, timeout=150,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if run.returncode:
                return None, run.stdout
    errors = re.search(r'errors: (\d+)', run.stdout)
    if not errors or errors[1] == '0' and re.search(r'too small|not completed|out of memory', run.stdout):
        return None, run.stdout
    return int(errors[1]), run.stdout


def main():
    model = os.path.abspath(sys.argv[1])
    with Tap() as test:
        if not shutil.which('spin'):
            test.skip('the protocol of rings', 'no spin: run tools/setup')
            return
        for name, settings in (('SPSC', SPSC), ('MPSC', MPSC), ('SPMC', SPMC), ('MPMC', MPMC),
                               ('MPMC of one slot', MPMC_REUSE)):
            errors, said = verify(model, settings)
            states = re.search(r'(\d+) states, stored', said)
            test.result(errors == 0 and states and int(states[1]) > 1000,
                        f'{name} holds in all of {states[1] if states else "?"} states', said)
        for name, settings, needed in (('SPSC', SPSC, SINGLE), ('MPSC', MPSC, SINGLE + SHARED),
                                       ('SPMC', SPMC, SHARED)):
            for part in needed:
                errors, said = verify(model, {**settings, part: 0})
                test.result(errors == 1 and 'assertion violated' in said, f'{name} fails without {part}', said)


if __name__ == '__main__':
    main()
