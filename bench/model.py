# SPDX-License-Identifier: BSD-2-Clause
"""tools/bench model: what the NVMe driver costs when the device costs nothing: a model that polls on another processor.

The driver on one processor, the model on the other, its disk backed by nothing; medians of repetitions. A request alone
is compared with a cache line that goes there and back, measured in between.
"""
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile

from bench import progress

TARGETS = ['chalk-model', 'bench/model/bench-model-io', 'bench/model/bench-line']
DEPTHS = {1: 50, 32: 1000, 128: 1000}  # queue depth: windows of 4096 requests

BUSY_NS = 40        # of the driver for a request, at depth 32
LINES = 4           # a request alone, in cache lines there and back
IOPS = 4_000_000    # at depth 128, on two processors that have nothing else to do


def run(program, *arguments, **environment):
    done = subprocess.run([program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300, env={**os.environ, **environment})
    if done.returncode:
        sys.exit(f'tools/bench: {program}: status {done.returncode}: {done.stderr.strip()}')
    return json.loads(done.stdout)


@contextlib.contextmanager
def model(program, processor):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'disk')
        process = subprocess.Popen([program, 'nvme', '--socket', path, '--size', '1G', '--block-size', '4096', '--backing',
                                    'null', '--poll', '--processor', str(processor)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        try:
            yield f'vfio-user:{path}'
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def round_of(options, driver, device):
    """One of each measurement."""
    def built(name):
        return os.path.join(options.build, name)

    seen = {'line_ns': run(built('bench/model/bench-line'), driver, device)}
    with model(built('chalk-model'), device) as name:
        for depth, windows in DEPTHS.items():
            seen[depth] = run(built('bench/model/bench-model-io'), name, depth, windows, CHALK_CORES=str(driver))
    return seen


def measure(options):
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        sys.exit('tools/bench: the driver and the model need a processor each, and this machine gives one')
    driver, device = processors[:2]
    count, rounds = min(options.repetitions, 7), []
    for number in range(count):
        progress.say(f'round {number + 1} of {count}, driver on processor {driver}, model on {device}')
        rounds.append(round_of(options, driver, device))

    def median(*keys):
        values = rounds
        for key in keys:
            values = [value[key] for value in values]
        return statistics.median(values)

    line = median('line_ns')
    rows = [
        ('driver, busy for a request at depth 32', median(32, 'busy_ns'), 'ns', '<=', BUSY_NS),
        ('a poll that finds nothing', median(32, 'idle_poll_ns'), 'ns', None, None),
        ('a cache line there and back', line, 'ns', None, None),
        ('a request alone, median', median(1, 'alone_ns'), 'ns', '<=', LINES * line),
        ('reads of 4 KiB a second at depth 32', median(32, 'iops'), '', None, None),
        ('reads of 4 KiB a second at depth 128', median(128, 'iops'), '', '>=', IOPS),
        ('the same, with what others took of it', median(128, 'overall_iops'), '', None, None),
    ]
    table, missed = [], 0
    for what, value, unit, sense, target in rows:
        met = target is None or (value <= target if sense == '<=' else value >= target)
        missed += not met
        wanted = '' if target is None else f'{"" if met else "NOT "}{sense} {target:,.0f}'
        print(f'{what:40} {value:14,.1f} {unit:3} {wanted}'.rstrip())
        table.append({'what': what, 'value': value, 'unit': unit, 'target': target, 'met': met})
    print(f'{missed} of 3 targets missed; medians of {len(rounds)} rounds; driver on processor {driver}, model on {device}')
    with open(options.json, 'w') as file:
        json.dump(table, file, indent=1)
