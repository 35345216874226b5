#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Drivers against the models, natively and as an ordinary user: models.py FOLDER SUFFIX

FOLDER has the programs, whose names end with SUFFIX: '' as they ship, or those with a sanitizer.
"""
import contextlib
import difflib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402
from system import nvme_programs  # noqa: E402

FOLDER, SUFFIX = os.path.abspath(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ''

EDU = 'identity 010000ed\n3! = 6\n6! = 720\n9! = 362880\n12! = 479001600\ncopied: there and back again\n'


def program(name):
    return os.path.join(FOLDER, name + SUFFIX)


def run(name, *arguments, bus=None, timeout=240):
    """Runs a program. What it printed is the result's output; messages are what it and Chalk complained of."""
    environment = {'PATH': '/usr/bin:/bin', 'CHALK_UNPINNED': '1', **({'CHALK_BUS': bus} if bus else {})}
    done = subprocess.run([program(name), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors='replace', timeout=timeout, env=environment,
                          **worlds.ordinary())
    return worlds.Separate(done.returncode, done.stdout, done.stderr)


def model(kind, path, *arguments):
    return worlds.model(program('chalk-model'), kind, path, *arguments)


WAYS = {  # how a server can be -> its options
    'events': [],
    'shared doorbells': ['--poll'],
    'memory by messages': ['--copy'],
    'one socket': ['--copy', '--single'],
}


def drivers(test, folder):
    """The same programs that the twin tests run on QEMU's devices."""
    first = None
    for way, options in WAYS.items():
        disk, edu = os.path.join(folder, 'disk'), os.path.join(folder, 'edu')
        with model('nvme', disk, '--size', '8M', '--size2', '8M', '--block-size2', 4096, *options), \
                model('edu', edu, *options):
            result = run('edu', bus=f'vfio-user:{disk},vfio-user:{edu}')
            test.result((result.status, result.output) == (0, EDU), f'{way}: edu, found on the bus', result)
            result = run('twin-nvme', bus=f'vfio-user:{edu},vfio-user:{disk}')
            test.result(result.status == 0, f'{way}: twin-nvme', result.output + result.messages)
            first = first or result.output
            test.result(result.output == first, f'{way}: and it gives the same transcript', '\n'.join(
                difflib.unified_diff(first.splitlines(), result.output.splitlines(), lineterm='')))


def disks(test, folder):
    """What a driver wrote is in the file that the model keeps it in."""
    path, file, second = (os.path.join(folder, name) for name in ('disk', 'disk.img', 'second.img'))
    for way in ('events', 'shared doorbells'):
        with model('nvme', path, '--size', '4M', '--backing', f'file:{file}', '--size2', '1M', '--backing2', f'file:{second}',
                   *WAYS[way]):
            for number, image in ((1, file), (2, second)):
                result = run('nvme-verify', f'vfio-user:{path}', '--overwrite', '--namespace', number)
                test.contains(result.output, f'CRC-32C {worlds.crc32c(image):08x}', f'{way}: nvme-verify, into file {number}')
        with model('nvme', path, '--backing', f'file:{file}'):
            result = run('nvme-identify', f'vfio-user:{path}')
            test.contains(result.output, '8192 blocks, 4 MiB', f'{way}: the file is a disk of its size again')
        os.unlink(file)


def events(test, folder):
    """What a controller tells of its own accord: as QEMU's does, whatever way the model is served."""
    path = os.path.join(folder, 'disk')
    first = None
    for way, options in WAYS.items():
        with model('nvme', path, '--size', '8M', '--size2', '8M', '--detached2', *options):
            result = run('twin-nvme-events', bus=f'vfio-user:{path}')
            test.result(result.status == 0, f'{way}: twin-nvme-events', result.output + result.messages)
            first = first or result.output
            test.equal(result.output, first, f'{way}: and it gives the same transcript')
            result = run('twin-nvme-commands', 'attach', bus=f'vfio-user:{path}')
            test.result(result.status == 0, f'{way}: twin-nvme-commands attach', result.output + result.messages)


def namespaces(test, folder):
    """What QEMU's controller has not: namespaces that are created and deleted, and events of wrong doorbells."""
    path = os.path.join(folder, 'disk')
    for way, options in WAYS.items():
        for argument in ('', 'doorbells'):
            if argument == 'doorbells' and '--poll' in options:
                continue  # what is written to a doorbell of no queue is not looked at
            with model('nvme', path, '--size', '8M', '--size2', '8M', '--detached2', '--spare', '4M', *options):
                result = run('twin-nvme-namespaces', *argument.split(), bus=f'vfio-user:{path}')
                test.result(result.status == 0, f'{way}: twin-nvme-namespaces {argument}', result.output + result.messages)


UNLIKE = {  # programs that say something else with QEMU's controller: why
    'a log as bytes, of the second namespace': 'it has less spare',
    'a feature that cannot be changed': 'its power state is always the same',
    'formatting with metadata': 'it has formats with metadata',
}
ZONES = ['--size', '16M', '--block-size', 4096, '--size2', '8M', '--zone-size', '1M', '--zone-capacity', '768K',
         '--open-zones', 4, '--active-zones', 6]


def programs(test, folder):
    """Programs of administration do and say what they do and say with QEMU's controller."""
    path, file = os.path.join(folder, 'disk'), os.path.join(folder, 'disk.img')
    plain = {name: case for name, case in nvme_programs.PLAIN.items() if name not in UNLIKE}
    for kind, options, cases in (('plain', ['--size', '8M', '--size2', '8M'], plain),
                                 ('zones', ZONES, nvme_programs.ZONED),
                                 ('zones in a file', [*ZONES, '--backing', f'file:{file}'], nvme_programs.ZONED)):
        with model('nvme', path, *options):
            for name, (command, arguments, status, text) in cases.items():
                result = run(command, *arguments.split(), bus=f'vfio-user:{path}')
                test.result(result.status == status and text in result.output + result.messages, f'{kind}: {name}', result)


def commands_by_name(test, folder):
    """A script can name each command that the model carries out, and the manual lists them; or its opcode."""
    path, script = os.path.join(folder, 'disk'), os.path.join(folder, 'command.script')
    with open(script, 'w', encoding='ascii') as file:
        file.write('for nvme\ncommand nonsense 1: ignore\n')
    names = run('chalk-model', 'nvme', '--size', '1M', '--socket', path, '--script', script).messages
    with open(os.path.join(worlds.ROOT, 'docs/models.md'), encoding='utf-8') as file:
        manual = file.read()
    listed = names.partition('which has: ')[2].partition(';')[0].strip().split(', ')
    missing = [name for name in listed if f'`{name}`' not in manual]
    test.result(len(listed) > 20 and not missing, 'the manual lists the commands that a script can name',
                f'not {missing} of {names}')
    with open(os.path.join(worlds.ROOT, 'tools/models/nvme_admin.c'), encoding='utf-8') as admin, \
            open(os.path.join(worlds.ROOT, 'tools/models/nvme_io.c'), encoding='utf-8') as io, \
            open(os.path.join(worlds.ROOT, 'tools/models/nvme_hostile.c'), encoding='utf-8') as hostile:
        done, named = set(re.findall(r'case (NVME_\w+):', admin.read() + io.read())), hostile.read()
    missing = [name for name in done if f'NVME_{name[5:]}, OPCODE' not in named]
    commands = [name for name in missing if not name.startswith(('NVME_FEATURE', 'NVME_LOG', 'NVME_ID'))]
    test.equal(commands, [], 'each command of the model has a name')
    for when in ('format', 'admin-0x80'):
        with open(script, 'w', encoding='ascii') as file:
            file.write(f'for nvme\ncommand {when} 1: status 0x10a\n')
        with model('nvme', path, '--size', '1M', '--script', script):
            result = run('nvme-format', f'vfio-user:{path}', '--block-size', 4096, '--overwrite')
            test.result(result.status == 1 and 'format' in result.messages, f'a script refuses {when}', result)


def formats_of_all(test, folder):
    """A controller that can only format all of its namespaces (FNA, byte 524) is not told to by mistake."""
    path, script = os.path.join(folder, 'disk'), os.path.join(folder, 'fna.script')
    with open(script, 'w', encoding='ascii') as file:
        file.write('for nvme\ncommand identify 1-: put 524 1 1\n')
    with model('nvme', path, '--size', '1M', '--size2', '1M', '--script', script):
        for more, status, text in (([], 2, 'add --all-namespaces'), (['--all-namespaces'], 0, '256 blocks of 4096 bytes')):
            result = run('nvme-format', f'vfio-user:{path}', '--block-size', 4096, '--overwrite', *more)
            test.result((result.status, text in result.output + result.messages) == (status, True),
                        f'formatting all namespaces: {text}', result)


def performance(test, folder):
    path = os.path.join(folder, 'disk')
    for way in ('events', 'shared doorbells'):
        with model('nvme', path, '--size', '64M', '--backing', 'null', *WAYS[way]):
            result = run('nvme-perf', f'vfio-user:{path}', '--seconds', 1, '--depth', 32)
            test.result(result.status == 0, f'{way}: nvme-perf', result.output + result.messages)
        with model('nvme', path, '--size', '8M', *WAYS[way]):
            for command in (('nvme-verify',), ('nvme-perf', '--op', 'mixed', '--count', 4096, '--verify')):
                result = run(*command, f'vfio-user:{path}', '--overwrite', '--shadow-doorbells')
                test.result(result.status == 0 and 'doorbells in memory' in result.output,
                            f'{way}: {command[0]} rings doorbells in memory', result.output + result.messages)


def large(test, folder):
    """Requests of several commands each fill a queue before there are as many as it is deep."""
    path = os.path.join(folder, 'disk')
    with model('nvme', path, '--size', '32M'):
        result = run('nvme-verify', f'vfio-user:{path}', '--overwrite', '--sizes', '2M', '--depth', 4)
        test.result(result.status == 0, 'nvme-verify: a queue that is full of parts', result.output + result.messages)
        result = run('nvme-perf', f'vfio-user:{path}', '--overwrite', '--op', 'mixed', '--size', '2M', '--depth', 4,
                     '--count', 64, '--verify')
        test.result(result.status == 0, 'nvme-perf: a queue that is full of parts', result.output + result.messages)


def wrong_models(test, folder):
    """What cannot be served, and what is said of it."""
    path, script = os.path.join(folder, 'socket'), os.path.join(folder, 'wrong.script')
    cases = {
        'no model': ([], 'name a model'),
        'no such model': (['toaster', '--socket', path], 'toaster: there is no such model'),
        'no socket': (['edu'], '--socket is missing'),
        'no size': (['nvme', '--socket', path], '--size is missing'),
        'a size of half a block': (['nvme', '--socket', path, '--size', 4096 + 256], 'not a multiple of the block size'),
        'a zone larger than the disk': (['nvme', '--socket', path, '--size', '1M', '--zone-size', '2M'], 'whole zones'),
        'a strange block size': (['nvme', '--socket', path, '--size', '1M', '--block-size', 1024], '512 or 4096'),
        'a backing that there is not': (['nvme', '--socket', path, '--size', '1M', '--backing', 'tape'],
                                        '--backing tape: must be null'),
        'a file that there is not': (['nvme', '--socket', path, '--backing', f'file:{path}.img'], 'No such file'),
        'a folder for a file': (['nvme', '--socket', path, '--backing', f'file:{folder}'], 'directory'),
        'a folder that there is not': (['edu', '--socket', f'{folder}/none/socket'], 'No such file'),
        'a path that is too long': (['edu', '--socket', '/' + 'x' * 200], 'too long'),
        'a script that there is not': (['edu', '--socket', path, '--script', f'{path}.script'], 'No such file'),
        'a script for another': (['edu', '--socket', path, '--script', script], 'script is not for edu, but for nvme'),
        'a script that is wrong': (['nvme', '--size', '1M', '--socket', path, '--script', script],
                                   f"{script}:2: 'explode' is not an action of nvme at 'completion'; use one of: ignore"),
    }
    with open(script, 'w', encoding='ascii') as file:
        file.write('for nvme\ncompletion 3: explode\n')
    for name, (arguments, says) in cases.items():
        result = run('chalk-model', *arguments)
        test.result(result.status in (1, 2) and says in result.messages, f'chalk-model: {name}', result)
    result = run('chalk-model', '--help')
    test.result(result.status == 0 and '--backing' in result.output, 'chalk-model --help', result)


def sockets(test, folder):
    path = os.path.join(folder, 'socket')
    with model('edu', path):
        result = run('chalk-model', 'edu', '--socket', path)
        test.result(result.status == 1 and 'another process does' in result.messages, 'a socket that is in use', result)
    test.result(not os.path.exists(path), 'a model that ends takes its socket away')

    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.listen()
    dead.close()
    if os.geteuid() == 0:
        os.chown(path, worlds.NOBODY, worlds.NOBODY)
    result = run('edu', f'vfio-user:{path}')
    test.contains(result.messages, 'no process listens on', 'a driver is told that the model has ended')
    with model('edu', path):
        test.equal(run('edu', f'vfio-user:{path}').output, EDU, 'a socket that a dead model left is replaced')
    result = run('edu', f'vfio-user:{path}')
    test.contains(result.messages, 'there is no socket', 'a driver is told that there is no socket')
    result = run('edu', 'vfio-user:' + '/' + 'x' * 200)
    test.contains(result.messages, 'at most 107 characters', 'a driver is told that a path is too long')

    with open(path, 'w', encoding='ascii') as file:
        file.write('precious')
    result = run('chalk-model', 'edu', '--socket', path)
    test.result('it is no socket' in result.messages and os.path.getsize(path) == 8, 'an ordinary file is left alone',
                result)


def clients(test, folder):
    """One client after the other; one that is killed leaves the device to the next."""
    path = os.path.join(folder, 'disk')
    with model('nvme', path, '--size', '1M'):
        for _ in range(3):
            process = subprocess.Popen([program('nvme-perf'), f'vfio-user:{path}', '--seconds', '60'],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env={'CHALK_UNPINNED': '1'}, **worlds.ordinary())
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            process.kill()
            process.wait()
        result = run('nvme-identify', f'vfio-user:{path}')
        test.contains(result.output, '2048 blocks, 1 MiB', 'a device survives clients that are killed')


def main():
    with tap.Tap() as test:
        for part in (drivers, events, namespaces, disks, programs, formats_of_all, performance, large, wrong_models, sockets, clients):
            with tempfile.TemporaryDirectory() as folder:
                if os.geteuid() == 0:
                    os.chown(folder, worlds.NOBODY, worlds.NOBODY)
                part(test, folder)


if __name__ == '__main__':
    main()
