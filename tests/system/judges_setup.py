#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""tools/setup --judges leaves a whole QEMU or nothing, and says why, whatever the mirror and the disk do.

The mirror is a folder, with a repository as small as can be, signed by a key of the test's own: for the real apt.
"""
import glob
import gzip
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

# Runs the real program with another keyring, and what it says as its status and output.
BODY = '''import sys
sys.path.insert(0, {tools!r})
from runner import judges, machine
judges.KEYRING = {keyring!r}
judges.FREE_BYTES = {free}
machine.main('tools/setup', judges.body)
'''

class Mirror:
    """A repository of two suites and one package, which apt takes for Debian's."""

    def __init__(self, folder):
        self.folder = folder
        self.keyring = os.path.join(folder, 'key.gpg')
        self._home = os.path.join(folder, 'gpg')
        os.mkdir(self._home, 0o700)
        self._gpg('--quick-generate-key', 'mirror@test', 'rsa2048', 'sign', 'never')
        self._gpg('--output', self.keyring, '--export')
        self.package()

    def _gpg(self, *arguments):
        subprocess.run(['gpg', '--homedir', self._home, '--batch', '--yes', '--quiet', '--passphrase', '', '--pinentry-mode',
                        'loopback', *arguments], check=True, stderr=subprocess.DEVNULL)

    def package(self, linker='exit 0'):
        """A QEMU whose dynamic linker is all there is to it."""
        root = os.path.join(self.folder, 'package')
        shutil.rmtree(root, ignore_errors=True)
        for name, content in {
            'DEBIAN/control': 'Package: qemu-system-x86\nVersion: 1:99.1+test\nArchitecture: amd64\n'
                              'Maintainer: test <test@test>\nDescription: test\n',
            'usr/lib64/ld-linux-x86-64.so.2': f'#!/bin/sh\n{linker}\n',
            'usr/lib/x86_64-linux-gnu/libc.so.6': '', 'usr/bin/qemu-system-x86_64': '',
        }.items():
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'w') as file:
                file.write(content)
            os.chmod(path, 0o755)
        deb = os.path.join(self.folder, 'qemu.deb')
        subprocess.run(['dpkg-deb', '--build', '--root-owner-group', root, deb], check=True, stdout=subprocess.DEVNULL)
        with open(deb, 'rb') as file:
            content = file.read()
        fields = open(os.path.join(root, 'DEBIAN/control')).read()
        listed = f'{fields}Filename: qemu.deb\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n'
        for suite, packages in (('trixie', ''), ('trixie-backports', listed)):
            self._publish(suite, packages)

    def _publish(self, suite, packages):
        folder = os.path.join(self.folder, 'dists', suite)
        os.makedirs(os.path.join(folder, 'main/binary-amd64'), exist_ok=True)
        content = gzip.compress(packages.encode())
        with open(os.path.join(folder, 'main/binary-amd64/Packages.gz'), 'wb') as file:
            file.write(content)
        release = (f'Origin: Debian\nLabel: Debian\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n'
                   f'Date: {time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())}\nSHA256:\n '
                   f'{hashlib.sha256(content).hexdigest()} {len(content)} main/binary-amd64/Packages.gz\n'
                   f' {hashlib.sha256(packages.encode()).hexdigest()} {len(packages)} main/binary-amd64/Packages\n')
        with open(os.path.join(folder, 'Release'), 'w') as file:
            file.write(release)
        self._gpg('--clearsign', '--output', os.path.join(folder, 'InRelease'), os.path.join(folder, 'Release'))


class Setup:
    """Runs it, with a cache of its own, on a machine whose apt has `uri` as its mirror."""

    def __init__(self, folder, mirror):
        self.folder, self.mirror = folder, mirror
        self.cache = os.path.join(folder, 'home', 'chalk')

    def command(self, uri=None, keyring=None, free=0, arguments=()):
        release = next(line.split('=')[1].strip() for line in open('/etc/os-release') if line.startswith('VERSION_CODENAME'))
        sources, config = os.path.join(self.folder, 'sources'), os.path.join(self.folder, 'apt.conf')
        with open(sources, 'w') as file:
            file.write(f'deb {uri or "copy:" + self.mirror.folder} {release} main\n' if uri != '' else '')
        with open(config, 'w') as file:
            file.write(f'Dir::Etc::SourceList "{sources}"; Dir::Etc::SourceParts "/dev/null"; Dir::State::Lists "'
                       f'{self.folder}/none";\n')
        text = BODY.format(tools=os.path.join(worlds.ROOT, 'tools'), keyring=keyring or self.mirror.keyring, free=free)
        environment = {**os.environ, 'APT_CONFIG': config, 'XDG_CACHE_HOME': os.path.join(self.folder, 'home')}
        return {'args': [sys.executable, '-B', '-c', text, *arguments], 'env': environment, 'stdin': subprocess.DEVNULL,
                'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}

    def run(self, *arguments, **how):
        done = subprocess.run(**self.command(arguments=arguments, **how), timeout=120)
        return worlds.Result(done.returncode, done.stdout)

    def there(self):
        return sorted(name for name in os.listdir(self.cache) if name != 'lock') if os.path.isdir(self.cache) else []


def refuses(test, setup, name, parts, **how):
    worlds.refused(test, name, setup.run(**how), parts)
    test.equal(setup.there(), [], f'{name}: nothing is left')


def ends(test, setup, number):
    """It is ended in the middle. What it leaves is not taken for a QEMU, and the next run clears it away."""
    setup.mirror.package('sleep 60')
    name = signal.Signals(number).name
    process = subprocess.Popen(**setup.command())
    end = time.monotonic() + 60
    while not glob.glob(os.path.join(setup.cache, '.making-*/result/usr/bin/*')) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=90)
    left = [name for name in setup.there() if not name.startswith('.making-')]
    test.equal((process.returncode != 0, left), (True, []), f'{name} in the middle: nothing that looks whole')
    test.equal(setup.run('--check').status, 1, f'{name}: and it is still missing')


def fills(test, setup):
    """The disk fills up in the middle, as a small one of its own that is gone with the command."""
    command = setup.command()
    home = os.path.join(setup.folder, 'home')
    command['args'] = ['unshare', '-m', 'sh', '-c', f'mount -t tmpfs -o size=64k none {home} && "$@"; s=$?; ls -A {home}/chalk; '
                       'exit $s', 'sh', *command['args']]
    if os.geteuid() or subprocess.run(['unshare', '-m', 'true'], stderr=subprocess.DEVNULL).returncode:
        test.skip('a disk that fills up', 'only root can have a small one')
        return
    done = subprocess.run(**command, timeout=120)
    result = worlds.Result(done.returncode, done.stdout)
    worlds.refused(test, 'a disk that fills up', result, ['space'])
    test.equal(done.stdout.splitlines()[-1], 'lock', 'a disk that fills up: nothing is left')


def runners(test, folder):
    """What the runners say where it is missing, or where nothing serves a device."""
    path, file = os.path.join(folder, 'socket'), os.path.join(folder, 'file')
    open(file, 'w').close()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        cases = {'no newer QEMU': (path, ['newer QEMU', 'tools/setup --judges']),
                 'no such socket': (path + '2', ['no such file', 'chalk-model']), 'not a socket': (file, ['not a socket'])}
        for name, (device, parts) in cases.items():
            for runner in (worlds.VM, worlds.METAL):
                done = subprocess.run([runner, '--device', f'vfio-user:{device}', '--', '/bin/true'], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                                      env={**os.environ, 'XDG_CACHE_HOME': os.path.join(folder, 'empty')})
                worlds.refused(test, f'{os.path.basename(runner)}, {name}', worlds.Result(done.returncode, done.stdout), parts)


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, 'mirror'))
        mirror = Mirror(os.path.join(folder, 'mirror'))
        setup = Setup(folder, mirror)
        runners(test, folder)
        result = setup.run('--check')
        test.equal((result.status, 'missing' in result.output), (1, True), 'a check says that it is missing')
        refuses(test, setup, 'apt has no mirror', ['no mirror'], uri='')
        refuses(test, setup, 'no network', ['mirror', 'connect'], uri='http://127.0.0.1:9/debian')
        refuses(test, setup, 'a key that is not known', ['trixie', 'not signed'],
                keyring='/usr/share/keyrings/debian-archive-keyring.gpg')
        refuses(test, setup, 'no keyring', ['debian-archive-keyring'], keyring=os.path.join(folder, 'absent'))
        refuses(test, setup, 'a disk that is nearly full', ['MiB free'], free=1 << 60)
        mirror.package('echo no; exit 1')
        refuses(test, setup, 'a QEMU that does not start', ['does not run here'])
        mirror.package()
        with open(os.path.join(mirror.folder, 'qemu.deb'), 'r+b') as file:
            file.write(b'x')
        refuses(test, setup, 'a package that was changed on the way', ['qemu-system-x86'])
        mirror.package()
        fills(test, setup)
        ends(test, setup, signal.SIGTERM)
        ends(test, setup, signal.SIGKILL)
        mirror.package()
        result = setup.run()
        test.equal((result.status, setup.there()), (0, ['qemu-1-99.1+test']), 'it comes, and what a killed run left goes')
        result = setup.run(uri='')
        test.equal((result.status, result.output), (0, ''), 'once it is there, nothing is done or said')


if __name__ == '__main__':
    main()
