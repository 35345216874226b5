#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""An installed Chalk, moved to another folder, and a project elsewhere that uses it: installed.py BUILD SOURCE

The project (examples/outside) is built by make and by meson, for Linux and as an image; its programs run against an
installed chalk-model and under the installed chalk-metal.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD, SOURCE = (os.path.realpath(path) for path in sys.argv[1:3])
BLOCK_0 = b'installed'.ljust(512, b'.')


def run(command, **settings):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors='replace', timeout=300, **settings)
    return done.returncode, done.stdout


def install(folder):
    """Installs and moves the prefix away from where it was installed to."""
    status, output = run(['meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', f'{folder}/staged'])
    if status != 0:
        raise RuntimeError(output)
    top = f'{folder}/staged'
    while not os.path.isdir(f'{top}/include'):
        top = os.path.join(top, *os.listdir(top))
    return shutil.move(top, f'{folder}/prefix')


def files(folder):
    for path, _, names in os.walk(folder):
        yield from (os.path.join(path, name) for name in names)


def texts_name_no_tree(test, prefix):
    named = []
    for path in files(prefix):
        content = open(path, 'rb').read()
        if b'\0' not in content and any(os.fsencode(place) in content for place in (BUILD, SOURCE)):
            named.append(path)
    test.equal(named, [], 'no installed text names the place where it was built')


def blocks(test, way, folder, environment, prefix, disk):
    """The project's three programs, built in `folder`."""
    status, output = run([f'{folder}/devices'], env=environment)
    test.result(status == 0 and 'devices: ' in output, f'{way}: a C++ program runs', output)
    with worlds.model(f'{prefix}/bin/chalk-model', 'nvme', f'{folder}/socket', '--backing', f'file:{disk}'):
        status, hosted = run([f'{folder}/first-block', f'vfio-user:{folder}/socket'], env=environment, **worlds.ordinary())
    test.result(status == 0, f'{way}: a program reads the disk of an installed model', hosted)
    status, bare = run([f'{prefix}/bin/chalk-metal', '--device', f'nvme:{disk}', '--', f'{folder}/first-block.elf'],
                       env=environment)
    test.result(status == 0, f'{way}: an image is booted by the installed chalk-metal', bare)
    test.equal([re.findall(r' is ([0-9a-f]{8})$', seen, re.M) for seen in (hosted, bare)], [[f'{worlds.crc32c(disk, 0, 512):08x}']] * 2,
               f'{way}: both saw what is in the file')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory(dir='/var/tmp') as folder:
        os.chmod(folder, 0o755)
        prefix = install(folder)
        pkgconfig = os.path.dirname(next(path for path in files(prefix) if path.endswith('/chalk.pc')))
        environment = {'PATH': '/usr/bin:/bin', 'CHALK_UNPINNED': '1', 'PKG_CONFIG_PATH': pkgconfig, 'HOME': folder,
                       'XDG_CACHE_HOME': os.environ.get('XDG_CACHE_HOME', os.path.expanduser('~/.cache'))}
        disk = f'{folder}/disk.img'
        with open(disk, 'wb') as file:
            file.write(BLOCK_0.ljust(1 << 20, b'\0'))
        os.chmod(disk, 0o666)
        texts_name_no_tree(test, prefix)

        outside = shutil.copytree(f'{SOURCE}/examples/outside', f'{folder}/outside')
        status, output = run(['make', '-C', outside], env=environment)
        if test.result(status == 0, 'a project elsewhere is built by make', output):
            os.chmod(outside, 0o777)
            blocks(test, 'make', outside, environment, prefix, disk)
        status, output = run(['make', '-C', outside, '-B'], env={**environment, 'PKG_CONFIG_PATH': ''})
        test.result(status != 0 and 'set PKG_CONFIG_PATH' in output, 'make without the .pc file names the cure', output)

        built = f'{folder}/built'
        status, output = run(['meson', 'setup', built, outside], env=environment)
        if status == 0:
            status, output = run(['ninja', '-C', built], env=environment)
        if test.result(status == 0, 'and by meson', output):
            os.chmod(built, 0o777)
            blocks(test, 'meson', built, environment, prefix, disk)

        header = f'{prefix}/include/chalk/version.h'
        text = open(header).read()
        with open(header, 'w') as file:
            file.write(text.replace('CHALK_VERSION_MINOR 1', 'CHALK_VERSION_MINOR 2'))
        run(['make', '-C', outside, '-B'], env=environment)
        status, output = run([f'{outside}/devices'], env=environment)
        test.result(status == 1 and 'compiled with the headers of Chalk 0.2' in output,
                    'headers of another version than the archive are refused', output)


if __name__ == '__main__':
    main()
