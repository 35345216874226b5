#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Models and clients that do the worst to them: clients.py CHALK-MODEL NVME-IDENTIFY

Whatever a client does with what it has lent, its descriptors and its time, the model serves the next one, and the disk in
its memory is still what it was.
"""
import contextlib
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import vfio_user  # noqa: E402
import worlds  # noqa: E402

MODEL, IDENTIFY = (os.path.abspath(path) for path in sys.argv[1:3])
WAYS = {'events': [], 'shared doorbells': ['--poll']}
MSIX = 2  # VFIO's index of interrupts
EVENTFD_TRIGGER = 4 | 32
BLOCK = b'what a client wrote '.ljust(512, b'.')


def set_vectors(client, fds):
    return client.command(vfio_user.SET_IRQS, struct.pack('<IIIII', 20, EVENTFD_TRIGGER, MSIX, 0, len(fds)), fds).error


def keeps_its_disk(test, path, what):
    """The next client reads what an earlier one wrote."""
    try:
        with vfio_user.Client(path) as client:
            read = vfio_user.Nvme(client).blocks(0x02, 0, 1, size=512)
        test.equal((read.status, read.data), (0, BLOCK), f'{what}: the next client is served, and the disk is there')
    except (OSError, RuntimeError) as error:
        test.result(False, f'{what}: the next client is served, and the disk is there', repr(error))


@contextlib.contextmanager
def disk(folder, *options):
    path = os.path.join(folder, 'disk')
    with worlds.model(MODEL, 'nvme', path, '--size', '1M', *options):
        with vfio_user.Client(path) as client:
            vfio_user.Nvme.expect(vfio_user.Nvme(client).blocks(0x01, 0, 1, data=BLOCK))
        yield path


def truncates(test, path):
    """Memory that is cut short while the model uses it."""
    with vfio_user.Client(path) as client:
        nvme = vfio_user.Nvme(client)
        os.ftruncate(nvme.file, 0)
        try:
            nvme.ring(0, more=1)
            for _ in range(100):
                nvme.csts()
                time.sleep(0.02)
            answered = True
        except OSError:
            answered = False
        test.result(not answered, 'memory is cut short: the connection is closed')


def fills(test, path):
    """An eventfd whose count is full would keep a writer waiting."""
    with vfio_user.Client(path, timeout=5) as client:
        full = os.eventfd(0)
        os.eventfd_write(full, 2**64 - 2)
        test.equal(set_vectors(client, [full]), 0, 'a full eventfd is taken')
        nvme = vfio_user.Nvme(client)
        test.equal(nvme.identify(1).status, 0, 'and a command is completed with it')
        test.equal(os.eventfd_read(full) > 2**63, True, 'whose count stays full')
        nvme.identify(1)
        test.equal(os.eventfd_read(full), 1, 'and goes up again when it was read')


def lends_a_fifo(test, path, folder):
    name = os.path.join(folder, 'anon_inode:[eventfd]')
    os.mkfifo(name)
    fifo = os.open(name, os.O_RDWR)
    with vfio_user.Client(path) as client:
        test.equal(set_vectors(client, [fifo]), 22, 'a FIFO is no eventfd, whatever its name')
    os.close(fifo)
    os.unlink(name)


def lends_a_file(test, path):
    """Of a file system that may wait: the model asks for the memory by messages, which nobody answers here."""
    with vfio_user.Client(path) as client, tempfile.TemporaryFile(dir='/var/tmp') as file:
        file.truncate(1 << 20)
        test.equal(client.map(0x100000, 1 << 20, file.fileno()), 0, 'a file that is not memory is taken')


def visits(test, path):
    """While a client is served, others are told; and who says nothing is not waited for."""
    with vfio_user.Client(path) as client:
        try:
            vfio_user.Client(path, timeout=5)
            answer = 'served'
        except RuntimeError as error:
            answer = str(error)
        test.contains(answer, 'error 16', 'a second client is told "busy" (EBUSY)')
        done = subprocess.run([IDENTIFY, f'vfio-user:{path}'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, env={'CHALK_UNPINNED': '1'}, timeout=60, **worlds.ordinary())
        test.contains(done.stdout, 'its process serves another program', 'and so is a driver')
        silent = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in silent:
            one.connect(path)
        test.equal(len(client.read(0, 0, 8)), 8, 'and the first is served while others say nothing')
        for one in silent:
            one.close()


def says_nothing(test, path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(path)
        start = time.monotonic()
        answer = ''
        while not answer and time.monotonic() < start + 20:
            try:
                vfio_user.Client(path, timeout=5).close()
                answer = 'served'
            except RuntimeError as error:
                if 'error 16' not in str(error):
                    answer = str(error)
                time.sleep(0.2)
        test.equal(answer, 'served', 'a client that says nothing keeps others out for a few seconds only')


def floods(test, folder):
    """A client that sends commands instead of the answer that the model waits for."""
    path = os.path.join(folder, 'copies')
    with worlds.model(MODEL, 'nvme', path, '--size', '1M', '--copy', '--single') as process:
        with vfio_user.Client(path) as client:
            memory = os.memfd_create('memory')
            os.ftruncate(memory, 1 << 20)
            client.map(vfio_user.IOVA, 1 << 20, memory)
            client.write(vfio_user.CONFIG, 4, struct.pack('<H', 6))
            client.write(0, 0x24, struct.pack('<I', 15 << 16 | 15))
            client.write(0, 0x28, struct.pack('<QQ', vfio_user.IOVA, vfio_user.IOVA + 4096))
            client.write(0, 0x14, struct.pack('<I', 0x460001))
            client.send(vfio_user.REGION_WRITE, struct.pack('<QIII', 0x1000, 0, 4, 1))
            sent, most = 0, 256 << 20
            with contextlib.suppress(OSError):
                while sent < most:
                    client.send(vfio_user.REGION_WRITE, struct.pack('<QII', 0, 0, 1 << 20) + bytes(1 << 20))
                    sent += 1 << 20
        with open(f'/proc/{process.pid}/status', encoding='ascii') as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))
        test.result(sent < most and peak < 128 << 10, 'what a client sends instead of an answer has a limit',
                    f'{sent} bytes sent, {peak} KiB used')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        for way, options in WAYS.items():
            with disk(folder, *options) as path:
                for what in (truncates, fills, lends_a_file, visits, says_nothing):
                    what(test, path)
                    keeps_its_disk(test, path, f'{way}: {what.__name__}')
                lends_a_fifo(test, path, folder)
                keeps_its_disk(test, path, f'{way}: lends_a_fifo')
        floods(test, folder)


if __name__ == '__main__':
    main()
