#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the programs say to a mistake, and the JSON that they print: programs_test.py BUILD

Each program is run with each obvious mistake, beside a model of a disk: its exit status, that its message names the
cure, and that it takes two lines at most. Each --json is parsed, and has the members of docs/nvme-commands.md.
"""
import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests'))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
ENVIRONMENT = {'PATH': '/usr/bin:/bin', 'CHALK_UNPINNED': '1', 'CHALK_LOG': 'error'}
LONGEST = 2  # lines of a message

NVME = ['nvme-identify', 'nvme-log', 'nvme-features', 'nvme-format', 'nvme-zns', 'nvme-verify', 'nvme-perf']
ENOUGH = {'nvme-format': ['--block-size', '512', '--overwrite'], 'nvme-verify': ['--overwrite', '--blocks', '8', '--depth', '4'],
          'nvme-perf': ['--count', '8']}  # arguments without which a program does not get to its device
EXAMPLES = ['read-blocks', 'edu']
SILENT = ['hello', 'ticker', 'own-memory', 'own-scheduler', 'two-loops']  # take no arguments
PROGRAMS = [*NVME, *EXAMPLES, 'chalk-model']

# Names of devices, by what is wrong with them: parts of the message. They are opened by each program that has a device.
NAMES = {
    'vfio-user:': ['path is missing', 'vfio-user:/tmp/disk'],
    'vfio-user:{file}': ['is not a socket'],
    'vfio-user:{folder}': ['is not a socket'],
    'vfio-user:{folder}/nothing': ['there is no socket', 'is the device\'s process running?'],
    'vfio-user:{left}': ['no process listens on', 'has ended'],
    'vfio-user:/{long}': ['at most 107 characters'],
    '{socket}': ['is a socket', 'vfio-user:{socket}'],
    '{file}': ['PCI address', 'lspci -D', 'vfio-user:'],
    'nonsense': ['PCI address', 'lspci -D', 'vfio-user:'],
    '': ['PCI address', 'lspci -D', 'vfio-user:'],
    '9999:99:1f.7': ['there is no device', 'lspci -D'],
}

# Of all programs with a table of options.
OPTIONS = {
    '--nonsense': ['--nonsense', 'no such option', '--help'],
    '-x': ['-x', 'no such option', '--help'],
    'two devices': ['one argument too many', '--help'],
}

# program arguments: status, parts of the message
MISTAKES = {
    'nvme-identify --json=1': (2, ['takes no value']),
    'nvme-log --log weather': (2, ['must be one of', 'health']),
    'nvme-log --log': (2, ['needs a value', 'health']),
    'nvme-log --page 256': (2, ['from 0 to 255']),
    'nvme-log --page 2 --size 6': (2, ['not a multiple of 4']),
    'nvme-log --size 16': (2, ['only with --page']),
    'nvme-log --count 3': (2, ['only with --watch']),
    'nvme-log --log health --watch 1': (2, ['only one of them']),
    'nvme-log --watch 0': (2, ['from 0.001 to']),
    'nvme-log --watch now': (2, ['such as 2 or 0.5']),
    'nvme-log --page 0xff {disk}': (1, ['does not give this log page, 0xff']),
    'nvme-log --page 2 --offset 1K {disk}': (1, ['512 bytes at --offset 1024', 'is the page that long?']),
    'nvme-features --feature colour': (2, ['colour', 'nvme-features lists']),
    'nvme-features --set 1': (2, ['needs --feature']),
    'nvme-features --save': (2, ['needs --set']),
    'nvme-features --feature queues --set 1': (2, ['only the driver']),
    'nvme-features --feature power --set 1 --save {disk}': (1, ['refuses to set power']),
    'nvme-features --feature 0xfe {disk}': (1, ['cannot read 0xfe', 'no such feature', 'nvme-features lists']),
    'nvme-features --feature 0 {disk}': (1, ['cannot read 0', 'no such feature']),
    'nvme-features --feature=': (2, ['--feature', 'value is empty']),
    'nvme-format --overwrite {disk}': (2, ['--block-size', '--format']),
    'nvme-format --block-size 512 --format 0': (2, ['not both']),
    'nvme-format --block-size 512 {disk}': (2, ['destroys', 'add --overwrite']),
    'nvme-format --block-size 100 --overwrite {disk}': (2, ['no such format', 'nvme-identify']),
    'nvme-format --format 60 --overwrite {disk}': (2, ['no such format', 'nvme-identify']),
    'nvme-format --format 0 --overwrite --namespace 7 {disk}': (1, ['no namespace 7', 'nvme-identify']),
    'nvme-zns --namespace 2 {disk}': (1, ['has no zones']),
    'nvme-zns --zone 99 {disk}': (2, ['the last zone is']),
    'nvme-zns --do reset {disk}': (2, ['--zone', '--all']),
    'nvme-zns --do reset --zone 0 {disk}': (2, ['add --overwrite']),
    'nvme-zns --do paint --zone 0': (2, ['must be one of open']),
    'nvme-zns --append 1000 --zone 0 --overwrite {disk}': (2, ['at most 65536 bytes']),
    'nvme-verify --blocks 8 --namespace 2 {disk}': (2, ['destroys', 'add --overwrite']),
    'nvme-verify --start 1G --overwrite --namespace 2 {disk}': (2, ['the last block']),
    'nvme-verify --blocks 1G --overwrite --namespace 2 {disk}': (2, ['only']),
    'nvme-verify --sizes 4096,x': (2, ['from 1 to 64M', 'odd', 'block']),
    'nvme-verify --sizes 1000 --overwrite --namespace 2 {disk}': (2, ['block size, 512']),
    'nvme-verify --sizes 64M --depth 1 --overwrite --namespace 2 {disk}': (2, ['at most']),
    'nvme-verify --read-only --crc-only': (2, ['only one of them']),
    'nvme-verify --overwrite --read-only {disk}': (2, ['--overwrite, --read-only', 'only one of them']),
    'nvme-verify --overwrite --crc-only {disk}': (2, ['--overwrite, --crc-only', 'only one of them']),
    'nvme-verify --seed 1 --seed 2': (2, ['--seed', 'only once']),
    'nvme-verify --timeout 0': (2, ['from 1 to']),
    'nvme-verify --namespace 7 --read-only {disk}': (1, ['no namespace 7', 'nvme-identify']),
    'nvme-perf --seconds 1 --count 8': (2, ['only one of them']),
    'nvme-perf --seconds 0': (2, ['from 0.001 to 86400']),
    'nvme-perf --seconds 1h': (2, ['such as 2 or 0.5']),
    'nvme-perf --size 4096B': (2, ['K, M, G']),
    'nvme-perf --size 1000 --namespace 2 {disk}': (2, ['block size, 512']),
    'nvme-perf --size 32M --depth 1 --namespace 2 {disk}': (2, ['at most']),
    'nvme-perf --depth 5000 --size 512 --namespace 2 {disk}': (2, ['--depth 5000', 'at most']),
    'nvme-perf --op erase': (2, ['read|write|mixed']),
    'nvme-perf --op write --namespace 2 {disk}': (2, ['add --overwrite']),
    'nvme-perf --verify': (2, ['--op write']),
    'nvme-perf --coalesce 8': (2, ['--mode interrupt']),
    'nvme-perf --cores 64': (2, ['--cores 64']),
    'nvme-perf --trace 10 --cores 2': (2, ['--cores 1']),
    'read-blocks a b': (2, ['usage: read-blocks']),
    'read-blocks --json': (2, ['usage: read-blocks']),
    'edu --json': (2, ['usage: edu']),
    'chalk-model': (2, ['name a model: nvme or edu']),
    'chalk-model tape': (2, ['name a model: nvme or edu']),
    'chalk-model nvme': (2, ['--socket', '/tmp/disk']),
    'chalk-model nvme edu': (2, ['one argument too many']),
    'chalk-model nvme --socket {new}': (2, ['--size 1G']),
    'chalk-model nvme --socket {new} --size 1000': (2, ['from 4096']),
    'chalk-model nvme --socket {new} --size 1M --block-size 1024': (2, ['512 or 4096']),
    'chalk-model nvme --socket {new} --size 1M --backing tape': (2, ['null, ram, file:PATH or raw:PATH']),
    'chalk-model nvme --socket {new} --backing file:{folder}/nothing': (2, ['No such file']),
    'chalk-model nvme --socket {new} --backing file:{folder}': (2, ['directory']),
    'chalk-model nvme --socket {new} --backing file:{file}': (2, ['9 bytes', 'blocks of 512 bytes']),
    'chalk-model nvme --socket {new} --backing raw:{file}': (2, ['9 bytes', 'blocks of 512 bytes']),
    'chalk-model nvme --socket {new} --size 1M --size2 1M --backing2 file:{file}': (2, ['has 9 bytes', 'leave --size out']),
    'chalk-model nvme --socket {new} --backing file:{raw} --block-size 4096': (2, ['17920 bytes', 'blocks of 4096 bytes']),
    'chalk-model nvme --socket {new} --backing file:{raw} --size 16K': (2, ['has 17920 bytes', 'leave --size out']),
    'chalk-model nvme --socket {new} --backing file:{raw} --size 1M': (2, ['has 17920 bytes', 'leave --size out']),
    'chalk-model nvme --socket {new} --size 1M --size 2M': (2, ['--size', 'only once']),
    'chalk-model nvme --socket {new} --size 1M --once --once': (2, ['--once', 'only once']),
    'chalk-model edu --socket {new} --size 1G': (2, ['--size', 'only with nvme']),
    'chalk-model edu --socket {new} --detached2': (2, ['--detached2', 'only with nvme']),
    'chalk-model edu --socket {new} --serial X': (2, ['--serial', 'only with nvme']),
    'chalk-model nvme --socket {new} --size 1M --detached2': (2, ['--detached2', '--size2']),
    'chalk-model nvme --socket {new} --size 1M --block-size2 512': (2, ['--block-size2', '--size2']),
    'chalk-model nvme --socket {new} --size 1M --backing2 ram': (2, ['--backing2', '--size2']),
    'chalk-model nvme --socket {new} --size 1M --size2 1M --block-size2 1K': (2, ['--block-size2 1024']),
    'chalk-model nvme --socket {new} --size 1M --backing2 file:{folder}/nothing': (2, ['No such file']),
    'chalk-model nvme --socket {new} --size 1M --zone-capacity 4K': (2, ['--zone-capacity', 'only with --zone-size']),
    'chalk-model nvme --socket {new} --size 1M --open-zones 4': (2, ['--open-zones', 'only with --zone-size']),
    'chalk-model nvme --socket {new} --size 1M --active-zones 4': (2, ['--active-zones', 'only with --zone-size']),
    'chalk-model nvme --socket {new} --size 1M --zone-size 64K --open-zones 5 --active-zones 4': (2, ['--open-zones 5', '4']),
    'chalk-model nvme --socket {new} --size 1M --zone-size 3K': (2, ['--zone-size 3072', '1048576 bytes', 'whole zones']),
    'chalk-model nvme --socket {new} --size 1M --zone-size 64K --zone-capacity 1000': (2, ['whole blocks']),
    'chalk-model nvme --socket {new} --size 1M --zone-size 8M': (2, ['--zone-size 8388608', 'whole zones']),
    'chalk-model nvme --socket {new} --size 1M --processor 1023': (2, ['--processor 1023', 'taskset']),
    'chalk-model nvme --socket {new} --size 1M --script {folder}/nothing': (2, ['No such file']),
    'chalk-model nvme --socket {new} --size 1M --script {folder}': (2, ['--script', 'directory']),
    'chalk-model nvme --socket {new} --size 1M --zone-size 513': (2, ['--zone-size 513', 'whole blocks']),
    'chalk-model nvme --socket {new} --size 1M --serial 123456789012345678901': (2, ['--serial', 'at most 20 characters']),
    'chalk-model nvme --socket {new} --size 1M --serial \u00e9': (2, ['--serial', 'printable ASCII']),
    'chalk-model nvme --socket= --size 1M': (2, ['--socket', 'value is empty']),
    'chalk-model nvme --socket {file} --size 1M': (1, ['cannot listen on']),
    'chalk-model nvme --socket {folder}/no/where --size 1M': (1, ['cannot listen on']),
    'chalk-model nvme --socket {socket} --size 1M': (1, ['another process']),
    'chalk-model nvme --socket /{long} --size 1M': (1, ['cannot listen on']),
}
# What would take gigabytes if memory were claimed before it is refused.
LARGE = {
    'nvme-verify --depth 65534 --overwrite --namespace 2 {disk}': 'queues hold at most',
    'nvme-verify --sizes 64M --overwrite --namespace 2 {disk}': 'at most',
    'nvme-perf --depth 65534 --namespace 2 {disk}': 'queues hold at most',
    'nvme-perf --depth 65534 --size 64M --namespace 2 {disk}': 'queues hold at most',
}

# What --json has to have: program arguments: members of each line, by their types. {} stands for any line.
NUMBER, TEXT, YES_OR_NO, NULL = int, str, bool, type(None)
REAL = float
JSON = {
    'nvme-identify': [{
        'address': TEXT, 'vid': NUMBER, 'ssvid': NUMBER, 'sn': TEXT, 'mn': TEXT, 'fr': TEXT, 'cntlid': NUMBER, 'ver': NUMBER,
        'oncs': NUMBER, 'nn': NUMBER, 'vwc': NUMBER, 'max_transfer': NUMBER, 'page_size': NUMBER, 'queue_entries': NUMBER,
        'controller_memory': NUMBER,
        'namespaces': [{'nsid': NUMBER, 'nsze': NUMBER, 'ncap': NUMBER, 'nuse': NUMBER, 'format': NUMBER,
                        'formats': [{'block_size': NUMBER, 'metadata_size': NUMBER}]}]}],
    'nvme-log': [{
        'log': TEXT, 'warnings': [TEXT], 'temperature_celsius': NUMBER, 'sensors_celsius': [NUMBER], 'spare_percent': NUMBER,
        'spare_threshold_percent': NUMBER, 'used_percent': NUMBER, 'units_read': NUMBER, 'units_written': NUMBER,
        'reads': NUMBER, 'writes': NUMBER, 'busy_minutes': NUMBER, 'power_cycles': NUMBER, 'power_hours': NUMBER,
        'unsafe_shutdowns': NUMBER, 'media_errors': NUMBER, 'errors': NUMBER, 'warning_minutes': NUMBER,
        'critical_minutes': NUMBER}],
    'nvme-log --log errors': [{
        'log': TEXT, 'errors': [{'number': NUMBER, 'queue': NUMBER, 'command': NUMBER, 'namespace': NUMBER, 'lba': NUMBER,
                                 'status': NUMBER, 'meaning': TEXT}]}],
    'nvme-log --log firmware': [{'log': TEXT, 'active': NUMBER, 'next': NUMBER, 'revisions': [TEXT]}],
    'nvme-log --log changed': [{'log': TEXT, 'complete': YES_OR_NO, 'namespaces': [NUMBER]}],
    'nvme-log --log effects': [{'log': TEXT, **{kind: [{
        'opcode': NUMBER, 'changes_blocks': YES_OR_NO, 'changes_namespaces': YES_OR_NO, 'changes_inventory': YES_OR_NO,
        'changes_controller': YES_OR_NO, 'alone': NUMBER}] for kind in ('admin', 'io')}}],
    'nvme-log --page 2 --size 8': [{'page': NUMBER, 'offset': NUMBER, 'size': NUMBER, 'data': TEXT}],
    'nvme-log --watch 0.2': [{'events': NUMBER}],
    'nvme-features': [{'select': TEXT, 'features': [{
        'id': NUMBER, 'name': TEXT, 'value': NUMBER, 'changeable': YES_OR_NO, 'saveable': YES_OR_NO}]}],
    'nvme-features --feature write-cache --set 0': [{'select': TEXT, 'features': [{
        'id': NUMBER, 'name': TEXT, 'value': NUMBER, 'changeable': YES_OR_NO, 'saveable': YES_OR_NO}]}],
    'nvme-zns': [{
        'namespace': NUMBER, 'zone_count': NUMBER, 'zone_size': NUMBER, 'max_open': NUMBER, 'max_active': NUMBER,
        'max_append': NUMBER, 'zones': [{'zone': NUMBER, 'start': NUMBER, 'capacity': NUMBER, 'written': NUMBER,
                                         'state': TEXT}]}],
    'nvme-zns --append 2 --zone 1 --overwrite --count 1': [{
        'namespace': NUMBER, 'zone_count': NUMBER, 'zone_size': NUMBER, 'max_open': NUMBER, 'max_active': NUMBER,
        'max_append': NUMBER, 'appended': {'zone': NUMBER, 'blocks': NUMBER, 'lba': NUMBER},
        'zones': [{'zone': NUMBER, 'start': NUMBER, 'capacity': NUMBER, 'written': NUMBER, 'state': TEXT}]}],
    'nvme-verify --namespace 2 --overwrite --blocks 64': [{
        'namespace': NUMBER, 'start': NUMBER, 'blocks': NUMBER, 'block_size': NUMBER, 'seed': NUMBER,
        'written': {'requests': NUMBER, 'crc32c': TEXT}, 'flushed': YES_OR_NO,
        'read': {'requests': NUMBER, 'crc32c': TEXT}, 'compared': YES_OR_NO, 'differing': NUMBER,
        'differences': [{'lba': NUMBER, 'byte': NUMBER, 'expected': TEXT, 'found': TEXT}], 'result': TEXT}],
    'nvme-perf --namespace 2 --seconds 0.1 --op mixed --verify --overwrite --histogram': [{
        'pattern': TEXT, 'op': TEXT, 'size': NUMBER, 'depth': NUMBER, 'mode': TEXT, 'namespace': NUMBER, 'cores': NUMBER,
        'reads_percent': NUMBER, 'verified': NUMBER, 'latency_us_from': {}, 'requests': NUMBER, 'seconds': REAL, 'iops': REAL,
        'mib_per_s': REAL, 'latency_ns': {name: NUMBER for name in ('p50', 'p99', 'p99_9', 'min', 'max')},
        'doorbells_per_io': REAL, 'interrupts_per_io': REAL, 'submit_ticks': {'median': NUMBER, 'min': NUMBER},
        'reap_ticks': {'median': NUMBER, 'min': NUMBER}, 'tick': TEXT, 'interrupted': YES_OR_NO}],
    'nvme-format --namespace 2 --block-size 4096 --overwrite': [{
        'namespace': NUMBER, 'format': NUMBER, 'blocks': NUMBER, 'block_size': NUMBER, 'metadata_size': NUMBER}],
}


SERIAL = 'a"b\\c'  # what JSON has to escape


class Places:
    """What the arguments of the tables stand for, in a folder of their own."""

    def __init__(self, folder):
        self.names = {'folder': folder, 'long': 'x' * 200}
        for name in ('socket', 'left', 'file', 'new', 'once', 'raw'):
            self.names[name] = os.path.join(folder, name)
        self.names['disk'] = 'vfio-user:' + self.names['socket']
        with open(self.names['file'], 'w', encoding='ascii') as file:
            file.write('precious\n')
        with open(self.names['raw'], 'wb') as file:
            file.truncate(35 * 512)
        for name in ('file', 'raw'):
            os.chmod(self.names[name], 0o666)
        with socket.socket(socket.AF_UNIX) as left:  # as of a process that was killed
            left.bind(self.names['left'])
            left.listen()
        os.chmod(self.names['left'], 0o777)
        os.chmod(folder, 0o777)  # the programs give root away

    def fill(self, text):
        return text.format(**self.names)


def run(name, *arguments, stdout=subprocess.PIPE, environment=ENVIRONMENT, **more):
    return subprocess.run([os.path.join(BUILD, name), *arguments], stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=subprocess.PIPE, text=True, errors='replace', timeout=60, env=environment,
                          **worlds.ordinary(), **more)


def lines(text):
    return text.splitlines()


def mistake(test, shows, done, status, parts):
    """One case: the status, the cure, and no more than that. Nothing is printed where results go."""
    missing = [part for part in parts if part not in done.stderr]
    test.result(done.returncode == status and not missing and len(lines(done.stderr)) <= LONGEST and not done.stdout,
                f'{shows}: {", ".join(parts)}',
                f'status {done.returncode}, not {status}; missing {missing}\n{done.stdout}{done.stderr}')


def mistakes(test, places):
    for program in [*NVME, *EXAMPLES]:
        for name, parts in NAMES.items():
            done = run(program, *ENOUGH.get(program, ()), places.fill(name))
            mistake(test, f'{program} {name!r}', done, 1, [places.fill(part) for part in parts])
        empty = {**ENVIRONMENT, 'CHALK_BUS': ''}  # a bus on which there is nothing
        mistake(test, f'{program}, and nothing is on the bus', run(program, *ENOUGH.get(program, ()), environment=empty), 1,
                ['on the bus', 'PCI address', 'vfio-user:'])
    for program in NVME:
        for shows, parts in OPTIONS.items():
            words = ['a', 'b'] if shows == 'two devices' else [shows]
            mistake(test, f'{program} {shows}', run(program, *words), 2, parts)
        if program not in ('nvme-identify', 'nvme-log', 'nvme-features'):
            for number, parts in {'0': ['must be from 1'], 'x': ['not a whole number']}.items():
                mistake(test, f'{program} --namespace {number}', run(program, '--namespace', number), 2, parts)
    few = 4 << 30  # bytes: what depth and sizes ask for is twice that, and is not asked for in vain
    done = run('nvme-verify', '--depth', '65534', 'nonsense',
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (few, few)))
    mistake(test, 'nvme-verify --depth 65534 nonsense', done, 1, ['PCI address'])
    for command, (status, parts) in MISTAKES.items():
        program, *arguments = command.split()
        mistake(test, command, run(program, *(places.fill(word) for word in arguments)), status, parts)
    # Nor is it claimed when the device is there, and the controller cannot do what was asked for.
    few = 1 << 30
    for command, part in LARGE.items():
        program, *arguments = command.split()
        done = run(program, *(places.fill(word) for word in arguments),
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (few, few)))
        mistake(test, f'{command}, with {few >> 20} MiB', done, 2, [part])


def in_use(test, places):
    """A device process has one client; the next one is told so."""
    first = subprocess.Popen([os.path.join(BUILD, 'nvme-log'), '--watch', '30', places.names['disk']], env=ENVIRONMENT,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **worlds.ordinary())
    try:
        first.stdout.readline()  # not before the controller is its
        process = run('nvme-identify', places.names['disk'])
    finally:
        first.send_signal(signal.SIGTERM)
        said = first.communicate(timeout=30)[0]
    mistake(test, 'nvme-identify of a disk in use', process, 1, ['is in use', 'another program'])
    test.equal((first.returncode, said), (130, '  0 in all\n'), 'nvme-log --watch, interrupted, ends with 130')


def stopped(test, places):
    """SIGTERM while a program waits for a device's process that does not answer: it was interrupted, and says so."""
    with worlds.model(os.path.join(BUILD, 'chalk-model'), 'nvme', places.names['new'], '--size', '1M') as model:
        model.send_signal(signal.SIGSTOP)
        try:
            program = subprocess.Popen([os.path.join(BUILD, 'nvme-identify'), 'vfio-user:' + places.names['new']], env=ENVIRONMENT,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       **worlds.ordinary())
            time.sleep(0.5)
            program.send_signal(signal.SIGTERM)
            said = program.communicate(timeout=60)
        finally:
            model.send_signal(signal.SIGCONT)
    test.result(program.returncode == 130, 'nvme-identify, interrupted while it opens a device, ends with 130',
                f'{program.returncode}: {said}')


def few_files(test, places):
    """Too few descriptors, at each point of a program's way: the limit is named, and nothing else is blamed."""
    wrong, failed = [], 0
    for most in range(4, 20):  # with 3 ld.so finds no libraries
        done = run('nvme-perf', '--count', '8', places.names['disk'], preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (most, most)))
        failed += done.returncode != 0
        blamed = [word for word in ('broke', 'it sent', 'sysctl', 'Linux has no') if word in done.stderr]
        if done.returncode != 0 and (blamed or f'limit of this process is {most}' not in done.stderr or
                                     'ulimit -n' not in done.stderr):
            wrong.append(f'{most}: {done.stderr}')
    test.result(failed > 5 and not wrong, f'{failed} limits of descriptors are too low, and are named', '\n'.join(wrong))


def helped(test):
    """-h and --help say the same, and all that there is to say."""
    for program in PROGRAMS:
        short, long = run(program, '-h'), run(program, '--help')
        test.result(short.returncode == long.returncode == 0 and short.stdout == long.stdout and not short.stderr and
                    f'usage: {program} ' in short.stdout, f'{program} -h and --help', short.stdout + short.stderr)


def versions(test):
    with open(os.path.join(ROOT, 'meson.build'), encoding='utf-8') as file:
        version = re.search(r"version: '([^']+)'", file.read())[1]
    for program in [*NVME, 'chalk-model']:
        done = run(program, '--version')
        test.equal((done.returncode, done.stdout, done.stderr), (0, f'{program} (Chalk) {version}\n', ''),
                   f'{program} --version')


def variables(test):
    """Whatever a hosted program reads from its environment is in its --help."""
    read = []
    for folder, _, names in os.walk(os.path.join(ROOT, 'hosted')):
        for name in names:
            with open(os.path.join(folder, name), encoding='utf-8') as file:
                read += re.findall(r'getenv\("(\w+)"\)', file.read())
    test.contains(run('chalk-model', '--help').stdout, 'CHALK_LOG=', 'chalk-model --help names its environment variable')
    for program in NVME:
        text = run(program, '--help').stdout
        missing = [name for name in read if name + '=' not in text]
        test.result(read and not missing, f'{program} --help names its environment variables', f'not {missing}')


def full(test, places):
    """Who prints into a full disk, or a closed descriptor, fails, and says so."""
    for command in (*(f'{program} --help' for program in PROGRAMS), *SILENT, *(f'{line} --json {{disk}}' for line in JSON),
                    'read-blocks {disk}', 'nvme-identify {disk}', 'nvme-perf --count 9 --trace 9 {disk}'):
        program, *arguments = command.split()
        arguments = [places.fill(word) for word in arguments]
        with open('/dev/full', 'w', encoding='ascii') as device:
            done = run(program, *arguments, stdout=device)
        test.result(done.returncode == 1 and 'standard output is not complete' in done.stderr and
                    ('No space left' in done.stderr or 'trace' in command) and len(lines(done.stderr)) <= LONGEST,
                    f'{command} > /dev/full fails', f'{done.returncode}: {done.stderr}')
    for program in ('nvme-identify', 'hello', 'chalk-model'):
        arguments = ['--help'] if program == 'chalk-model' else [places.names['disk']]
        done = run(program, *arguments, stdout=None, preexec_fn=lambda: os.close(1))
        test.result(done.returncode == 1 and 'Bad file descriptor' in done.stderr, f'{program} >&- fails',
                    f'{done.returncode}: {done.stderr}')
    with open('/dev/full', 'w', encoding='ascii') as device:
        done = run('chalk-model', 'nvme', '--size', '1M', '--socket', places.names['once'], stdout=device)
    test.result(done.returncode == 1 and 'No space left' in done.stderr, 'chalk-model ends if its address cannot be printed',
                f'{done.returncode}: {done.stderr}')


def fits(value, shape):
    """Whether a value has the shape: None, or what is wrong with it."""
    if isinstance(shape, list):
        return None if isinstance(value, list) and not any(fits(item, shape[0]) for item in value) else f'{value!r}: {shape}'
    if isinstance(shape, dict):
        if not isinstance(value, dict) or shape and set(value) != set(shape):
            return f'{sorted(value)}, not {sorted(shape)}'
        return next(filter(None, (fits(value[name], kind) for name, kind in shape.items())), None)
    kinds = (int, float) if shape is REAL else shape
    return None if isinstance(value, kinds) and (shape is YES_OR_NO or not isinstance(value, bool)) else \
        f'{value!r} is no {shape.__name__}'


def parsed(test, places):
    with open(os.path.join(ROOT, 'docs/nvme-commands.md'), encoding='utf-8') as file:
        documented = file.read()

    def members(shape):
        for name, inner in shape.items():
            yield name
            yield from members(inner if isinstance(inner, dict) else inner[0] if isinstance(inner, list) and
                               isinstance(inner[0], dict) else {})

    for command, shapes in JSON.items():
        program, *arguments = command.split()
        done = run(program, '--json', *arguments, places.names['disk'])
        try:
            values = [json.loads(line) for line in done.stdout.splitlines()]
        except ValueError as error:
            values = [str(error)]
        wrong = [fits(value, shape) for value, shape in zip(values, shapes)]
        test.result(done.returncode == 0 and len(values) == len(shapes) and not any(wrong) and not lines(done.stderr),
                    f'{command} --json', f'status {done.returncode}, {wrong}\n{done.stdout}{done.stderr}')
        missing = [name for shape in shapes for name in members(shape) if f'`{name}`' not in documented]
        test.result(not missing, f'{command} --json: each member is documented', missing)


def escaped(test, places):
    """Texts of a device may hold what means something in JSON."""
    done = run('nvme-identify', '--json', places.names['disk'])
    test.equal(json.loads(done.stdout or '{}').get('sn'), SERIAL, 'a serial number of quotes and backslashes')


def different(test, places):
    """What nvme-verify finds is in its JSON, and the status says that there is something."""
    done = run('nvme-verify', '--json', '--namespace', '2', '--read-only', '--seed', '2', '--blocks', '4', '--depth', '1',
               places.names['disk'])
    found = json.loads(done.stdout or '{}')
    test.result(done.returncode == 1 and found.get('result') == 'different' and found.get('differing') == 4 and
                len(found.get('differences', ())) == 4 and found.get('written') is None,
                'blocks that differ are in the JSON', f'{done.returncode}: {done.stdout}{done.stderr}')


def address(test, places):
    """A model's address, for programs."""
    process = subprocess.Popen([os.path.join(BUILD, 'chalk-model'), 'edu', '--json', '--socket', places.names['once']],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
                               **worlds.ordinary())
    try:
        seen = json.loads(process.stdout.readline() or '{}')
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
    test.equal(seen, {'model': 'edu', 'address': 'vfio-user:' + places.names['once'], 'process': process.pid},
               'chalk-model --json')


def gone(test, places):
    """Who waits for the events of a device that has gone ends at once, and not with success."""
    place = places.names['once']
    device = subprocess.Popen([os.path.join(BUILD, 'chalk-model'), 'nvme', '--size', '1M', '--socket', place],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
                              **worlds.ordinary())
    device.stdout.readline()
    watch = subprocess.Popen([os.path.join(BUILD, 'nvme-log'), '--watch', '50', 'vfio-user:' + place],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=ENVIRONMENT, **worlds.ordinary())
    watch.stdout.readline()
    began = time.monotonic()
    device.kill()
    device.wait()
    device.stdout.close()
    said, messages = watch.communicate(timeout=60)
    test.result(watch.returncode == 1 and said == '  0 in all\n' and 'reports no more events: no such device' in messages
                and time.monotonic() - began < 20, 'nvme-log --watch ends with its device',
                f'{watch.returncode} after {time.monotonic() - began:.1f} s: {said}{messages}')
    os.unlink(place)


def full_disk(test, places):
    """A model whose file cannot take more says so, once, beside the error that its client gets."""
    disk = os.path.join(places.names['folder'], 'disk.img')
    with open(disk, 'wb') as file:
        file.truncate(1 << 20)
    os.chmod(disk, 0o666)

    def limit():  # as on a disk that is full, but without one
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((512 << 10) + 512, (512 << 10) + 512))

    process = subprocess.Popen([os.path.join(BUILD, 'chalk-model'), 'nvme', '--backing', 'file:' + disk, '--socket',
                                places.names['once']], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=limit, **worlds.ordinary())
    try:
        process.stdout.readline()
        runs = [run('nvme-verify', '--overwrite', '--depth', '1', '--sizes', '4096', '--start', start, '--blocks', '64',
                    'vfio-user:' + places.names['once']) for start in ('0', '1024', '1024', '1536')]
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    test.equal([done.returncode for done in runs], [0, 1, 1, 1], 'writes that do not fit into a file fail')
    test.result(len(lines(said)) == 1 and f'file:{disk}: write of 4096 bytes at 524288 ended after 512: is its disk full?'
                in said, 'the model says why, once', said)


def file_limit(test, places):
    """Below `ulimit -f` nothing is ended by a signal: it is said what is too large."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))

    mistake(test, 'nvme-identify, which may write files of 64 KiB', run('nvme-identify', places.names['disk'], preexec_fn=limit), 1,
            ['64 KiB', 'ulimit -f unlimited'])
    done = run('chalk-model', 'nvme', '--size', '1M', '--socket', places.names['new'], '--backing',
               f'file:{places.names["folder"]}/large', preexec_fn=limit)
    mistake(test, 'chalk-model, which may write files of 64 KiB', done, 2,
            ['large', 'File too large', 'ulimit -f unlimited'])
    done = run('chalk-model', 'nvme', '--size', '1M', '--poll', '--socket', places.names['new'], preexec_fn=lambda:
               resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    test.result(done.returncode == 1 and 'registers' in done.stderr and 'ulimit -f unlimited' in done.stderr,
                'chalk-model --poll, which may write no files: ulimit -f', f'{done.returncode}: {done.stderr}')


def permission(test, places):
    """A socket that may not be opened: permission for it is asked for only where it helps."""
    if os.geteuid() != 0:
        test.skip('sockets of other users', 'root can make them')
        return
    path = os.path.join(places.names['folder'], 'closed')
    for owner, parts in ((1, ['user 1,', f'root or of user {worlds.NOBODY}', 'as the same user']), (0, ['chmod o+w'])):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chown(path, owner, owner)
            os.chmod(path, 0o755)
            listener.listen()
            done = run('nvme-identify', f'vfio-user:{path}')
        mistake(test, f'nvme-identify of a socket of user {owner}', done, 1, parts)
        test.result(owner == 0 or 'chmod' not in done.stderr, f'user {owner}: no cure that leads nowhere', done.stderr)
        os.unlink(path)


SETTINGS = {  # an environment: what is named
    ('CHALK_PATIENCE', 'x'): ['CHALK_PATIENCE', "'x'", 'list of seconds'],
    ('CHALK_RECONNECT', '0'): ['CHALK_RECONNECT', "'0'", 'list of seconds'],
    ('CHALK_CORES', '4095'): ['CHALK_CORES', "'4095'", 'list of processors'],
}


def settings(test, _):
    """A variable that cannot be meant is named."""
    for (name, value), parts in SETTINGS.items():
        mistake(test, f'{name}={value} hello', run('hello', environment={**ENVIRONMENT, name: value}), 1, parts)


MARKS = {  # what an image of a format that is not raw has where: tools/models/image.c
    'qcow2': (0, b'QFI\xfb\0\0\0\3'), 'qcow': (0, b'QFI\xfb\0\0\0\1'), 'qed': (0, b'QED\0'), 'vmdk': (0, b'KDMV'),
    'vdi': (64, b'\x7f\x10\xda\xbe'), 'vhdx': (0, b'vhdxfile'), 'vpc': (-512, b'conectix'),
    'parallels': (0, b'WithoutFreeSpace'),
}


def other_formats(test, places):
    """An image that is not raw is no disk, unless that is asked for; no byte of it is changed."""
    disk = os.path.join(places.names['folder'], 'image')
    for name, (where, mark) in MARKS.items():
        content = bytearray(1 << 16)
        content[where % len(content):where % len(content) + len(mark)] = mark
        with open(disk, 'wb') as file:
            file.write(content)
        os.chmod(disk, 0o666)
        done = run('chalk-model', 'nvme', '--socket', places.names['new'], '--backing', f'file:{disk}')
        mistake(test, f'chalk-model, whose file is {name}', done, 2, [f'is a {name} image', 'qemu-img convert -O raw', f'raw:{disk}'])
        with open(disk, 'rb') as file:
            test.result(file.read() == content, f'{name}: and it is as it was')
    with worlds.model(os.path.join(BUILD, 'chalk-model'), 'nvme', places.names['new'], '--backing', f'raw:{disk}'):
        done = run('nvme-identify', '--json', 'vfio-user:' + places.names['new'])
    test.equal(json.loads(done.stdout or '{}').get('namespaces', [{}])[0].get('nsze'), 128, 'raw: is a disk of its size')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        places = Places(folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(worlds.model(
                os.path.join(BUILD, 'chalk-model'), 'nvme', places.names['socket'], '--size', '16M', '--zone-size', '1M',
                '--open-zones', '4', '--active-zones', '6', '--size2', '8M', '--serial', SERIAL))
            mistakes(test, places)
            parsed(test, places)
            escaped(test, places)
            different(test, places)
            in_use(test, places)
            few_files(test, places)
            stopped(test, places)
            full(test, places)
            file_limit(test, places)
        helped(test)
        versions(test)
        variables(test)
        address(test, places)
        gone(test, places)
        full_disk(test, places)
        other_formats(test, places)
        permission(test, places)
        settings(test, places)


if __name__ == '__main__':
    main()
