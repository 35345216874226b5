# SPDX-License-Identifier: BSD-2-Clause
"""The two worlds, for tests that drive them from outside."""
import collections
import contextlib
import os
import re
import signal
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VM = os.path.join(ROOT, 'tools/vm')
METAL = os.path.join(ROOT, 'tools/metal')

Result = collections.namedtuple('Result', 'status output')
Separate = collections.namedtuple('Separate', 'status output messages')  # of a program here: both its streams
NOBODY = 65534


# What loan.c does with a buffer that a disk owns, and what the instrumented build says of it.
LOANS = {
    'free': ['gives back 4096 bytes', 'still reads 512 bytes', 'where it was lent', 'where that was seen'],
    'unshare': ['unshares', 'still reads 512 bytes', 'where it was lent', 'where that was seen'],
    'twice': ['is lent 512 bytes', 'still reads 512 bytes', 'where it was lent', 'where that was seen'],
    'change': ['changed some of 512 bytes', 'where it was lent', 'where that was seen'],
}


# What fault.c does, and what both worlds say of it.
FAULTS = {
    'null': ['page fault', '0x0', 'read_null'],
    'text': ['page fault', 'write_text'],
    'data': ['page fault', 'run_data'],
    'stack': ['stack', 'exhaust_stack'],
    'task': ['stack of task digger', 'exhaust_stack'],
    'opcode': ['invalid opcode', 'run_nonsense'],
    'abort': ['abort'],
}


def guest(cases, devices=(), programs=(), options=(), timeout=300):
    """Runs shell commands in one Linux guest, in order: {name: command} -> {name: Result}.

    A case that the guest did not reach has status None. The programs are in PATH; both output streams are kept.
    """
    script = []
    for name, command in cases.items():
        script += [f'echo "@@ begin {name}"', f'( {command}\n) 2>&1', f'echo "@@ end {name} $?"']
    with tempfile.NamedTemporaryFile('w', suffix='.sh') as file:
        file.write('\n'.join(script) + '\n')
        file.flush()
        command = [VM, '--timeout', str(timeout), '--script', file.name, *options]
        for device in devices:
            command += ['--device', device]
        for program in programs:
            command += ['--file', program]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors='replace', timeout=timeout + 60)
    results = {name: Result(None, f'not reached; the guest ended with {run.returncode}:\n{run.stdout[-3000:]}')
               for name in cases}
    pattern = re.compile(r'^@@ begin (.*?)\r?\n(.*?)^@@ end \1 (\d+)', re.M | re.S)
    for name, output, status in pattern.findall(run.stdout):
        results[name] = Result(int(status), output.replace('\r', ''))
    return results


def vm(program, arguments=(), devices=(), options=(), timeout=120):
    """One hosted program in a guest of its own."""
    return _run([VM, '--timeout', str(timeout), *options], devices, [program, *arguments], timeout)


def metal(image, arguments=(), devices=(), options=(), timeout=120):
    """One image."""
    return _run([METAL, '--timeout', str(timeout), *options], devices, [image, *arguments], timeout)


def _run(command, devices, program, timeout):
    for device in devices:
        command += ['--device', device]
    run = subprocess.run([*command, '--', *map(str, program)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, errors='replace', timeout=timeout + 60)
    return Result(run.returncode, run.stdout.replace('\r', ''))


def passed(test, shows, result, parts=()):
    """One case: a command ended well, and all `parts` are in what it said."""
    missing = [part for part in parts if part not in result.output]
    return test.result(result.status == 0 and not missing, shows,
                       f'status {result.status}, missing {missing}\n{result.output}')


def refused(test, name, result, parts):
    """One case: a command failed, but did not crash, and its message has the `parts`, such as the cure."""
    missing = [part for part in parts if part.lower() not in result.output.lower()]
    crashed = result.status is None or result.status == 0 or result.status >= 128
    return test.result(not missing and not crashed, f'{name}: a message with the cure',
                       f'status {result.status}, missing {missing}\n{result.output}')


def disk(folder, name, mebibytes):
    """A sparse disk image."""
    path = os.path.join(folder, name)
    with open(path, 'wb') as file:
        file.truncate(mebibytes << 20)
    return path


def crc32c(path, start=0, size=None, _table=[]):
    """CRC-32C of a file, by the definition (RFC 3720 12.1): nothing of Chalk's is used."""
    if not _table:
        for byte in range(256):
            for _ in range(8):
                byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
            _table.append(byte)
    crc = 0xffffffff
    with open(path, 'rb') as file:
        file.seek(start)
        left = os.path.getsize(path) - start if size is None else size
        while left > 0:
            chunk = file.read(min(left, 1 << 20))
            if not chunk:
                break
            left -= len(chunk)
            for byte in chunk:
                crc = crc >> 8 ^ _table[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def ordinary():
    """Arguments for subprocess that give root away."""
    return {'user': NOBODY, 'group': NOBODY, 'extra_groups': []} if os.geteuid() == 0 else {}


def until_ready(process, path):
    """What a model prints until it serves, warnings before it too, and whether it does."""
    printed = []
    while (not printed or printed[-1].strip() != f'vfio-user:{path}') and (line := process.stdout.readline()):
        printed.append(line)
    return ''.join(printed), printed[-1:] == [f'vfio-user:{path}\n']


@contextlib.contextmanager
def model(program, kind, path, *arguments):
    """Serves a model while it is in use. On the way out it has to end, and with success."""
    process = subprocess.Popen([program, kind, '--socket', path, *map(str, arguments)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               **ordinary())
    printed, ready = until_ready(process, path)
    try:
        if not ready:
            raise RuntimeError(f'the model does not serve: {printed}')
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            rest = process.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            rest = process.communicate()[0] + 'did not end'
    if process.returncode != 0 or 'Sanitizer' in rest:
        raise RuntimeError(f'the model ended with {process.returncode}: {rest}')
