# SPDX-License-Identifier: BSD-2-Clause
"""tools/bench core: what memory, rings, cores and scheduling cost, beside what others do for the same.

Time is hosted, the median of interleaved repetitions. Instructions are counted on bare metal, of the same bytes, where
the clock goes on by one with each (bench/bare/counts.c).
"""
import json
import os
import re
import sys

from bench import peers, progress
from bench.growth import growth

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = [f'bench/bench-{name}' for name in ('message', 'sched', 'pool', 'ring')]
COUNTS = 'bench/bare/bench-counts.elf'
GROWTH = 'bench/growth'
TARGETS = [*PROGRAMS, COUNTS, *(f'{GROWTH}/{program}' for program in growth.PROGRAMS)]

# What the time should be at most, of a peer's. The first that fits an operation and a peer is meant.
RATIOS = [
    ('SPSC', 'rte_ring', 0.9),
    ('MPMC', 'rte_ring', 1.0),
    ('pool', 'rte_mempool', 1.0),
    ('timer, arm and cancel', 'rte_timer', 0.2),
    ('timer fires', 'rte_timer', 0.5),
    ('yield', 'boost.context', 1.0),
    ('message', 'eventfd', 0.2),
    ('message', 'rte_ring', 1.0),
]
# And instructions. Unikraft 0.16, measured in the same way: 62 to an interrupt's handler, 179 to 297 a yield.
INSTRUCTIONS = {'interrupt to handler': 60, 'interrupt to task': 500, 'task switch': 60}


def ratio_wanted(operation, peer):
    return next((ratio for begin, whose, ratio in RATIOS if operation.startswith(begin) and peer.startswith(whose)), None)


def count_instructions(image):
    """{what: instructions}"""
    run = progress.run([os.path.join(ROOT, 'tools/metal'), '--icount', '--timeout', '120', '--', image],
                       'counting instructions on bare metal')
    if run.returncode:
        sys.exit(f'tools/bench: {image}: status {run.returncode}: {(run.stdout + run.stderr).strip()}')
    return {what: float(count) for what, count in re.findall(r'^(.+): ([\d.]+)$', run.stdout, re.M)}


def timed(options, counts):
    """A row for each operation and peer; without a peer, one with what Chalk's costs."""
    hertz = None
    for program in PROGRAMS:
        seen, told = peers.measure(os.path.join(options.build, program), options.repetitions)
        hertz = options.hertz = float(told or hertz)
        for row in peers.compare(seen, ratio_wanted):
            row['ns'] = row['chalk'] * 1e9 / hertz
            row['instructions'] = counts.pop(row['operation'], None)
            yield row


def grown(options):
    """A row for what there may be many of: the ticks of one more when there are, and how much that is of few."""
    for row in growth.rows(os.path.join(options.build, GROWTH), options.repetitions):
        row['ns'] = row['chalk'] * 1e9 / options.hertz
        row['instructions'] = None
        yield row


def counted(counts):
    for what, instructions in counts.items():
        target = INSTRUCTIONS.get(what)
        yield {'operation': what, 'instructions': instructions, 'target': target,
               'met': target is None or instructions <= target}


def verdict(row):
    if row.get('target') is None:
        return ''
    return f'{"<=" if row["met"] else "NOT <="} {row["target"]}'


def show(row):
    instructions = row['instructions']
    text = f'{row["operation"]:40}'
    text += f' {row["ns"]:9.1f}' if 'ns' in row else ' ' * 10
    text += f' {row["chalk"]:9.1f}' if 'chalk' in row else ' ' * 10
    text += f' {instructions:9.1f}' if instructions is not None else ' ' * 10
    if row.get('peer'):
        text += f' {row["peer_ticks"]:10.1f} {row["ratio"]:6.2f} {verdict(row):11} {row["peer"]}'
    elif 'growth' in row:
        text += f' {row["few"]:10.1f} {row["growth"]:6.2f} {verdict(row):11} with {row["few_of"]}'
    else:
        text += f' {"":17} {verdict(row)}'
    print(text.rstrip(), flush=True)


def measure(options):
    counts = count_instructions(os.path.join(options.build, COUNTS))
    rows = []
    print(f'{"one operation":40} {"ns":>9} {"ticks":>9} {"instr.":>9} {"its ticks":>10} {"ratio":>6} {"wanted":11} peer')
    for make in (lambda: timed(options, counts), lambda: grown(options), lambda: counted(counts)):
        for row in make():
            rows.append(row)
            show(row)
    missed = sum(not row['met'] for row in rows if row.get('target') is not None)
    print(f'{missed} of {sum(row.get("target") is not None for row in rows)} targets missed; medians of '
          f'{options.repetitions} interleaved repetitions; instructions counted on bare metal, the loop around included')
    for peer, package in (('rte_', 'libdpdk-dev'), ('boost', 'libboost-context-dev')):
        if not any((row.get('peer') or '').startswith(peer) for row in rows):
            print(f"without its peer, for which 'apt install {package}', then 'meson setup --reconfigure'")
    with open(options.json, 'w') as file:
        json.dump(rows, file, indent=1)
