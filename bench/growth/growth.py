# SPDX-License-Identifier: BSD-2-Clause
"""What one more costs when there are few of a kind, and when there are many."""
import collections
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../nvme'))
import count  # noqa: E402

FEW = 100
ROUNDS = 64  # as in measure.h
LINUX, BARE, NVME, MODEL = PROGRAMS = ['bench-growth', 'bench-growth-bare', 'bench-growth-nvme', 'bench-growth-model']
Operation = collections.namedtuple('Operation', 'title many growth program few', defaults=[LINUX, FEW])

# Without a growth that is wanted: what it costs depends on where in memory it is, and so on the processor's caches.
OPERATIONS = {
    'page': Operation('a page of an arena', 100_000, 2),
    'page-behind-holes': Operation('2 pages, behind holes of one', 100_000, None),
    'page-back': Operation('a page given back', 100_000, 2),
    'any-page-back': Operation('the same, in no order', 100_000, None),
    'claim': Operation('a claim', 100_000, 2),
    'claim-back': Operation('a claim released', 100_000, None),
    'span': Operation('a claim in a span of its own', 10_000, None),
    'task': Operation('a task, with its guard page', 10_000, 2),
    'timer': Operation('a timer armed', 1_000_000, 2),
    'timer-back': Operation('a timer cancelled', 1_000_000, None),
    'address': Operation('device addresses for a span', 65_535, None),
    'mapping': Operation('a mapping of a domain', 65_535, None),
    'mapping-back': Operation('a mapping taken back', 65_535, None),
    'guard': Operation('a guard page', 10_000, 2),
    'record': Operation('a mapping, recorded for a process', 65_535, None),
    'record-back': Operation('that record removed', 65_535, None),
    'model-map': Operation('a mapping, in a model', 65_471, None, MODEL),
    'model-map-back': Operation('the same returned', 65_471, None, MODEL),
    'irq': Operation('an interrupt, recorded likewise', 2_048, None),
    'irq-again': Operation('the same set again', 2_048, None),
    'message': Operation('a message, to a loop that holds', 191, 2, LINUX, 1),
    'nvme-queue': Operation('an NVMe queue, opened and closed', 62, 2, NVME, 1),
    'nvme-namespace': Operation('an NVMe namespace, the next one', 100_000, 2, NVME),
    'bare-mapping': Operation('a mapping on bare metal', 65_471, None, BARE),
    'bare-mapping-back': Operation('the same taken back', 65_471, None, BARE),
    'bare-function': Operation('a PCI function, listed, on bare metal', 65_472, 2, BARE),
    'bare-device': Operation('a PCI function, opened, on bare metal', 65_472, None, BARE),
    'bare-address': Operation('a PCI function without an address, opened', 65_472, None, BARE),
    'bare-domain': Operation('a domain on bare metal', 65_536, 2, BARE),
}


def run(words):
    result = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f'{" ".join(words)}: status {result.returncode}\n{result.stderr}')
    return result.stdout


def most(what):
    """How many there can be of it."""
    return OPERATIONS[what].many if what in OPERATIONS else sys.maxsize


def command(folder, what, objects):
    program = OPERATIONS[what].program if what in OPERATIONS else LINUX
    return [os.path.join(folder, program), what, str(objects)]


def ticks(folder, what, objects):
    return int(run(command(folder, what, objects)))


def instructions(folder, what, objects):
    """Of ROUNDS times; what clears memory is left out, as it is no work for a structure."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, 'out')
        run(['valgrind', '--tool=callgrind', f'--callgrind-out-file={out}', '--toggle-collect=measured',
             *command(folder, what, objects)])
        return sum(number for name, number in count.parse(out) if 'memset' not in name)


def rows(folder, repetitions):
    """A row each, interleaved; the medians."""
    seen = collections.defaultdict(list)
    for _ in range(min(repetitions, 5)):
        for what, operation in OPERATIONS.items():
            for objects in (operation.few, operation.many):
                seen[what, objects].append(ticks(folder, what, objects))
    for what, operation in OPERATIONS.items():
        few = statistics.median(seen[what, operation.few])
        many = statistics.median(seen[what, operation.many])
        yield {'operation': f'{operation.title}, of {operation.many}', 'chalk': many, 'few': few, 'few_of': operation.few,
               'growth': many / max(few, 1), 'target': operation.growth,
               'met': operation.growth is None or many <= operation.growth * few}
