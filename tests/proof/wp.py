#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Proves with Frama-C's WP that C code touches no memory out of bounds, and that the proof can fail: wp.py NAME

The code is the driver's own, with contracts and loop invariants in comments; what Frama-C is told besides is acsl.h. All
goals of the named functions have to be proved, those for each memory access, shift and signed operation included. Then
bugs are put in, and each has to leave a goal unproved. Provers are limited in steps: how fast the machine is does not
matter.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
STEPS = 3000000  # several times what any goal needs
TIMEOUT = 300  # seconds; an end, if steps should fail to be one

# name: (source, functions, {bug: (file, function whose proof it has to break, what is there, what is instead)})
PROOFS = {
    'prp': ('prp.c', ['nvme_piece', 'in_page', 'edges_are_right', 'add_pages', 'chalk_nvme_prp_list'], {
        'a segment too many': ('data.h', 'nvme_piece', 'if (i == data->count ||', 'if (i > data->count ||'),
        'an entry too many': ('prp.c', 'add_pages', 'piece.size > page;', 'piece.size >= page;'),
        'an inner edge not looked at': ('prp.c', 'edges_are_right', 'return last ||', 'return true ||'),
    }),
}


def proved(folder, source, functions):
    """(goals proved, goals, what Frama-C said) of functions of a source in a copy of the driver."""
    includes = ['-I' + os.path.join(ROOT, 'lib/include'), '-include', os.path.join(HERE, 'acsl.h')]
    run = subprocess.run(['frama-c', '-c11', '-machdep', 'gcc_x86_64', f'-cpp-extra-args={" ".join(includes)}',
                          os.path.join(folder, source), '-wp', '-wp-rte', '-wp-fct', ','.join(functions), '-wp-prover', 'z3',
                          '-wp-steps', str(STEPS), '-wp-timeout', str(TIMEOUT), '-wp-par', '1', '-wp-cache', 'none'],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         env={**os.environ, 'WHY3CONFIG': os.path.join(folder, 'why3.conf')})
    counts = re.search(r'Proved goals: +(\d+) / (\d+)', run.stdout)
    said = '\n'.join(line for line in run.stdout.splitlines() if ': Valid' not in line)
    return (int(counts[1]), int(counts[2]), said) if run.returncode == 0 and counts else (0, 0, said)


def check_axioms(test):
    """The axioms of acsl.h are true, of pages of every size that there is."""
    with open(os.path.join(HERE, 'acsl.h')) as file:
        axioms = re.findall(r'axiom (\w+):', file.read())
    with open(os.path.join(HERE, 'pages.smt2')) as file:
        queries = file.read()
    sizes = range(12, 28)
    script = ''.join(f'(reset)(set-logic QF_BV)(define-fun k () (_ BitVec 72) (_ bv{k} 72))\n{queries}' for k in sizes)
    said = subprocess.run(['cvc4', '--lang=smt2', '--incremental'], input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True).stdout
    expected = [word for axiom in axioms for word in (f'"{axiom}"', 'unsat')]
    test.result(said.split() == expected * len(sizes), f'{len(axioms)} axioms about pages hold', said)


def main():
    source, functions, bugs = PROOFS[sys.argv[1]]
    for tool in ('frama-c', 'why3', 'z3', 'cvc4'):
        if not shutil.which(tool):
            print(f'1..0 # SKIP no {tool}: run tools/setup')
            return
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        shutil.copytree(os.path.join(ROOT, 'drivers/nvme'), folder, dirs_exist_ok=True)
        subprocess.run(['why3', 'config', 'detect'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
                       env={**os.environ, 'WHY3CONFIG': os.path.join(folder, 'why3.conf')})
        check_axioms(test)
        done, goals, said = proved(folder, source, functions)
        test.result(0 < done == goals, f'{source}: {done} of {goals} goals proved', said)
        for bug, (name, function, there, instead) in bugs.items():
            path = os.path.join(folder, name)
            with open(path) as file:
                text = file.read()
            with open(path, 'w') as file:
                file.write(text.replace(there, instead))
            done, goals, said = proved(folder, source, [function])
            test.result(text.count(there) == 1 and done < goals, f'{source}: with {bug} a goal is not proved', said)
            with open(path, 'w') as file:
                file.write(text)


if __name__ == '__main__':
    main()
