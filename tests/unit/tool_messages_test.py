#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the tools say of themselves and to a mistake, without a machine or a network: tool_messages_test.py ROOT"""
import os
import re
import resource
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(sys.argv[1])
sys.path[:0] = [os.path.join(ROOT, 'tests'), os.path.join(ROOT, 'tools')]
import tap  # noqa: E402
import worlds  # noqa: E402
from runner import Failure, cache, guest, machine  # noqa: E402

TOOLS = ['bench', 'check', 'demo', 'fuzz', 'image', 'metal', 'setup', 'sim', 'trace', 'transcript', 'vm']
RUNNERS = ('image', 'metal', 'vm')  # whose statuses are the program's, but for 124 to 127

# Arguments, and an environment: status, parts of the message. {empty} is a folder in which there is nothing.
MISTAKES = {
    'image nothing/hello.elf': (125, ['nothing/hello.elf: no such file', 'is it built?', 'ninja -C build']),
    'image {file}': (125, ['not a bootable image', 'PROGRAM.elf']),
    'image {image} -o {empty}/no/where.iso': (125, ['no such folder', 'make it']),
    'image {image} -o {image}': (125, ['would be overwritten', '-o']),
    'metal': (125, ['no image', '--help']),
    'metal -- nothing.elf': (125, ['no such file', 'is it built?']),
    'metal nothing.elf': (125, ["behind a '--'"]),
    'metal --memory lots -- {image}': (125, ['such as 512M or 2G']),
    'metal --cores 0 -- {image}': (125, ['expected 1 to 64']),
    'metal --timeout soon -- {image}': (125, ['--timeout', 'float']),
    'metal --boot floppy -- {image}': (125, ['pvh', 'bios', 'uefi']),
    'metal --device tape -- {image}': (125, ['expected nvme:FILE']),
    'metal --device nvme:{empty}/none -- {image}': (125, ['no such file', 'qemu-img create']),
    'metal --device nvme: -- {image}': (125, ['names no file']),
    'metal --device nvme:{file} -- {image}': (125, ['8 bytes', 'blocks of 512', 'qemu-img resize']),
    'metal --device nvme:{image} -- {image}': (125, ['16 bytes', 'blocks of 512']),
    'metal --device nvme:{sectors},logical_block_size=4096 -- {image}': (125, ['4608 bytes', 'blocks of 4096', '8192']),
    'metal --device nvme:/dev/null -- {image}': (125, ['neither a file nor a block device']),
    'metal --device nvme:{nothing} -- {image}': (125, ['is empty', 'qemu-img resize']),
    'metal --machine pc --device nvme:{file} -- {image}': (125, ['no PCI Express', 'q35']),
    'metal --machine pc-i440fx-7.2,acpi=off --device e1000e -- {image}': (125, ['no PCI Express', 'q35']),
    'vm --device nvme:{file} -- true': (125, ['8 bytes', 'blocks of 512']),
    'vm': (125, ['no program', '--script']),
    'vm -- nothing/at/all': (127, ['no such program', 'is it built?']),
    'vm -- {image}': (125, ['bootable image', 'tools/metal']),
    'vm --file {empty}/none -- true': (125, ['--file', 'No such file']),
    'vm --with no-such-command -- true': (125, ['not an installed command', 'tools/setup']),
    'vm --env NAME -- true': (125, ['NAME=VALUE']),
    'trace {empty}/none': (1, ['No such file']),
    'trace {file}': (1, ['no trace in it', '--trace']),
    'trace --name x {file}': (2, ['NUMBER=TEXT']),
    'transcript {empty}/none': (2, ['No such file']),
    'transcript': (2, ['recording']),
    'sim --seeds 0': (2, ['at least 1']),
    'sim --driver tape': (2, ['nvme']),
    'sim --build {empty}': (1, ['not a build folder', 'meson setup']),
    'fuzz --build {empty}': (1, ['not a build folder', 'meson setup']),
    'fuzz --seconds 0': (2, ['at least 1']),
    'fuzz --binary {empty}/none edu': (1, ['no such file']),
    'bench': (2, ['TABLE', '--help']),
    'bench gold': (2, ['core', 'model', 'nvme']),
    'bench --build {empty} core': (1, ['not a build folder', 'meson setup']),
    'check no-such-suite': (2, ['native']),
    'setup --nonsense': (2, ['usage: tools/setup']),
}


def tool(name, *arguments, **settings):
    return subprocess.run([os.path.join(ROOT, 'tools', name), *arguments], **{
        'cwd': ROOT, 'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True,
        'errors': 'replace', 'timeout': 60, **settings})


def described(test):
    with open(os.path.join(ROOT, 'meson.build'), encoding='utf-8') as file:
        version = re.search(r"version: '([^']+)'", file.read())[1]
    for name in TOOLS:
        short, long = tool(name, '-h'), tool(name, '--help')
        test.result(short.returncode == long.returncode == 0 and short.stdout == long.stdout and not short.stderr and
                    f'tools/{name}' in short.stdout, f'{name} -h and --help', short.stdout + short.stderr)
        told = tool(name, '--version')
        test.equal((told.returncode, told.stdout, told.stderr), (0, f'tools/{name} (Chalk) {version}\n', ''), f'{name} --version')
        wrong = tool(name, *{'image': ['x'], 'trace': ['x'], 'transcript': ['x'], 'bench': ['core']}.get(name, []), '--nonsense')
        test.result(wrong.returncode == (125 if name in RUNNERS else 2) and len(wrong.stderr.splitlines()) == 1 and
                    '--help' in wrong.stderr and not wrong.stdout, f'{name} --nonsense: one line that names --help',
                    f'{wrong.returncode}: {wrong.stdout}{wrong.stderr}')
        with open('/dev/full', 'w', encoding='ascii') as full:
            lost = tool(name, '--help', stdout=full)
        test.result(lost.returncode not in (0, 120) and 'No space left' in lost.stderr and
                    len(lost.stderr.splitlines()) == 1, f'{name} --help > /dev/full fails', f'{lost.returncode}: {lost.stderr}')
        if name != 'setup':  # the shell says it there
            closed = tool(name, '--help', stdout=None, preexec_fn=lambda: os.close(1))
            test.result(closed.returncode not in (0, 120) and 'standard output is closed' in closed.stderr,
                        f'{name} --help >&- fails', f'{closed.returncode}: {closed.stderr}')
    for name in ('metal', 'vm'):
        text = tool(name, '--help').stdout
        test.result('CHALK_ACCEL' in text and 'XDG_CACHE_HOME' in text, f'{name} --help names its environment', text)


def mistakes(test, places):
    for line, (status, parts) in MISTAKES.items():
        name, *arguments = line.split()
        done = tool(name, *(word.format(**places) for word in arguments),
                    env={**os.environ, 'XDG_CACHE_HOME': places['empty']})
        missing = [part for part in parts if part not in done.stderr]
        test.result(done.returncode == status and not missing and len(done.stderr.splitlines()) <= 2,
                    f'{line}: {", ".join(parts)}', f'status {done.returncode}, missing {missing}\n{done.stdout}{done.stderr}')


def without_home(test, places):
    """The guest's kernel is kept in the user's home. Where that cannot be, the message says so, and what else can be."""
    bare = {name: value for name, value in os.environ.items() if name not in ('HOME', 'XDG_CACHE_HOME')}
    for shows, settings in {
            'that does not exist': {'HOME': '/nonexistent'},
            'that is a file': {'HOME': places['file']},
            'that is nowhere': {'XDG_CACHE_HOME': '/proc/nothing'}}.items():
        done = tool('vm', '--prepare', env={**bare, **settings}, **worlds.ordinary())
        test.result(done.returncode == 125 and 'cannot be made' in done.stderr and 'XDG_CACHE_HOME' in done.stderr and
                    len(done.stderr.splitlines()) == 1, f'vm with a home {shows}', f'{done.returncode}: {done.stderr}')


def formats(test, folder, places):
    """Files whose bytes are not those of a disk, though QEMU would take them for it, and write into them."""
    for name, created, more in (
            ('qcow2', 'qcow2', []), ('qcow', 'qcow', []), ('qed', 'qed', []), ('vmdk', 'vmdk', []), ('vdi', 'vdi', []),
            ('vhdx', 'vhdx', []), ('vpc', 'vpc', []), ('parallels', 'parallels', []),
            ('vpc', 'fixed vpc', ['-o', 'subformat=fixed']), ('vmdk', 'flat vmdk', ['-o', 'subformat=monolithicFlat'])):
        path = os.path.join(folder, created.replace(' ', '-'))
        subprocess.run(['qemu-img', 'create', '-q', '-f', name, *more, path, '8M'], check=True)
        for runner, program in (('metal', places['image']), ('vm', 'true')):
            done = tool(runner, '--dry-run', '--device', f'nvme:{path}', '--', program)
            test.result(done.returncode == 125 and f'is a {name} image' in done.stderr and 'qemu-img convert -O raw' in
                        done.stderr and f',drive.format={name}' in done.stderr and len(done.stderr.splitlines()) == 2,
                        f'{runner}: {created} is not a raw disk', f'{done.returncode}: {done.stdout}{done.stderr}')
    for path, chosen in ((os.path.join(folder, 'qcow2'), 'qcow2'), (os.path.join(folder, 'qed'), 'raw')):
        done = tool('metal', '--dry-run', '--device', f'nvme:{path},drive.format={chosen}', '--', places['image'])
        test.result(done.returncode == 0 and f'format={chosen}' in done.stdout and done.stdout.count('format=') == 1,
                    f'metal: {os.path.basename(path)} as {chosen}, when that is asked for',
                    f'{done.returncode}: {done.stdout}{done.stderr}')


class Asked:
    """The command line of a machine that is not to start."""
    accel, icount, device, cores, memory, timeout, machine, qemu, dry_run = 'tcg', False, [], 1, '64M', 1, 'q35', [], False


def limited():
    """In a process that may write files of 64 KiB: which of them is too large?"""
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))

    def content():
        machine.Machine(Asked, 'tool').add_content('initrd', bytes(1 << 20))

    def made():
        with cache.made(os.path.join(sys.argv[3], 'made')) as (_, result), open(result, 'wb') as file:
            file.write(bytes(1 << 20))

    def other():
        with open(os.path.join(sys.argv[3], 'other'), 'wb', buffering=0) as file:
            while file.write(bytes(1 << 20)):
                pass

    def output():
        print('x' * (1 << 20))

    machine.main('tool', lambda _: {'content': content, 'made': made, 'other': other, 'output': output}[sys.argv[4]]())


LIMITED = {  # what is written: what is blamed, and with what cure
    'content': ['initrd', 'in memory', 'ulimit -f'],
    'made': ['{folder}', 'cannot be written', 'ulimit -f'],
    'other': ['tool_messages_test.py', 'other()'],
    'output': ['standard output is not complete'],
}


def file_limit(test, folder):
    """Below `ulimit -f`, that file is blamed which could not be written, and standard output only if it was that."""
    for name, parts in LIMITED.items():
        with open(os.path.join(folder, 'output'), 'w', encoding='ascii') as output:
            done = subprocess.run([sys.executable, '-B', __file__, ROOT, 'limited', folder, name], stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=subprocess.PIPE, text=True, timeout=60)
        missing = [part for part in ['File too large', *parts] if part.format(folder=folder) not in done.stderr]
        test.result(done.returncode == 125 and not missing and len(done.stderr.splitlines()) == 1 and
                    ('standard output' in done.stderr) == (name == 'output'), f'a limit of file sizes, and {name}: {", ".join(parts)}',
                    f'{done.returncode}, missing {missing}: {done.stderr}')


def not_built(test, folder):
    """A program that is not built is not sought in a guest. Its own commands are, and those that it is given."""
    home = os.path.join(folder, 'guests')
    kept = os.path.join(home, 'chalk', f'{guest.kept_name("6.12.1")}')
    os.makedirs(kept)
    with open(os.path.join(kept, 'base.cpio'), 'wb') as file:
        file.write(b'busybox\0dmesg\0lspci\0true\0')
    cases = {'dmesg': 0, 'rebind': 0, 'testdev': 127}
    for name, status in cases.items():
        done = tool('vm', '--dry-run', '--', name, env={**os.environ, 'XDG_CACHE_HOME': home})
        test.result(done.returncode == status and (status == 0 or 'is it built?' in done.stderr and
                    len(done.stderr.splitlines()) == 1 and not done.stdout), f'vm -- {name}: {status}',
                    f'{done.returncode}: {done.stderr}')


def rebinds(test):
    """The guest's command, on what it can be told without a guest."""
    for arguments, status, part in (([], 2, 'usage: rebind'), (['kernel'], 2, 'usage: rebind'),
                                    (['nosuch', '9999:99:1f.7'], 1, 'there is no driver nosuch'),
                                    (['kernel', '9999:99:1f.7'], 1, 'there is no device at 9999:99:1f.7')):
        done = subprocess.run(['sh', os.path.join(ROOT, 'tools/runner/rebind'), *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        test.result(done.returncode == status and part in done.stderr and len(done.stderr.splitlines()) == 1 and not done.stdout,
                    f'rebind {" ".join(arguments)}: {part}', f'{done.returncode}: {done.stdout}{done.stderr}')


FAKES = {  # what fetches and unpacks the guest's kernel, on a disk that is full
    'apt-cache': 'echo linux-image-6.12.1+deb12-amd64',
    'apt-get': 'echo "E: Write error - write (28: No space left on device)" >&2; exit 100',
    'dpkg-deb': 'exit 1', 'depmod': 'exit 1', 'zstd': 'exit 1',
}


def full_cache(test, folder):
    """A disk that is full is called that, and not a network that is down."""
    fakes, home = os.path.join(folder, 'fakes'), os.path.join(folder, 'home')
    os.mkdir(fakes)
    for name, body in FAKES.items():
        path = os.path.join(fakes, name)
        with open(path, 'w', encoding='ascii') as file:
            file.write(f'#!/bin/sh\n{body}\n')
        os.chmod(path, 0o755)
    done = tool('vm', '--prepare', env={**os.environ, 'PATH': f'{fakes}:{os.environ["PATH"]}', 'XDG_CACHE_HOME': home})
    test.result(done.returncode == 125 and 'no space left' in done.stderr and 'XDG_CACHE_HOME' in done.stderr and
                'network' not in done.stderr, 'vm with a full disk says that it is full', f'{done.returncode}: {done.stderr}')
    test.equal(os.listdir(os.path.join(home, 'chalk')), ['lock'], 'and leaves nothing behind')
    for shows, error, full in (('a full disk', OSError(28, 'No space left on device'), True),
                               ('a quota', OSError(122, 'Disk quota exceeded'), True),
                               ('a program without a disk', Failure('xorriso: Disk quota exceeded'), True),
                               ('a file that may not be so large', OSError(27, 'File too large'), False),
                               ('another error', OSError(5, 'Input/output error'), False)):
        try:
            with cache.made(os.path.join(folder, 'made')):
                raise error
        except (Failure, OSError) as seen:
            test.result((folder in str(seen) and 'no space left' in str(seen)) == full, f'{shows}: {full}', seen)


NINJA = """#!/bin/sh
echo "ninja: Entering directory"
for step in 1 2 3 4; do echo "[$step of 4] Compiling C object x.c.o"; sleep 0.2; done
echo 'x.c:1: error: wrong'
exit $(cat status)
"""


def progress(test, folder):
    """tools/check builds for many minutes: how far it is can be seen, and the compilers' words only when it failed."""
    path = os.path.join(folder, 'ninja')
    os.mkdir(path)
    with open(os.path.join(path, 'ninja'), 'w', encoding='ascii') as file:
        file.write(NINJA.replace('status', os.path.join(path, 'status')))
    os.chmod(os.path.join(path, 'ninja'), 0o755)
    for status in (0, 1):
        with open(os.path.join(path, 'status'), 'w', encoding='ascii') as file:
            file.write(str(status))
        done = subprocess.run([sys.executable, '-B', '-c', 'import check; check.build("x", every=0.3)'], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              cwd=os.path.join(ROOT, 'tests'), env={**os.environ, 'PATH': f'{path}:{os.environ["PATH"]}'})
        steps = re.findall(r'^   (\d) of 4 steps$', done.stdout, re.M)
        test.result(done.returncode == status and 1 <= len(steps) <= 2 and 'Compiling' not in done.stdout and
                    ('error: wrong' in done.stdout) == bool(status), f'a build that ends with {status} shows how far it is',
                    f'{done.returncode}: {done.stdout}{done.stderr}')


def missing_package(test, folder):
    """Who goes straight to meson is told what installs a library that is missing."""
    done = subprocess.run(['meson', 'setup', os.path.join(folder, 'build'), ROOT], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          env={**os.environ, 'PKG_CONFIG_LIBDIR': folder, 'PKG_CONFIG_PATH': folder})
    test.result(done.returncode == 1 and 'libpci is missing: run tools/setup' in done.stdout and 'libpci-dev' in done.stdout,
                'meson setup without libpci names tools/setup', f'{done.returncode}: {done.stdout}')


KVM_FAILS = """#!/bin/sh
echo 'KVM internal error. Suberror: 1' >&2
echo 'emulation failure' >&2
for register in EAX ESI EIP ES CS SS DS FS GS LDT TR GDT IDT CR0 DR0 DR6 EFER; do echo "$register=00000000" >&2; done
exit 1
"""


def without_virtualization(test, places, folder):
    """--accel kvm where KVM cannot: what is missing, and no registers."""
    class Kvm(Asked):
        accel = 'kvm'

    found = machine.kvm_trouble, machine.processor_virtualizes
    machine.kvm_trouble, machine.processor_virtualizes = lambda: None, lambda: False
    try:
        said = machine.choose_accel(Kvm)
    except Failure as failure:
        said = str(failure)
    finally:
        machine.kvm_trouble, machine.processor_virtualizes = found
    test.result('VT-x' in said and '--accel tcg' in said, '--accel kvm on a processor without virtualization', said)
    path = os.path.join(folder, 'qemu')
    os.mkdir(path)
    with open(os.path.join(path, machine.QEMU), 'w', encoding='ascii') as file:
        file.write(KVM_FAILS)
    os.chmod(os.path.join(path, machine.QEMU), 0o755)
    done = tool('metal', '--accel', 'tcg', '--', places['image'], env={**os.environ, 'PATH': f'{path}:{os.environ["PATH"]}'})
    test.result(done.returncode == 125 and 'KVM' in done.stderr and '--accel tcg' in done.stderr and
                len(done.stderr.splitlines()) == 1, 'KVM gives up: one line', f'{done.returncode}: {done.stderr}')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        places = {name: os.path.join(folder, name) for name in ('empty', 'file', 'image')}
        os.mkdir(places['empty'])
        os.chmod(folder, 0o755)
        with open(places['file'], 'w', encoding='ascii') as file:
            file.write('nothing\n')
        with open(places['image'], 'wb') as file:  # a multiboot2 header is all that tools/image looks for
            file.write(b''.join(word.to_bytes(4, 'little') for word in (0xE85250D6, 0, 16, -(0xE85250D6 + 16) & 0xFFFFFFFF)))
        os.rename(places['image'], places['image'] + '.elf')
        places['image'] += '.elf'
        for name, size in (('nothing', 0), ('sectors', 4608)):
            places[name] = os.path.join(folder, name)
            with open(places[name], 'wb') as file:
                file.truncate(size)
        described(test)
        mistakes(test, places)
        formats(test, folder, places)
        file_limit(test, folder)
        not_built(test, folder)
        rebinds(test)
        without_home(test, places)
        full_cache(test, folder)
        progress(test, folder)
        missing_package(test, folder)
        without_virtualization(test, places, folder)


if __name__ == '__main__':
    limited() if sys.argv[2:3] == ['limited'] else main()
