#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Where a model keeps its bytes: many requests at once, holes, and answers meanwhile: stores.py CHALK-MODEL NVME-PERF"""
import os
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import vfio_user  # noqa: E402
import worlds  # noqa: E402

MODEL, PERF = (os.path.abspath(path) for path in sys.argv[1:3])
FLUSH, WRITE, READ, WRITE_ZEROES, DATASET = 0, 1, 2, 8, 9
FORCE_UNIT_ACCESS = 1 << 30
GIB = 1 << 30


def deep(test, folder):
    """More requests than a file takes at once are no errors."""
    path, file = os.path.join(folder, 'disk'), os.path.join(folder, 'deep.img')
    with worlds.model(MODEL, 'nvme', path, '--size', '64M', '--backing', f'file:{file}'):
        done = subprocess.run([PERF, f'vfio-user:{path}', '--op', 'write', '--overwrite', '--depth', '2000',
                               '--count', '20000'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=100,
                              stderr=subprocess.STDOUT, env={'CHALK_UNPINNED': '1'}, **worlds.ordinary())
        test.result(done.returncode == 0 and 'error' not in done.stdout, '2000 requests at once, into a file', done.stdout)
    os.unlink(file)


def used(file):
    return os.stat(file).st_blocks * 512


def ranges(*pairs):
    """Of a Dataset Management command: (first block, blocks)."""
    return b''.join(struct.pack('<IIQ', 0, count, first) for first, count in pairs)


def holes(test, folder, kind, backing, file):
    """What is discarded, or written as zeroes, reads as zeroes, and takes no space and hardly any time."""
    path = os.path.join(folder, 'disk')
    size, blocks = 8 * GIB, 8 * GIB // 512
    with worlds.model(MODEL, 'nvme', path, '--size', size, '--backing', backing), vfio_user.Client(path, timeout=60) as client:
        nvme = vfio_user.Nvme(client)
        data = bytes(range(256)) * 128
        places = 0, 4 * GIB // 512 + 3, blocks - 64
        for place in places:
            nvme.expect(nvme.blocks(WRITE, place, 64, data=data))
        nvme.expect(nvme.blocks(WRITE_ZEROES, 1, 62))
        test.equal(nvme.blocks(READ, 0, 64, size=64 * 512).data, data[:512] + bytes(62 * 512) + data[-512:],
                   f'{kind}: Write Zeroes makes zeroes of just those blocks')
        test.equal(nvme.blocks(WRITE_ZEROES, 1, 8, cdw12=FORCE_UNIT_ACCESS).status, 0, f'{kind}: Write Zeroes with Force Unit Access')
        start = time.monotonic()
        gone = ranges((1, blocks // 4 - 1), (blocks // 4, blocks // 4), (blocks // 2, blocks // 4), (blocks * 3 // 4, blocks // 4),
                      (7, 0))
        done = nvme.io(DATASET, cdw10=4, cdw11=4, data=gone)
        took = time.monotonic() - start
        test.equal(done.status, 0, f'{kind}: 8 GiB are discarded')
        test.result(took < 3, f'{kind}: which does not take as long as writing them', f'{took} s')
        test.equal(nvme.blocks(READ, 0, 8, size=8 * 512).data, data[:512] + bytes(7 * 512), f'{kind}: but for the first block')
        for place in places[1:]:
            test.equal(nvme.blocks(READ, place, 64, size=64 * 512).data, bytes(64 * 512), f'{kind}: the others are zeroes')
        test.equal(nvme.io(DATASET, cdw10=0, cdw11=4, data=ranges((blocks - 1, 2))).status, 0x80,
                   f'{kind}: a range beyond the end is refused')
        if file:
            nvme.expect(nvme.io(FLUSH))
            test.result(used(file) < 1 << 20 and os.path.getsize(file) == size, f'{kind}: the file has holes, and its size',
                        f'{used(file)} bytes of {os.path.getsize(file)}')


def answers_meanwhile(test, folder):
    """Of memory that is there, much is discarded: a register is read between the pieces."""
    path = os.path.join(folder, 'disk')
    count = 1 << 30 >> 9
    with worlds.model(MODEL, 'nvme', path, '--size', '1G'), vfio_user.Client(path) as client:
        nvme = vfio_user.Nvme(client)
        for place in range(0, count, 1024):
            nvme.blocks(WRITE, place, 1, data=bytes(512))
        slowest, reads = 0, 0

        def read():
            nonlocal slowest, reads
            start = time.monotonic()
            nvme.csts()
            slowest, reads = max(slowest, time.monotonic() - start), reads + 1
        nvme.io(DATASET, cdw10=0, cdw11=4, data=ranges((0, count)), meanwhile=read)
        test.result(reads > 4 and slowest < 1, 'registers are read while 1 GiB is discarded', f'{reads} reads, {slowest} s')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory(dir='/var/tmp') as folder:
        os.chmod(folder, 0o777)
        file = os.path.join(folder, 'disk.img')
        deep(test, folder)
        holes(test, folder, 'memory', 'ram', None)
        holes(test, folder, 'a file', f'file:{file}', file)
        answers_meanwhile(test, folder)


if __name__ == '__main__':
    main()
