#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compares what a benchmark program measured of Chalk with what it measured of others, in the same run.

    peers.py PROGRAM [--repetitions N] [--json FILE] TARGET...

PROGRAM is one of Google Benchmark, whose benchmarks are called "what/whose", whose is "chalk" or a peer, and which
count "ticks". A TARGET is PREFIX=RATIO: what starts with PREFIX should cost at most RATIO of the peer. All
repetitions run interleaved, in random order, since the machine's mood changes by the second; compared are the medians.
"""
import argparse
import collections
import json
import statistics
import subprocess
import sys


def measure(program, repetitions):
    """{what: {whose: [ticks]}}"""
    run = subprocess.run([program, '--benchmark_format=json', f'--benchmark_repetitions={repetitions}',
                          '--benchmark_enable_random_interleaving=true'],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f'{program}: status {run.returncode}: {run.stderr.strip()}')
    seen = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in json.loads(run.stdout)['benchmarks']:
        what, whose = line['run_name'].split('/')[:2]
        if line.get('run_type') != 'aggregate' and not line.get('error_occurred'):
            seen[what][whose].append(line['ticks'])
    return seen


def compare(seen, targets):
    """A row for each operation and peer; without a peer, one with what Chalk's costs."""
    for what, whose in sorted(seen.items()):
        ours = statistics.median(whose.pop('chalk'))
        row = {'operation': what, 'chalk': ours, 'peer': None}
        target = next((ratio for prefix, ratio in targets.items() if what.startswith(prefix)), None)
        for peer, ticks in whose.items():
            theirs = statistics.median(ticks)
            row = {**row, 'peer': peer, 'peer_ticks': theirs, 'ratio': ours / theirs, 'target': target,
                   'met': target is None or ours <= target * theirs}
            yield row
        if not whose:
            yield row


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('program')
    parser.add_argument('targets', nargs='*')
    parser.add_argument('--repetitions', type=int, default=51)
    parser.add_argument('--json')
    options = parser.parse_args()
    targets = {prefix: float(ratio) for prefix, _, ratio in (text.rpartition('=') for text in options.targets)}

    rows = list(compare(measure(options.program, options.repetitions), targets))
    print(f'{"ticks":36} {"chalk":>8} {"peer":>8}  {"ratio":>5}')
    for row in rows:
        line = f'{row["operation"]:36} {row["chalk"]:8.1f}'
        if row['peer']:
            verdict = '' if row['target'] is None else f'  {"<=" if row["met"] else "NOT <="} {row["target"]}'
            line += f' {row["peer_ticks"]:8.1f}  {row["ratio"]:5.2f}{verdict}  ({row["peer"]})'
        print(line)
    if not any(row['peer'] for row in rows):
        print('no peer was built in: its Debian package is missing (rings: apt install libdpdk-dev)')
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(rows, file, indent=1)


if __name__ == '__main__':
    main()
