#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Shows what Chalk is: one NVMe driver, as a Linux process against a model, over VFIO, and as a bootable image.

    tools/demo [--build DIR]

Installs what is missing (apt), builds, runs nvme-verify and nvme-perf right here against a model; then nvme-identify,
nvme-verify and nvme-perf in both worlds on one disk, lets each verify what the other wrote, counts instructions, proves that the driver is the same bytes in both, and prints a table.
"""
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tools'))
from runner import tool  # noqa: E402

ADDRESS = '0000:00:03.0'
DISK_MIB = 64
STEPS = 7
ROUNDS = 3  # of the measurement, for machines that do other things as well
PROGRAMS = ('nvme-identify', 'nvme-verify', 'nvme-perf')
INTRODUCTION = f"""\
Chalk: one NVMe driver, the same bytes, as a Linux process over VFIO and as a bootable image.
First against a model of a disk, right here; then both run in QEMU on one {DISK_MIB} MiB disk. Of this machine it changes: the folder
of the build; ~/.cache/chalk (the guest's kernel); and the packages, if some are missing: by apt, as root, tools/setup installs
all that Chalk's build, tests and proofs use (QEMU, clang, Frama-C, Why3 and more; tools/setup --check lists what is missing).
It takes about two minutes."""


class Demo:
    def __init__(self, build, folder):
        self.build = build
        self.start = time.monotonic()
        self.step_number = 0
        self.device = f'nvme:{os.path.join(folder, "disk.img")}'
        self.script = os.path.join(folder, 'script.sh')
        self.socket = os.path.join(folder, 'disk')
        with open(os.path.join(folder, 'disk.img'), 'wb') as file:
            file.truncate(DISK_MIB << 20)

    def seconds(self):
        return time.monotonic() - self.start

    def step(self, text):
        self.step_number += 1
        print(f'\n[{self.step_number}/{STEPS}, {self.seconds():.0f} s] {text}', flush=True)

    def tell(self, text):
        print('    ' + text, flush=True)

    def run(self, *command, show=True):
        """Runs a command, shows what it says as it comes, and returns it. Its JSON is for us alone."""
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, errors='replace')
        lines = []
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if show and not line.startswith('{'):
                    self.tell(line.rstrip())
            status = process.wait()
        except BaseException:  # interrupted: what was started ends before us, in its own good order
            process.terminate()
            process.wait()
            raise
        if status:
            for line in lines[-40:] if not show else []:
                self.tell(line)
            sys.exit(f'tools/demo: failed with status {status}: {shlex.join(command)}')
        return lines

    @contextlib.contextmanager
    def model(self):
        """A disk in a process, while it is in use. Its name is what a driver opens."""
        command = [os.path.join(self.build, 'chalk-model'), 'nvme', '--socket', self.socket, '--size', f'{DISK_MIB}M']
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            self.tell(f'$ chalk-model {shlex.join(command[1:])} &')
            if not process.stdout.readline():
                sys.exit('tools/demo: the model did not start')
            yield f'vfio-user:{self.socket}'
        finally:
            process.terminate()
            process.wait()

    def native(self, *command):
        """A program here, on this machine's processor."""
        self.tell('$ ' + shlex.join(command))
        return self.run(os.path.join(self.build, command[0]), *command[1:])

    def hosted(self, *commands, options=(), show=True):
        """Programs in one Linux guest, over VFIO."""
        with open(self.script, 'w') as file:
            file.write('set -e\n')
            for command in commands:
                file.write(f'echo {shlex.quote("$ " + shlex.join(command))}\n{shlex.join(command)}\n')
        files = [part for program in sorted({command[0] for command in commands})
                 for part in ('--file', os.path.join(self.build, program))]
        return self.run('tools/vm', '--timeout', '200', *options, '--device', self.device, *files, '--script', self.script,
                        show=show)

    def bare(self, *command, options=(), show=True):
        """A program as the machine's only software."""
        image = command[0] + '.elf'
        if show:
            self.tell('$ ' + shlex.join([image, *command[1:]]))
        return self.run('tools/metal', '--timeout', '200', *options, '--device', self.device, '--',
                        os.path.join(self.build, image), *command[1:], show=show)


def crc(lines):
    found = re.findall(r'CRC-32C\W+(?:0x)?([0-9a-f]{8})', '\n'.join(lines), re.I)
    return found[-1] if found else '?'


def measured(lines):
    """What nvme-perf found, of several rounds the best: the least disturbed."""
    found = [json.loads(line) for line in lines if line.startswith('{')]
    if not found:
        sys.exit('tools/demo: nvme-perf printed no figures')
    return max(found, key=lambda round: round['iops'])


def told(perf, rounds=ROUNDS):
    best = f' (best of {rounds} rounds)' if rounds > 1 else ''
    return f'{grouped(perf["iops"])} IOPS, latency p50 {perf["latency_ns"]["p50"] / 1000:.0f} us{best}'


def grouped(number):
    """58 325: as people read figures."""
    return f'{number:,.0f}'.replace(',', ' ')


def get_ready(demo):
    demo.run('tools/setup')
    demo.run('tools/vm', '--prepare')
    if not os.path.exists(os.path.join(demo.build, 'build.ninja')):
        demo.run('meson', 'setup', demo.build, show=False)
    files = ['libchalk.a', 'chalk-model'] + [name + kind for name in PROGRAMS for kind in ('', '.elf')]
    demo.tell('compiling; the first time this takes half a minute or so')
    demo.run('ninja', '-C', demo.build, '--quiet', *files, show=False)
    demo.tell(f'built libchalk.a, and with it {len(PROGRAMS)} programs: each as NAME, for Linux, and as NAME.elf, to boot')


def show(demo):
    perf = ('nvme-perf', '--op', 'read', '--pattern', 'random', '--size', '4096', '--depth', '32', '--json')
    timed = (*perf, '--seconds', '2', ADDRESS)
    counted = (*perf, '--count', '4000', '--ticks-are-instructions', ADDRESS)

    demo.step('packages and build')
    get_ready(demo)

    demo.step('here, without root or hardware: the driver against a disk that is a process; write, read back, measure')
    with demo.model() as disk:
        demo.native('nvme-verify', '--overwrite', disk)
        demo.tell(told(measured(demo.native(*perf, '--seconds', '1', disk)), 1))

    demo.step('Linux process: what is the disk? write a pattern, read it back; measure')
    hosted = demo.hosted(('nvme-identify', ADDRESS), ('nvme-verify', '--overwrite', '--seed', '1', ADDRESS),
                         *[timed] * ROUNDS)
    a = measured(hosted)
    demo.tell(told(a))

    demo.step('image: the same disk? verify what the process wrote; write another pattern; measure')
    same_lines(demo, hosted, demo.bare('nvme-identify', ADDRESS, show=False))
    bare_reads = demo.bare('nvme-verify', '--read-only', '--seed', '1', ADDRESS)
    bare = demo.bare('nvme-verify', '--overwrite', '--seed', '2', ADDRESS)
    b = measured([line for _ in range(ROUNDS) for line in demo.bare(*timed)])
    demo.tell(told(b))

    demo.step('Linux process: verify what the image wrote')
    hosted_reads = demo.hosted(('nvme-verify', '--read-only', '--seed', '2', ADDRESS))
    if crc(hosted) != crc(bare_reads) or crc(bare) != crc(hosted_reads):
        sys.exit('tools/demo: the two worlds read different data')

    demo.step('both: count instructions, on a processor whose clock ticks once for each')
    counts = [measured(demo.hosted(counted, options=['--icount'], show=False)),
              measured(demo.bare(*counted, options=['--icount'], show=False))]
    demo.tell('counted over 4000 reads in each')

    demo.step('both: compare the driver, as it was linked')
    same = demo.run('tests/proof/same_bytes.py', os.path.join(demo.build, 'libchalk.a'),
                    os.path.join(demo.build, 'nvme-perf'), os.path.join(demo.build, 'nvme-perf.elf'), show=False)[-1]
    for line in proof(same):
        demo.tell(line)

    print()
    table([('', 'Linux process', 'image'),
           ('random 4 KiB reads, depth 32: IOPS *', grouped(a['iops']), grouped(b['iops'])),
           ('latency p50, us *', *(f'{perf["latency_ns"]["p50"] / 1000:.0f}' for perf in (a, b))),
           ('doorbells per I/O', *(f'{perf["doorbells_per_io"]:.2f}' for perf in (a, b))),
           ('instructions to submit one I/O', *(str(count['submit_ticks']['median']) for count in counts)),
           ('instructions to reap one I/O', *(str(count['reap_ticks']['median']) for count in counts)),
           ('CRC-32C of what the process wrote', crc(hosted), crc(bare_reads)),
           ('CRC-32C of what the image wrote', crc(hosted_reads), crc(bare))])
    print('* of an emulated disk and, without KVM, an emulated processor: compare the columns, not with hardware\n')
    print('\n'.join(proof(same)))
    print(f'{demo.seconds():.0f} s in all. Next: tools/check, and README.md, "A program"')


def same_lines(demo, hosted, bare):
    """nvme-identify in the image: shown only where it differs from what the process saw."""
    strange = [line for line in bare if line not in hosted]
    demo.tell(f'$ nvme-identify.elf {ADDRESS}')
    demo.tell(f'the same {len(bare)} lines as above' if not strange else 'lines that the process did not print:')
    for line in strange:
        demo.tell(line)


def proof(verdict):
    found = re.match(r'same bytes: (\d+) functions, \d+ sections, (\d+) bytes compared, (\d+) relocation', verdict)
    if not found:
        return [verdict]
    functions, size, sites = (grouped(int(number)) for number in found.groups())
    return [f'driver and library are the same in both: {functions} functions, {size} bytes compared, none differs',
            f'({sites} places in them hold addresses, filled in by each link; they name the same things)']


def table(rows):
    for number, (name, *values) in enumerate(rows):
        print(f'{name:38}' + ''.join(f'{value:>16}' for value in values))
        if number == 0:
            print('-' * (38 + 16 * len(values)))


def main():
    parser = tool.Parser(prog='tools/demo', usage='%(prog)s [--build DIR]', description=INTRODUCTION)
    parser.add_argument('--build', default=os.path.join(ROOT, 'build'), metavar='DIR', help='default: build')
    build = os.path.abspath(parser.parse_args().build)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # as at ^C: what was begun is put away
    print(INTRODUCTION, flush=True)
    with tempfile.TemporaryDirectory(prefix='chalk-demo-') as folder:
        show(Demo(build, folder))


if __name__ == '__main__':
    tool.run('tools/demo', main)
