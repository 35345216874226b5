#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Commands as nvme-cli sends them and as Chalk encodes them: nvme_cli_test.py ENCODE RECORDER

nvme-cli runs on /dev/null, with the recorder between it and the kernel. All 64 bytes of the queue entry and all data
for the controller have to be the same; where data and metadata are, and the identifier, is the driver's affair.
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

SECURITY = '-n 1 -p 0xef -s 0x1234 -N 5'
CASES = {  # as nvme_encode.c names them: nvme-cli's command line; counts of blocks are less one there
    'id-ctrl': 'id-ctrl DEV',
    'id-ns': 'id-ns DEV -n 5',
    'list-ns': 'list-ns DEV -n 3',
    'list-ns all': 'list-ns DEV -n 3 -a',
    'list-ctrl': 'list-ctrl DEV -c 3',
    'list-ctrl of a namespace': 'list-ctrl DEV -c 3 -n 5',
    'ns-descs': 'ns-descs DEV -n 5',
    'list-secondary': 'list-secondary DEV -c 3',
    'primary-ctrl-caps': 'primary-ctrl-caps DEV -c 3',
    'id-iocs': 'id-iocs DEV',
    'zns id-ns': 'zns id-ns DEV -n 5',
    'zns id-ctrl': 'zns id-ctrl DEV',
    'get-feature': 'get-feature DEV -f 4 -s 1 -n 1 -c 0x10000',
    'set-feature': 'set-feature DEV -f 4 -v 0x158 -n 1 -s',
    'get-log': 'get-log DEV -i 2 -s 3 -S 0x1234 -n 1 -o 0x123456780 -l 512 -r -y 2',
    'format': 'format DEV -n 1 -l 3 -s 1 -i 2 -p 1 -m 1 --force',
    'format 35': 'format DEV -n 1 -l 35 -s 2 --force',
    'create-ns': 'create-ns DEV -s 0x1000 -c 0x900 -f 2 -d 1 -m 1',
    'delete-ns': 'delete-ns DEV -n 5',
    'attach-ns': 'attach-ns DEV -n 5 -c 1,2,700',
    'detach-ns': 'detach-ns DEV -n 5 -c 1,2,700',
    'fw-download': 'fw-download DEV -f FIRMWARE -x 4096',  # three pieces; the last is compared,
    'fw-commit': 'fw-commit DEV -s 3 -a 1',
    'device-self-test': 'device-self-test DEV -n 1 -s 2',
    'sanitize overwrite': 'sanitize DEV -a 3 -n 2 -i -p 0xdeadbeef -d',
    'sanitize crypto': 'sanitize DEV -a 4 -u',
    'security-send': f'security-send DEV {SECURITY} -t 512 -f PAYLOAD',
    'security-recv': f'security-recv DEV {SECURITY} -t 512 -x 512',
    'virt-mgmt': 'virt-mgmt DEV -c 3 -r 1 -n 5 -a 8',
    'write-uncor': 'write-uncor DEV -n 1 -s 0x1234567890 -c 7',
    'dsm': 'dsm DEV -n 1 -d -w -s 1,100 -b 8,16',
    'copy': 'copy DEV -n 1 -d 0x1234567890 -s 1,100 -b 8,16',
    'zns zone-mgmt-send': 'zns zone-mgmt-send DEV -n 1 -s 0x1234567890 -a -z 4',
    # nvme-cli 2.3 keeps only 32 bits of where a report starts.
    'zns report-zones': 'zns report-zones DEV -n 1 -s 0x12345678 -S 2 -d 4',
    'zns zone-append': 'zns zone-append DEV -n 1 -s 0x1234567890 -z 512 -d PAYLOAD',
}

RESERVED = {'copy': [(at + start, at + end) for at in (0, 32) for start, end in ((0, 8), (18, 24))]}  # not cleared by it


def without_reserved(name, line):
    """Bytes of the data that mean nothing, as zeros."""
    entry, _, data = line.partition(' ')
    for start, end in RESERVED.get(name, ()):
        data = data[:2 * start] + '00' * (end - start) + data[2 * end:]
    return f'{entry} {data}'


def encoded(program):
    output = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(line.split(': ', 1) for line in output.splitlines())


def recorded(folder, recorder, arguments):
    """The last command that nvme-cli sends, and what it said."""
    record = os.path.join(folder, 'record')
    with open(record, 'w'):
        pass
    files = {'DEV': '/dev/null', 'FIRMWARE': os.path.join(folder, 'firmware'), 'PAYLOAD': os.path.join(folder, 'payload')}
    run = subprocess.run(['nvme', *(files.get(word, word) for word in arguments.split())],
                         env={**os.environ, 'LD_PRELOAD': recorder, 'NVME_RECORD': record}, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    with open(record) as file:
        lines = file.read().splitlines()
    return (lines or [''])[-1], run.stdout[:1000]


def main():
    program, recorder = sys.argv[1:]
    os.environ['PATH'] += ':/usr/sbin'
    if not shutil.which('nvme'):
        print('1..0 # SKIP no nvme-cli: run tools/setup')
        return
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        for name, content in (('firmware', b'f' * 3 * 4096), ('payload', b's' * 512)):
            with open(os.path.join(folder, name), 'wb') as file:
                file.write(content)
        ours = encoded(program)
        test.equal(sorted(ours), sorted(CASES), 'every command that is encoded is compared')
        for name, arguments in CASES.items():
            theirs, said = recorded(folder, recorder, arguments)
            if not test.equal(ours.get(name), without_reserved(name, theirs), name):
                print(f'#   nvme-cli said: {said}')


if __name__ == '__main__':
    main()
