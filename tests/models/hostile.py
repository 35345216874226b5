#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Drivers against devices that misbehave, natively and as an ordinary user: hostile.py FOLDER SUFFIX SCRIPTS

FOLDER has the programs, whose names end with SUFFIX; SCRIPTS is a folder, too. Comments of a script (docs/models.md) say
what comes of it:

    #: model OPTIONS
    #: arguments ARGUMENTS for the driver, too
    #: patience SECONDS, if its memory comes by messages, which are slow under a sanitizer on a busy machine
    #: DRIVER succeeds [and says: TEXT]
    #: DRIVER fails and says: TEXT

for each driver of the devices that it is for; or only for 'nvme, watching', which has no I/O in flight. A driver has to end in time, without a sanitizer's complaint, and say what
the device did; the model has to survive that. By without_uring.py only the drivers that sleep are run: both sides have to
go on without io_uring.
"""
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

FOLDER, SUFFIX = os.path.abspath(sys.argv[1]), sys.argv[2]
DEADLINE = 120  # seconds; no driver waits for as long as half of it, if the machine is not busy
PATIENCE = 5  # seconds, of a driver with its device's process
AT_ONCE = 4  # most of them wait most of the time

VERIFY = ['nvme-verify', '--overwrite', '--blocks', '4096', '--timeout', '1000']
ASLEEP, WATCHING = 'nvme, asleep', 'nvme, watching'
DRIVERS = {  # name -> the model, the program and its arguments
    'nvme': ('nvme', VERIFY),
    ASLEEP: ('nvme', [*VERIFY, '--interrupts']),
    WATCHING: ('nvme', ['nvme-log', '--watch', '30']),
    'edu': ('edu', ['edu']),
}
BY_PPOLL = 'WITHOUT_URING' in os.environ
MODELS = {'nvme': ['nvme', '--size', '4M'], 'edu': ['edu']}
EXPECTATION = re.compile(r'#: (.+?) (succeeds|fails)(?: and says: (.+))?$')


def command(name, *arguments):
    return [os.path.join(FOLDER, name + SUFFIX), *arguments]


class Script:
    """A script's devices, and what is expected of each driver: whether it succeeds, and what it says."""

    def __init__(self, path):
        self.path, self.name = path, os.path.basename(path).removesuffix('.script')
        self.options, self.arguments, self.patience, self.expected, devices = [], [], None, {}, []
        with open(path, encoding='ascii') as file:
            for line in file.read().splitlines():
                if line.startswith('#: model '):
                    self.options = line.removeprefix('#: model ').split()
                elif line.startswith('#: arguments '):
                    self.arguments = line.removeprefix('#: arguments ').split()
                elif line.startswith('#: patience '):
                    self.patience = int(line.removeprefix('#: patience '))
                elif line.startswith('#:'):
                    driver, outcome, says = EXPECTATION.match(line).groups()
                    self.expected[driver] = (outcome == 'succeeds', says or '')
                elif line.startswith('for '):
                    devices = line.split()[1:]
        if 'nvme' in self.expected:
            self.expected.setdefault(ASLEEP, self.expected['nvme'])
        for_it = [driver for driver, (model, _) in DRIVERS.items() if model in devices or 'any' in devices]
        self.drivers = [driver for driver in for_it if driver in self.expected]
        missing = [] if self.drivers == [WATCHING] else [driver for driver in for_it
                                                         if driver != WATCHING and driver not in self.drivers]
        if missing or not self.drivers:
            raise ValueError(f'{path}: what is expected of {missing}?')


def play(script, driver):
    """What went wrong; empty: nothing."""
    model, (program, *arguments) = DRIVERS[driver]
    succeeds, says = script.expected[driver]
    patience = str(script.patience or PATIENCE)
    if script.patience and '--timeout' in arguments:
        arguments[arguments.index('--timeout') + 1] = str(script.patience * 1000)
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            os.chown(folder, worlds.NOBODY, worlds.NOBODY)
        path = os.path.join(folder, 'socket')
        server = subprocess.Popen(
            command('chalk-model', *([model] if '--size' in script.options else MODELS[model]), '--socket', path,
                    '--script', script.path, *script.options),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            **worlds.ordinary())
        first, _ = worlds.until_ready(server, path)
        try:
            done = subprocess.run(command(program, f'vfio-user:{path}', *arguments, *script.arguments), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                                  timeout=DEADLINE, **worlds.ordinary(),
                                  env={'PATH': '/usr/bin:/bin', 'CHALK_UNPINNED': '1', 'CHALK_PATIENCE': patience})
            said, status = done.stdout, done.returncode
        except subprocess.TimeoutExpired as late:
            said, status = f'{(late.stdout or b"").decode()}did not end in {DEADLINE} s', None
        server.send_signal(signal.SIGTERM)
        try:
            rest = server.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            server.kill()
            rest = server.communicate()[0] + 'did not end'
    wrong = []
    if status != (0 if succeeds else 1):
        wrong.append(f'it ended with {status}')
    if 'Sanitizer' in said or 'runtime error' in said:
        wrong.append('a sanitizer complained')
    if says not in said:
        wrong.append(f'it did not say: {says}')
    if BY_PPOLL and 'so waiting uses ppoll' not in first:
        wrong.append('the model has an io_uring')
    if server.returncode != 0 or 'Sanitizer' in rest:
        wrong.append(f'the model ended with {server.returncode}: {first}{rest}')
    return '\n'.join([*wrong, said]) if wrong else ''


def main():
    scripts = [Script(path) for path in sorted(glob.glob(os.path.join(sys.argv[3], '*.script')))]
    with tap.Tap() as test, concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        plays = [(script, driver, pool.submit(play, script, driver))
                 for script in scripts for driver in script.drivers if driver == ASLEEP or not BY_PPOLL]
        for script, driver, result in plays:
            wrong = result.result()
            test.result(not wrong, f'{script.name}: {driver} {"succeeds" if script.expected[driver][0] else "fails"}',
                        wrong)


if __name__ == '__main__':
    main()
