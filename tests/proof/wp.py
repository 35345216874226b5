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
TIMEOUT = 300  # seconds; an end, if steps should fail to be one

# What each proof is about.
#   axioms: the file that has them, and the one that proves them
#   prover: the one that copes; its steps, twice what any goal needs and more; and what WP is told besides. The casts of io.c
#           are between a structure and its first member, or by way of a void pointer to the same type.
#   functions: those that are proved
#   bugs: name: (file, function whose proof it has to break, what is there, what is instead)
PROOFS = {
    'prp': {
        'axioms': ('tests/proof/acsl.h', 'pages.smt2'),
        'prover': ['z3', '-wp-steps', '3000000'],
        'functions': ['nvme_piece', 'in_page', 'edges_are_right', 'add_pages', 'chalk_nvme_prp_list'],
        'bugs': {
            'a segment too many': ('data.h', 'nvme_piece', 'if (i == data->count ||', 'if (i > data->count ||'),
            'an entry too many': ('prp.c', 'add_pages', 'piece.size > page;', 'piece.size >= page;'),
            'an inner edge not looked at': ('prp.c', 'edges_are_right', 'return last ||', 'return true ||'),
        },
    },
    'io': {
        'axioms': ('drivers/nvme/nvme.h', 'slots.smt2'),
        'prover': ['cvc4', '-wp-steps', '600000', '-wp-model', 'Typed+cast'],
        'functions': ['queue_of', 'nvme_epoch', 'nvme_slot_free', 'retire', 'find_plain', 'find_unusual', 'chalk_nvme_collect',
                      'ring_head', 'take', 'look_at_time', 'idle', 'poll_many', 'poll'],
        'bugs': {
            'any identifier taken for a plain one': ('io.c', 'find_plain', 'slot->tag != *cid || ', ''),
            'any identifier taken for an unusual one': ('io.c', 'find_unusual', '(slot->tag & ~NVME_TAG_RESULT) != cid ||', ''),
            'an identifier not masked': ('io.c', 'find_plain', '[*cid & queue->slot_mask]', '[*cid]'),
            'a head one too far': ('io.c', 'retire', '++queue->cq_head == queue', 'queue->cq_head++ == queue'),
            'a slot freed twice': ('io.c', 'retire',
                                   'nvme_slot_free(queue, slot, cid);', 'nvme_slot_free(queue, slot, cid);\n' * 2),
            'a free slot not marked': ('nvme.h', 'nvme_slot_free', ' | NVME_TAG_FREE; /*', '; /*'),
            'an identifier put beyond the stack': ('nvme.h', 'nvme_slot_free', '[--queue->in_flight]', '[queue->in_flight--]'),
        },
    },
}


def proved(folder, source, prover, functions):
    """(goals proved, goals, what Frama-C said) of functions of a source in a copy of the driver."""
    includes = ['-I' + os.path.join(ROOT, 'lib/include'), '-include', os.path.join(HERE, 'acsl.h')]
    run = subprocess.run(['frama-c', '-c11', '-machdep', 'gcc_x86_64', f'-cpp-extra-args={" ".join(includes)}',
                          os.path.join(folder, source), '-wp', '-wp-rte', '-wp-fct', ','.join(functions), '-wp-prover', *prover,
                          '-wp-timeout', str(TIMEOUT), '-wp-par', '1', '-wp-cache', 'none'],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         env={**os.environ, 'WHY3CONFIG': os.path.join(folder, 'why3.conf')})
    counts = re.search(r'Proved goals: +(\d+) / (\d+)', run.stdout)
    said = '\n'.join(line for line in run.stdout.splitlines() if ': Valid' not in line)
    return (int(counts[1]), int(counts[2]), said) if run.returncode == 0 and counts else (0, 0, said)


def check_axioms(test, header, proofs):
    """The axioms of a header are true: those about pages, of pages of every size that there is."""
    with open(os.path.join(ROOT, header)) as file:
        axioms = re.findall(r'axiom (\w+)[:{]', file.read())
    with open(os.path.join(HERE, proofs)) as file:
        queries = file.read()
    scripts = {queries.replace('(_ bv12 72)', f'(_ bv{k} 72)') for k in range(12, 28)}
    said = subprocess.run(['cvc4', '--lang=smt2', '--incremental'], input='(reset)\n'.join(scripts), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True).stdout
    expected = [word for axiom in axioms for word in (f'"{axiom}"', 'unsat')]
    test.result(axioms and said.split() == expected * len(scripts), f'{len(axioms)} axioms of {header} hold', said)


def main():
    proof, source = PROOFS[sys.argv[1]], sys.argv[1] + '.c'
    for tool in ('frama-c', 'why3', 'z3', 'cvc4'):
        if not shutil.which(tool):
            print(f'1..0 # SKIP no {tool}: run tools/setup')
            return
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        shutil.copytree(os.path.join(ROOT, 'drivers/nvme'), folder, dirs_exist_ok=True)
        subprocess.run(['why3', 'config', 'detect'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
                       env={**os.environ, 'WHY3CONFIG': os.path.join(folder, 'why3.conf')})
        check_axioms(test, *proof['axioms'])
        done, goals, said = proved(folder, source, proof['prover'], proof['functions'])
        test.result(0 < done == goals, f'{source}: {done} of {goals} goals proved', said)
        for bug, (name, function, there, instead) in proof['bugs'].items():
            path = os.path.join(folder, name)
            with open(path) as file:
                text = file.read()
            with open(path, 'w') as file:
                file.write(text.replace(there, instead))
            done, goals, said = proved(folder, source, proof['prover'], [function])
            test.result(text.count(there) == 1 and done < goals, f'{source}: with {bug} a goal is not proved', said)
            with open(path, 'w') as file:
                file.write(text)


if __name__ == '__main__':
    main()
