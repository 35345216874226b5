#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the NVMe driver executes and touches for a 4 KiB read: count.py BENCH_NVME [--json FILE]

Instructions are counted by callgrind, from the call of <chalk/block.h> to its return, while the device stands still;
cache lines by lackey, which sees every access. Both counts are the same in every run.
"""
import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile

TARGETS = {  # at most, of each depth: instructions to submit and complete one; what it takes besides
    32: {'all': 130, 'lines': 4, 'doorbells': 2 / 32},
    1: {'all': 170},
}
ROUNDS = 16

# Whose instructions they are, by function.
PARTS = {'submit': 'submit', 'submit_many': 'submit', 'kick': 'kick', 'poll': 'reap', 'poll_many': 'reap',
         'done': 'callback', 'submit_all': 'class', 'reap_all': 'class'}


def run(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f'{" ".join(command)}: status {result.returncode}\n{result.stderr}')
    return result


def instructions(program, depth):
    """Instructions of all rounds by function, and what the program printed."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'out')
        # A warm-up is counted, too, and counted apart: all but the rounds that are measured.
        counts = []
        for rounds in (ROUNDS, 2 * ROUNDS):
            printed = run(['valgrind', '--tool=callgrind', f'--callgrind-out-file={out}', '--toggle-collect=submit_all',
                           '--toggle-collect=reap_all', program, str(depth), str(rounds)]).stdout
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


def verdict(row, what):
    if what not in row['target']:
        return ''
    return f'{"<=" if row["met"][what] else "NOT <="} {row["target"][what]:g}'


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('program')
    parser.add_argument('--json')
    options = parser.parse_args()
    columns = ['submit', 'kick', 'reap', 'callback', 'class']
    rows = []
    for depth in (32, 1):
        counts, printed = instructions(options.program, depth)
        row = {'depth': depth, **{column: 0 for column in columns}}
        for function, count in counts.items():
            part = PARTS.get(function.split("'")[0])
            if part is None:
                sys.exit(f'{function} was executed, which is not of the hot path')
            row[part] += count / ROUNDS / depth
        row['all'] = sum(row[column] for column in columns)
        row['lines'] = lines(options.program, depth) / depth
        row['doorbells'] = int(re.search(r'doorbells (\d+)', printed).group(1)) / (2 * ROUNDS * depth)
        row['target'] = TARGETS[depth]
        row['met'] = {what: row[what] <= limit for what, limit in row['target'].items()}
        rows.append(row)

    print('instructions of a 4 KiB read')
    print(f'{"depth":>5}' + ''.join(f'{column:>10}' for column in columns) + f'{"all":>8}  target')
    for row in rows:
        print(f'{row["depth"]:5}' + ''.join(f'{row[column]:10.2f}' for column in columns) +
              f'{row["all"]:8.2f}  {verdict(row, "all")}')
    print(f'{"depth":>5}{"cache lines":>14}{"target":>14}{"doorbells":>14}{"target":>14}')
    for row in rows:
        print(f'{row["depth"]:5}{row["lines"]:14.2f}{verdict(row, "lines"):>14}{row["doorbells"]:14.4f}'
              f'{verdict(row, "doorbells"):>14}'.rstrip())
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(rows, file, indent=1)


if __name__ == '__main__':
    main()
