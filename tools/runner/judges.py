# SPDX-License-Identifier: BSD-2-Clause
"""
A newer QEMU than this machine's, from Debian's packages, unpacked into the cache and never installed. Its vfio-user
client lets a guest's own driver use a device model, and so judge it.

It comes from the mirror that apt uses here, is checked by apt against Debian's keys, and runs by its own dynamic
linker and libraries. Nothing of this needs root.
"""

import os
import re
import shutil
import subprocess

from . import Failure, cache, guest

NAME = 'tools/setup'
SUITES = ('trixie', 'trixie-backports')  # the last one has the QEMU, the others what it needs
PACKAGE = 'qemu-system-x86'
DEVICE = 'vfio-user-pci'  # what it is fetched for: QEMU has it from 10.1 on
KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
LAYOUT = 1  # goes up when what is kept changes
FREE_BYTES = 400 << 20  # packages, their lists and the unpacked files, which are on the disk together for a while
SILENCE_S, UPDATE_S, DOWNLOAD_S, UNPACK_S = 30, 300, 1800, 120
CURE = 'run tools/setup --judges'


def kept():
    """The folder of the newest one in the cache, or None. A folder of this name is complete."""
    names = [name for name in os.listdir(cache.folder()) if name.startswith(f'qemu-{LAYOUT}-')]
    return os.path.join(cache.folder(), max(names, key=guest.numbers)) if names else None


def command():
    """The words that start its qemu-system-x86_64. None if it is not in the cache."""
    root = kept()
    return root and words(root)


def words(root):
    """
    By itself the kernel would run it with this machine's dynamic linker, and QEMU would load this machine's modules:
    both are named.
    """
    linker = only(root, 'usr/lib64', r'ld-linux-.*\.so\.\d+')
    libraries = only(root, 'usr/lib', r'\w+-linux-gnu')
    return ['env', f'QEMU_MODULE_DIR={libraries}/qemu', linker, '--library-path', libraries,
            os.path.join(root, 'usr/bin/qemu-system-x86_64'), '-L', os.path.join(root, 'usr/share/qemu'),
            '-L', os.path.join(root, 'usr/share/seabios'), '-L', os.path.join(root, 'usr/lib/ipxe/qemu')]


def only(root, folder, pattern):
    path = os.path.join(root, folder)
    names = [name for name in (os.listdir(path) if os.path.isdir(path) else ()) if re.fullmatch(pattern, name)]
    if len(names) != 1:
        raise Failure(f'{path}: expected one {pattern}, found {len(names)}: delete {root} and {CURE}')
    return os.path.join(path, names[0])


# ---- fetching it ----

def fetch(say):
    """Fetches and unpacks it. Returns its folder, which appears when it is complete."""
    for program, package in (('apt-get', 'apt'), ('apt-config', 'apt'), ('dpkg-deb', 'dpkg')):
        guest.tool(program, package)
    if not os.path.exists(KEYRING):
        raise Failure(f"{KEYRING} is missing, and packages are checked by it: 'sudo apt-get install "
                      "debian-archive-keyring'")
    mirror = find_mirror()
    free = shutil.disk_usage(cache.folder()).free
    if free < FREE_BYTES:
        raise Failure(f'{cache.folder()}: its disk has {free >> 20} MiB free, and {FREE_BYTES >> 20} MiB are needed')
    say(f'fetching {PACKAGE} of {SUITES[-1]} and its libraries into {cache.folder()} (once, about 50 MB)')
    with cache.working(os.path.join(cache.folder(), 'any')) as work:
        packages = download(work, mirror)
        result = os.path.join(work, 'result')
        version = re.search(rf'{PACKAGE}_(?:\d+%3a)?([^_]+)_', ' '.join(packages))[1]
        os.mkdir(result)
        for package in packages:
            run(['dpkg-deb', '-x', package, result], UNPACK_S, f'cannot unpack {os.path.basename(package)}')
        try_out(result)
        path = os.path.join(cache.folder(), f'qemu-{LAYOUT}-{version}')
        os.rename(result, path)
    return path


def find_mirror():
    """The URI from which apt has this machine's own Debian."""
    with open('/etc/os-release') as file:
        release = re.search(r'^VERSION_CODENAME=(\w+)', file.read(), re.MULTILINE)
    for more in ([], ['--no-release-info']):  # the second way is for lists that were never fetched: they say no label
        listed = subprocess.run(['apt-get', 'indextargets', *more, '--format', '$(RELEASE) $(REPO_URI) $(LABEL)',
                                 'Created-By: Packages'], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            suite, uri, label = line.split(' ', 2)
            if not uri.startswith('cdrom:') and (label == 'Debian' or release and suite == release[1]):
                return uri
    raise Failure("apt's sources name no mirror of Debian, from which to fetch a newer QEMU")


def download(work, mirror):
    """Has apt look, check and fetch in folders of its own, as if nothing were installed. Returns the packages' paths."""
    for folder in ('lists/partial', 'archives/partial'):
        os.makedirs(os.path.join(work, folder))
    write(work, 'status', '')
    write(work, 'sources', ''.join(f'deb [signed-by={KEYRING}] {mirror} {suite} main\n' for suite in SUITES))
    # How this machine's apt reaches its mirror holds here too; its sources, preferences and hooks do not.
    reach = subprocess.run(['apt-config', 'dump'], capture_output=True, text=True, check=True).stdout
    write(work, 'configuration', '\n'.join([
        *(line for line in reach.splitlines() if re.match(r'Acquire(::| )', line)), 'Dir::Etc::Parts "/dev/null";']))
    apt = ['apt-get', '-q=2']
    for key, value in {
        'Dir::State::Lists': f'{work}/lists', 'Dir::State::status': f'{work}/status', 'Dir::Cache': work,
        'Dir::Cache::Archives': f'{work}/archives', 'Dir::Etc::SourceList': f'{work}/sources',
        'Dir::Etc::SourceParts': '/dev/null', 'Dir::Etc::Preferences': '/dev/null', 'Dir::Etc::PreferencesParts':
        '/dev/null', 'APT::Sandbox::User': 'root', 'APT::Update::Error-Mode': 'any', 'APT::Default-Release': SUITES[-1],
        'APT::Install-Recommends': 'false', 'APT::Get::AllowUnauthenticated': 'false', 'Acquire::Languages': 'none',
        'Acquire::AllowInsecureRepositories': 'false', 'Acquire::AllowDowngradeToInsecureRepositories': 'false',
        'Acquire::http::Timeout': SILENCE_S, 'Acquire::https::Timeout': SILENCE_S, 'Acquire::Retries': 1,
    }.items():
        apt += ['-o', f'{key}={value}']
    settings = {**os.environ, 'APT_CONFIG': f'{work}/configuration', 'LC_ALL': 'C'}
    run([*apt, 'update'], UPDATE_S, f'cannot have the lists of {" and ".join(SUITES)} from the mirror', settings)
    run([*apt, 'install', '-y', '--download-only', PACKAGE], DOWNLOAD_S, f'cannot download {PACKAGE}', settings)
    archives = os.path.join(work, 'archives')
    return sorted(os.path.join(archives, name) for name in os.listdir(archives) if name.endswith('.deb'))


def try_out(root):
    """Fails unless it starts here and has the device that it is fetched for."""
    run([*words(root), '-device', f'{DEVICE},help'], UNPACK_S, f"the {PACKAGE} of {SUITES[-1]} does not run here")


def write(folder, name, text):
    with open(os.path.join(folder, name), 'w') as file:
        file.write(text)


def run(command, timeout, trouble, settings=None):
    """Runs a command, or fails with what it said: the lines that apt marks, else the last one."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors='replace', timeout=timeout, env=settings)
    except subprocess.TimeoutExpired:
        raise Failure(f'{trouble}: no end after {timeout} s')
    if done.returncode:
        lines = done.stdout.strip().splitlines()
        marked = [line for line in lines if re.match(r'[EW]: ', line)] or lines[-1:] or ['(no message)']
        raise Failure('\n'.join([f'{trouble}:', *marked[:4]]))


def body(argv):
    from . import machine  # which runs what is here

    if argv not in ([], ['--check']):
        raise Failure('usage: tools/setup --judges [--check]')
    if kept():
        return 0
    if argv:
        machine.say(NAME, f'missing: a newer QEMU: {CURE}')
        return 1
    with cache.lock():
        if not kept():  # another may have made it meanwhile
            fetch(lambda text: machine.say(NAME, text))
    return 0


if __name__ == '__main__':
    from . import machine
    machine.main(NAME, body)
