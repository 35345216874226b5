#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a model answers to commands of vfio-user, judged by <linux/vfio.h> and QEMU's docs/interop/vfio-user.rst:
protocol.py CHALK-MODEL"""
import mmap
import os
import socket
import struct
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import vfio_user  # noqa: E402
import worlds  # noqa: E402

MODEL = os.path.abspath(sys.argv[1])
NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = 1, 2, 4, 8, 16, 32  # VFIO_IRQ_SET_...
INTX, MSIX, ERR = 0, 2, 3
EINVAL, EEXIST, ENOSPC = 22, 17, 28
MAPS = 65535  # that a server takes of a client which has agreed on nothing else (vfio-user.rst, max_dma_maps)
DMA_READ, DMA_WRITE = 11, 12


def irqs(flags, index=MSIX, start=0, count=1, argsz=20, more=b''):
    return struct.pack('<IIIII', argsz, flags, index, start, count) + more


MISTAKES = {
    'shorter than itself': irqs(TRIGGER | NONE)[:-1],
    'an argsz that is too small': irqs(TRIGGER | NONE, argsz=19),
    'an index that there is not': irqs(TRIGGER | NONE, index=5, count=0),
    'no action': irqs(NONE),
    'two actions': irqs(MASK | UNMASK | NONE, count=0),
    'no data': irqs(TRIGGER),
    'two sorts of data': irqs(MASK | NONE | BOOL, count=0),
    'an unknown flag': irqs(TRIGGER | NONE | 64),
    'vectors beyond the last': irqs(TRIGGER | NONE, start=64, count=2),
    'a start beyond the last': irqs(TRIGGER | NONE, start=66),
    'a start, and no vectors': irqs(TRIGGER | NONE, start=1, count=0),
    'a mask of no vectors': irqs(MASK | NONE, count=0),
    'bools of no vectors': irqs(TRIGGER | BOOL, count=0),
    'fewer bools than vectors': irqs(TRIGGER | BOOL, count=2, more=b'\0'),
    'more bools than vectors': irqs(TRIGGER | BOOL, count=2, more=b'\0\0\0'),
    'a mask of what has none': irqs(MASK | NONE),
    'an interrupt that there is not': irqs(TRIGGER | NONE, index=ERR),
    'an eventfd that unmasks': irqs(UNMASK | EVENTFD),
}
WITH_ONE_EVENTFD = {
    'an eventfd, and no data': irqs(TRIGGER | NONE),
    'an eventfd beside bools': irqs(TRIGGER | BOOL, more=b'\0'),
    'one eventfd for two vectors': irqs(TRIGGER | EVENTFD, count=2),
}


def interrupts(test, folder):
    path = os.path.join(folder, 'disk')
    with worlds.model(MODEL, 'nvme', path, '--size', '1M'), vfio_user.Client(path) as client:
        def ask(body, *fds):
            return client.command(vfio_user.SET_IRQS, body, fds).error
        one, two = os.eventfd(4, os.EFD_NONBLOCK), os.eventfd(8, os.EFD_NONBLOCK)
        for name, body in MISTAKES.items():
            test.equal(ask(body), EINVAL, f'SET_IRQS: {name}')
        for name, body in WITH_ONE_EVENTFD.items():
            test.equal(ask(body, one), EINVAL, f'SET_IRQS: {name}')
        test.equal(ask(irqs(TRIGGER | EVENTFD, count=2), one, two), 0, 'SET_IRQS: eventfds')
        test.equal((ask(irqs(TRIGGER | NONE, start=1)), ask(irqs(TRIGGER | BOOL, count=2, more=b'\1\0'))), (0, 0),
                   'SET_IRQS: interrupts without a reason')
        test.equal((os.eventfd_read(one), os.eventfd_read(two)), (5, 9), 'and they come')
        test.equal((ask(irqs(TRIGGER | NONE, count=0)), ask(irqs(TRIGGER | NONE))), (0, 0), 'SET_IRQS: all are forgotten')
        try:
            os.eventfd_read(one)
            test.result(False, 'and signal nobody any more')
        except BlockingIOError:
            test.result(True, 'and signal nobody any more')


def pin(test, folder):
    """Of a device without vectors it can be masked, as its description says."""
    path = os.path.join(folder, 'edu')
    with worlds.model(MODEL, 'edu', path), vfio_user.Client(path) as client:
        one = os.eventfd(0, os.EFD_NONBLOCK)
        client.command(vfio_user.SET_IRQS, irqs(TRIGGER | EVENTFD, index=INTX), [one])
        for body in (irqs(MASK | NONE, index=INTX), irqs(UNMASK | NONE, index=INTX), irqs(MASK | BOOL, index=INTX, more=b'\1'),
                     irqs(UNMASK | BOOL, index=INTX, more=b'\0'), irqs(TRIGGER | NONE, index=INTX)):
            test.equal(client.command(vfio_user.SET_IRQS, body).error, 0, f'SET_IRQS of the pin: {body[4:8].hex()}')
        test.equal(os.eventfd_read(one), 1, 'and it interrupts')


def memory(test, folder):
    path = os.path.join(folder, 'disk')
    fd = os.memfd_create('memory')
    os.ftruncate(fd, 1 << 20)
    with worlds.model(MODEL, 'nvme', path, '--size', '1M'), vfio_user.Client(path) as client:
        def unmap(argsz, flags, address, size):
            return client.command(vfio_user.DMA_UNMAP, struct.pack('<IIQQ', argsz, flags, address, size)).error

        def unmapped(address, size):
            reply = client.command(vfio_user.DMA_UNMAP, struct.pack('<IIQQ', 24, 0, address, size))
            return reply.error, struct.unpack_from('<Q', reply.body, 16)[0] if reply.error == 0 else None
        test.equal(client.command(vfio_user.DMA_MAP, struct.pack('<IIQQQ', 31, 3, 0, 0x1000, 0x1000), [fd]).error, EINVAL,
                   'DMA_MAP: an argsz that is too small')
        for address in range(0x1000, 0x9000, 0x1000):
            client.map(address, 0x1000, fd)
        test.equal(unmap(23, 0, 0x1000, 0x1000), EINVAL, 'DMA_UNMAP: an argsz that is too small')
        test.equal(unmap(24, 4, 0x1000, 0x1000), EINVAL, 'DMA_UNMAP: an unknown flag')
        test.equal(unmap(24, 2, 0x1000, 0x1000), EINVAL, 'DMA_UNMAP: all, and an address')
        test.equal(unmap(24, 0, 0x1000, 0x1000), 0, 'DMA_UNMAP: one')
        test.equal(unmapped(0x2000, 0x3000), (0, 0x3000), 'DMA_UNMAP: a range with three, and how much that was')
        test.equal(unmapped(0x2000, 0x3000), (0, 0), 'DMA_UNMAP: a range with none')
        test.equal(client.map(0x10000, 0x4000, fd), 0, 'a larger one')
        for start, size in ((0x10000, 0x1000), (0x11000, 0x1000), (0x12000, 0x8000), (0xf000, 0x2000)):
            test.equal(unmapped(start, size)[0], EINVAL, f'DMA_UNMAP: a part of it, {start:#x} and {size:#x} bytes')
        test.equal(unmapped(0x9000, 1 << 47), (0, 0x4000), 'DMA_UNMAP: all of it, in a range of half of all addresses')
        test.equal(unmapped(0x5000, 0)[0], EINVAL, 'DMA_UNMAP: a range of no bytes')
        test.equal(unmapped(1 << 63, (1 << 63) + 1)[0], EINVAL, 'DMA_UNMAP: a range around the end of all addresses')
        test.equal(client.map(0x5000, 0x1000, fd) != 0, True, 'what was not returned is still there')
        test.equal(unmap(24, 2, 0, 0), 0, 'DMA_UNMAP: all')
        test.equal(client.map(0x5000, 0x1000, fd), 0, 'and it can be mapped again')


def many(test, folder):
    """As many mappings as the protocol has, from the last address down; the limit less one, the limit, and one more."""
    path = os.path.join(folder, 'many')
    with worlds.model(MODEL, 'nvme', path, '--size', '1M'), vfio_user.Client(path) as client:
        def lend(i):
            return client.command(vfio_user.DMA_MAP, struct.pack('<IIQQQ', 32, 3, 0, (MAPS + 1 - i) * 0x2000, 0x1000)).error

        def give_back(argsz, flags, address, size):
            reply = client.command(vfio_user.DMA_UNMAP, struct.pack('<IIQQ', argsz, flags, address, size))
            return reply.error or struct.unpack_from('<Q', reply.body, 16)[0]
        test.equal({lend(i) for i in range(MAPS - 1)}, {0}, f'DMA_MAP: {MAPS - 1} mappings')
        test.equal((lend(MAPS - 1), lend(MAPS)), (0, ENOSPC), 'DMA_MAP: one more, and no further one')
        test.equal(lend(777), EEXIST, 'DMA_MAP: one that is there')
        test.equal(give_back(24, 0, (MAPS + 1 - 777) * 0x2000, 0x1000), 0x1000, 'DMA_UNMAP: one of them')
        test.equal((lend(MAPS), lend(777)), (0, ENOSPC), 'DMA_MAP: in its place')
        test.equal(give_back(24, 2, 0, 0) in (0, MAPS * 0x1000), True, 'DMA_UNMAP: all')
        test.equal(lend(777), 0, 'DMA_MAP: and it can be mapped again')


class Lender(vfio_user.Client):
    """A client that answers to what the model asks for by messages, on a twin socket."""

    def __init__(self, path):
        self.sizes, self._lent = [], (0, b'')
        super().__init__(path, capabilities=b'{"capabilities":{"max_msg_fds":8,"twin_socket":{"supported":true}}}\0')
        self._twin = socket.socket(fileno=self.fds[0])
        threading.Thread(target=self._serve, daemon=True).start()

    def map(self, address, size, fd):
        self._lent = address, mmap.mmap(fd, size)
        return super().map(address, size, fd)

    def _serve(self):
        while len(header := self._twin.recv(vfio_user.HEADER.size, socket.MSG_WAITALL)) == vfio_user.HEADER.size:
            identity, command, size, _, _ = vfio_user.HEADER.unpack(header)
            body = self._twin.recv(size - len(header), socket.MSG_WAITALL)
            address, count = struct.unpack_from('<QQ', body)
            base, lent = self._lent
            self.sizes.append(count)
            if command == DMA_WRITE:
                lent[address - base:address - base + count] = body[16:]
            body = body[:16] + (lent[address - base:address - base + count] if command == DMA_READ else b'')
            self._twin.sendall(vfio_user.HEADER.pack(identity, command, len(header) + len(body), vfio_user.REPLY, 0) + body)


def messages(test, folder):
    """In pieces that any client takes."""
    path = os.path.join(folder, 'copies')
    with worlds.model(MODEL, 'nvme', path, '--size', '1M', '--copy'), Lender(path) as client:
        nvme = vfio_user.Nvme(client)
        segment = struct.pack('<QIBBBB', nvme.address(vfio_user.DATA), 200 << 10, 0, 0, 0, 0)
        done = nvme.io(0x01, cdw12=399, data=bytes(200 << 10), flags=0x4000, prp1=int.from_bytes(segment[:8], 'little'),
                       prp2=int.from_bytes(segment[8:], 'little'))
        test.equal((done.status, sum(client.sizes) > 200 << 10), (0, True), 'a command of 200 KiB in one piece, by messages')
        test.result(max(client.sizes) <= 64 << 10, 'no message has more than 64 KiB of memory', max(client.sizes))


def no_answer(test, folder):
    path = os.path.join(folder, 'silent')
    with worlds.model(MODEL, 'nvme', path, '--size', '1M', '--copy', '--single') as process:
        with vfio_user.Client(path, timeout=20) as client:
            client.map(vfio_user.IOVA, 1 << 20, os.memfd_create('memory'))
            client.write(vfio_user.CONFIG, 4, struct.pack('<H', 6))
            client.write(0, 0x24, struct.pack('<I', 15 << 16 | 15))
            client.write(0, 0x28, struct.pack('<QQ', vfio_user.IOVA, vfio_user.IOVA + 4096))
            client.write(0, 0x14, struct.pack('<I', 0x460001))
            client.send(vfio_user.REGION_WRITE, struct.pack('<QIII', 0x1000, 0, 4, 1))
            test.contains(process.stdout.readline(), 'does not answer', 'who does not answer to a DMA message is told of')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        for part in (interrupts, pin, memory, many, messages, no_answer):
            part(test, folder)


if __name__ == '__main__':
    main()
