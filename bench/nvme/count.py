#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Counts what the NVMe driver executes and touches for a 4 KiB read: count.py BENCH_NVME [--json FILE]

Instructions are counted by callgrind, from the call of <chalk/block.h> to its return, while the device stands still;
cache lines by lackey, which sees every access. Both counts are the same in every run. count_test.py holds the limits.
"""
import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile

LIMITS = {  # of a request at each depth: instructions to submit and complete it; cache lines; doorbells
    32: {'all': 110.00, 'lines': 4, 'doorbells': 2 / 32},
    1: {'all': 169.88},
}
TRACED = 249.71  # instructions of a request of a traced queue, at depth 32
ROUNDS = 16

# Whose instructions they are, by function.
PARTS = {'submit': 'submit', 'submit_many': 'submit', 'kick': 'kick', 'poll': 'reap', 'poll_many': 'reap',
         'done': 'callback', 'submit_all': 'class', 'reap_all': 'class'}
COLUMNS = ['submit', 'kick', 'reap', 'callback', 'class']


def run(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f'{" ".join(command)}: status {result.returncode}\n{result.stderr}')
    return result


def instructions(program, depth, *more):
    """Instructions of all rounds by function, and what the program printed."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'out')
        # A warm-up is counted, too, and counted apart: all but the rounds that are measured.
        counts = []
        for rounds in (ROUNDS, 2 * ROUNDS):
            printed = run(['valgrind', '--tool=callgrind', f'--callgrind-out-file={out}', '--toggle-collect=submit_all',
                           '--toggle-collect=reap_all', program, str(depth), str(rounds), *more]).stdout
            counts.append(add(parse(out)))
    return counts[1] - counts[0], printed


def parse(path):
    """(function, instructions of its own) of a callgrind file."""
    names, function, skip = {}, None, False
    with open(path) as file:
        for line in file:
            line = line.rstrip('\n')
            if line.startswith('fn='):
                number, _, name = line[3:].partition(' ')
                function = names.setdefault(number, name)
            elif line.startswith('cfn='):
                number, _, name = line[4:].partition(' ')
                names.setdefault(number, name)
            elif line.startswith('calls='):
                skip = True  # the next line is what the callee took
            elif re.match(r'[+*-]?\d|\*', line) and function:
                if not skip:
                    yield function, int(line.split()[1])
                skip = False


def add(pairs):
    total = collections.Counter()
    for name, count in pairs:
        total[name] += count
    return total


def lines(program, depth):
    """Distinct cache lines a round that is submitted and reaped touches, the stack's not counted."""
    result = run(['valgrind', '--tool=lackey', '--trace-mem=yes', program, str(depth), '1'])
    mark = int(re.search(r'mark 0x([0-9a-f]+)', result.stdout).group(1), 16)
    touched, counting = set(), False
    for line in result.stderr.splitlines():
        match = re.match(r' ([LSM]) ([0-9a-f]+),(\d+)$', line)
        if not match:
            continue
        address = int(match.group(2), 16)
        if match.group(1) == 'S' and address == mark:
            counting = not counting
        elif counting and address < 0x1ff0000000:  # where valgrind has the stack
            touched.add(address // 64)
            touched.add((address + int(match.group(3)) - 1) // 64)
    return len(touched)


def count_instructions(program, depth):
    """A row: instructions of a request by part and in all, its doorbells, and how they compare with the limits."""
    counts, printed = instructions(program, depth)
    row = {'depth': depth, **{part: 0 for part in COLUMNS}}
    for function, count in counts.items():
        part = PARTS.get(function.split("'")[0])
        if part is None:
            sys.exit(f'{function} was executed, which is not of the hot path')
        row[part] += count / ROUNDS / depth
    row['all'] = sum(row[part] for part in COLUMNS)
    row['doorbells'] = int(re.search(r'doorbells (\d+)', printed).group(1)) / (2 * ROUNDS * depth)
    return compare(row)


def count_traced(program):
    """Instructions of a request, to submit and complete it, when the queue is traced."""
    return instructions(program, 32, 'traced')[0].total() / ROUNDS / 32


def compare(row):
    row['target'] = LIMITS[row['depth']]
    row['met'] = {what: row[what] <= limit for what, limit in row['target'].items() if what in row}
    return row


def count_all(program):
    """The rows of all depths, with cache lines."""
    rows = [count_instructions(program, depth) for depth in LIMITS]
    return [compare(row | {'lines': lines(program, row['depth']) / row['depth']}) for row in rows]


def verdict(row, what):
    if what not in row['target']:
        return ''
    return f'{"<=" if row["met"][what] else "NOT <="} {row["target"][what]:g}'


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('program')
    parser.add_argument('--json')
    options = parser.parse_args()
    rows = count_all(options.program)

    print('instructions of a 4 KiB read')
    print(f'{"depth":>5}' + ''.join(f'{column:>10}' for column in COLUMNS) + f'{"all":>8}  target')
    for row in rows:
        print(f'{row["depth"]:5}' + ''.join(f'{row[column]:10.2f}' for column in COLUMNS) +
              f'{row["all"]:8.2f}  {verdict(row, "all")}')
    print(f'{"depth":>5}{"cache lines":>14}{"target":>14}{"doorbells":>14}{"target":>14}')
    for row in rows:
        print(f'{row["depth"]:5}{row["lines"]:14.2f}{verdict(row, "lines"):>14}{row["doorbells"]:14.4f}'
              f'{verdict(row, "doorbells"):>14}'.rstrip())
    print(f'traced, at depth 32: {count_traced(options.program):.2f}')
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(rows, file, indent=1)


if __name__ == '__main__':
    main()
