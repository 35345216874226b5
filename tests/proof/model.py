#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Proves a model with spin, and that the proof can fail: model.py NAME.pml

Every interleaving is searched. A rule of the model is a macro that is 1; each is then taken away (0) in its turn, and an
error has to be found: a rule that nothing needs does not belong there, and a model that finds nothing proves nothing.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

RULE = re.compile(r'^#ifndef (\w+).*\n#define \1 1$', re.M)
DEPTH = 1000000  # steps in one run of the model


def search(model, *without):
    """(errors found, whether the search was complete, what spin said)"""
    with tempfile.TemporaryDirectory() as folder:
        def run(*command):
            return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)

        run('spin', '-a', *(f'-D{rule}=0' for rule in without), model)
        run('cc', '-O2', '-DSAFETY', '-DCOLLAPSE', '-w', '-o', 'pan', 'pan.c')
        said = run('./pan', f'-m{DEPTH}').stdout
    return int(re.search(r'errors: (\d+)', said)[1]), 'Search not completed' not in said and 'too small' not in said, said


def main():
    model = os.path.abspath(sys.argv[1])
    if not shutil.which('spin'):
        print("1..0 # SKIP no spin: run tools/setup, or 'sudo apt-get install spin'")
        return
    name = os.path.basename(model)
    with open(model) as file:
        rules = RULE.findall(file.read())
    with tap.Tap() as test:
        errors, complete, said = search(model)
        states = re.search(r'(\d+) states, stored', said)
        test.result(errors == 0 and complete, f'{name}: no error in {states and states[1]} states', said)
        for rule in rules:
            errors, _, said = search(model, rule)
            test.result(errors > 0, f'{name}: without {rule} there is one', said)


if __name__ == '__main__':
    main()
