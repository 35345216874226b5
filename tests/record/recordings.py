#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Recordings of drivers and their devices: recordings.py FOLDER MODEL [--guest [--renew]]

FOLDER has the programs, MODEL is chalk-model. Natively, the recordings that are kept here are replayed, and new ones
made with the models; with --guest they are made with QEMU's devices, replayed, and compared with the models'. --renew
keeps them.
"""
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import tap  # noqa: E402
import worlds  # noqa: E402

FOLDER, MODEL = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])

TRANSCRIPT = os.path.join(worlds.ROOT, 'tools/transcript')
ADDRESS = {'nvme': '0000:00:03.0', 'edu': '0000:00:04.0'}  # in the guest
DIFFERS = 3

PROGRAMS = {  # name: its device, and its arguments
    'edu': ('edu', []),
    'nvme-identify': ('nvme', []),
    'nvme-verify': ('nvme', ['--overwrite', '--blocks', '8', '--depth', '1']),
}

# How a driver's way with QEMU's device differs from its way with the model: the step, in how many lines, and why.
DIFFERENCES = {
    'nvme': [
        (r'configuration: 0x\w+', 3, 'its capabilities lie elsewhere'),
        (r'configuration: command <- .*', 8, 'firmware and kernel have set other bits'),
        (r'CC <- .*', 6, 'it offers more command sets than one, so the driver selects them all'),
        (r'queue 0: (Identify cdw10=0x\w+001c .*|Set Features cdw10=0x19)', 2, '... and asks which there are'),
        (r'queue 0: (\w+ \w+: done|Identify: done|result)|rings queue 0.*|looks at 4096 .*', 9, '... by these commands'),
    ],
    'edu': [(r'configuration: command <- .*', 4, 'firmware and kernel have set other bits')],
}


def recorder(name):
    return os.path.join(FOLDER, f'{name}-records')


def kept(name):
    return os.path.join(HERE, f'{name}.recording')


def replay(name, recording, device):
    done = subprocess.run([os.path.join(FOLDER, f'{name}-replays'), recording, device, *PROGRAMS[name][1]],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return worlds.Separate(done.returncode, done.stdout, done.stderr)


def transcript(*arguments):
    done = subprocess.run([TRANSCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return worlds.Separate(done.returncode, done.stdout, done.stderr)


def record_models(folder):
    """{program: (recording, device's name, what it printed)}, made with the models."""
    made = {}
    for name, (kind, arguments) in PROGRAMS.items():
        path, recording = os.path.join(folder, kind), os.path.join(folder, f'{name}.model')
        with worlds.model(MODEL, kind, path, *(['--size', '1M'] if kind == 'nvme' else [])):
            done = subprocess.run([recorder(name), f'vfio-user:{path}', *arguments], stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                                  env={'CHALK_RECORD': recording, 'CHALK_UNPINNED': '1'}, **worlds.ordinary())
        made[name] = recording, f'vfio-user:{path}', done.stdout if done.returncode == 0 else done.stderr
    return made


def record_guest(folder):
    """The same, made with QEMU's devices."""
    disk = os.path.join(folder, 'disk.img')
    with open(disk, 'wb') as file:
        file.truncate(1 << 20)
    cases = {}
    for name, (kind, arguments) in PROGRAMS.items():
        command = ' '.join([f'{name}-records', ADDRESS[kind], *arguments])
        cases[name] = f'CHALK_RECORD=/tmp/{name} {command} 2>&1'
        cases[f'{name} recording'] = f'cat /tmp/{name}'
    results = worlds.guest(cases, [f'nvme:{disk}', 'edu'], [recorder(name) for name in PROGRAMS])
    made = {}
    for name, (kind, _) in PROGRAMS.items():
        recording = os.path.join(folder, f'{name}.qemu')
        with open(recording, 'w', encoding='ascii') as file:
            file.write(results[f'{name} recording'].output)
        made[name] = recording, ADDRESS[kind], results[name].output
    return made


def replays(test, made, where):
    for name, (recording, device, printed) in made.items():
        result = replay(name, recording, device)
        test.result((result.status, result.output) == (0, printed), f'{name} on {where}: it does and prints the same again',
                    f'{result}\nrecorded: {printed}')


def steps(recording):
    """What the driver did. It also looks at the controller's status now and then, by the clock."""
    return [line for line in transcript('--steps', recording).output.splitlines() if line != 'CSTS']


def compare(test, qemu, model):
    """The model is judged by QEMU's device: a driver does the same with both, but for DIFFERENCES."""
    for name, (kind, _) in PROGRAMS.items():
        lines = list(difflib.unified_diff(steps(qemu[name][0]), steps(model[name][0]), 'QEMU', 'the model', lineterm=''))
        changed = [line[1:] for line in lines[2:] if line[0] in '+-']
        for pattern, most, _ in DIFFERENCES[kind]:
            explained = [line for line in changed if re.fullmatch(pattern, line)]
            if len(explained) <= most:
                changed = [line for line in changed if line not in explained]
        test.equal(changed, [], f'{name}: what a driver does differently with QEMU and with the model has a reason')


def changed(test, folder):
    """A driver that does something else is shown, and so is a recording that is none."""
    recording = os.path.join(folder, 'changed')
    with open(kept('edu'), encoding='ascii') as file:
        text = file.read()
    cases = {  # what is changed in the recording: what is said of the driver
        'another value written': ('write 0 0x8/4 0x9\n', 'write 0 0x8/4 0x8\n', '+ write 0 0x8/4 0x9'),
        'a step less': ('write 0 0x64/4 0x1\n', '', '+ write 0 0x64/4 0x1'),
        'no end': ('unmap', 'reset = 0\nunmap', '+ unmap'),
        'an answer that is none': ('= 00', '= xy', 'cannot be read'),
    }
    for name, (before, after, says) in cases.items():
        with open(recording, 'w', encoding='ascii') as file:
            file.write(text.replace(before, after, 1))
        result = replay('edu', recording, ADDRESS['edu'])
        test.result(result.status == DIFFERS and says in result.messages, f'a replay with {name} is stopped', result)
    with open(recording, 'w', encoding='ascii') as file:
        file.write(text.replace('write 0 0x8/4 0x9\n', 'write 0 0x8/4 0x8\n'))
    result = transcript(kept('edu'), recording)
    test.result(result.status == 1 and '-factorial <- 0x9' in result.output and '+factorial <- 0x8' in result.output,
                'tools/transcript shows by name where two recordings differ', result)
    for name, content in (('another file', b'\xff\xfe'), ('another text', b'hello\n')):
        with open(recording, 'wb') as file:
            file.write(content)
        result = transcript(recording)
        test.result(result.status == 2 and 'no' in result.messages, f'tools/transcript refuses {name}', result)
    result = transcript(os.path.join(folder, 'nothing'))
    test.result(result.status == 2 and 'No such file' in result.messages, 'tools/transcript says what is missing', result)


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            os.chown(folder, worlds.NOBODY, worlds.NOBODY)
        model = record_models(folder)
        if '--guest' not in sys.argv:
            replays(test, {name: (kept(name), ADDRESS[kind], open(kept(name) + '.out', encoding='utf-8').read())
                           for name, (kind, _) in PROGRAMS.items()}, "QEMU's device, as it was kept")
            replays(test, model, 'the model')
            changed(test, folder)
            return
        qemu = record_guest(folder)
        replays(test, qemu, "QEMU's device")
        compare(test, qemu, model)
        for name in PROGRAMS:
            if '--renew' in sys.argv:
                shutil.copy(qemu[name][0], kept(name))
                with open(kept(name) + '.out', 'w', encoding='utf-8') as file:
                    file.write(qemu[name][2])
            test.equal(steps(kept(name)), steps(qemu[name][0]), f'{name}: the recording that is kept is like a new one; '
                       'if the driver was changed on purpose, run this test with --renew')


if __name__ == '__main__':
    main()
