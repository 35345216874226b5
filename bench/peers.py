# SPDX-License-Identifier: BSD-2-Clause
"""Compares what a benchmark program measured of Chalk with what it measured of others, in the same run.

The programs are Google Benchmark's, with benchmarks called "what/whose", whose is "chalk" or a peer, that count "ticks". All
repetitions run interleaved, in random order, since the machine's mood changes by the second; compared are the medians.
"""
import collections
import json
import os
import re
import statistics
import sys

from bench import progress


def measure(program, repetitions):
    """{what: {whose: [ticks]}}, and ticks a second, if the program tells"""
    run = progress.run([program, '--benchmark_format=json', f'--benchmark_repetitions={repetitions}',
                        '--benchmark_enable_random_interleaving=true', '--benchmark_min_time=0.01'],
                       f'{os.path.basename(program)}, {repetitions} repetitions')
    if run.returncode:
        sys.exit(f'{program}: status {run.returncode}: {run.stderr.strip()}')
    told = json.loads(run.stdout)
    seen = collections.defaultdict(lambda: collections.defaultdict(list))
    for line in told['benchmarks']:
        what, whose = line['run_name'].split('/')[:2]
        if line.get('error_occurred'):
            sys.exit(f'{program}: {what}, {whose}: {line["error_message"]}')
        if line.get('run_type') != 'aggregate':
            seen[what][whose].append(line['ticks'])
    return seen, told['context'].get('ticks_per_second')


def in_order(text):
    """burst 8 comes before burst 32."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', text)]


def compare(seen, wanted):
    """
    A row for each operation and peer; without a peer, one with what Chalk's costs. wanted(what, peer) is the most that
    ours may cost of theirs, or None.
    """
    for what, whose in sorted(seen.items(), key=lambda item: in_order(item[0])):
        ours = statistics.median(whose.pop('chalk'))
        row = {'operation': what, 'chalk': ours, 'peer': None}
        for peer, ticks in whose.items():
            theirs = statistics.median(ticks)
            target = wanted(what, peer)
            yield {**row, 'peer': peer, 'peer_ticks': theirs, 'ratio': ours / theirs, 'target': target,
                   'met': target is None or ours <= target * theirs}
        if not whose:
            yield row
