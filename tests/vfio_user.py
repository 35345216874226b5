# SPDX-License-Identifier: BSD-2-Clause
"""A client of vfio-user (QEMU's docs/interop/vfio-user.rst) and an NVMe host on it, to test models from outside.

Nothing of Chalk's is used, so that what the models answer is judged by the specifications alone.
"""
import array
import collections
import mmap
import os
import socket
import struct
import time

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_IRQ_INFO, SET_IRQS = 1, 2, 3, 4, 5, 7, 8
REGION_READ, REGION_WRITE, RESET = 9, 10, 13
CONFIG = 7  # the region of PCI configuration space
HEADER = struct.Struct('<HHIII')
REPLY, ERROR_FLAG = 1, 0x20

Reply = collections.namedtuple('Reply', 'error body fds')
RegionInfo = collections.namedtuple('RegionInfo', 'argsz flags index cap_offset size offset rest fds')
INFO_MMAP, INFO_CAPS = 4, 8  # of struct vfio_region_info's flags


class Client:
    """Each call waits for its answer, for `timeout` seconds at most."""

    def __init__(self, path, timeout=10, capabilities=b'{"capabilities":{"max_msg_fds":8}}\0'):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self._last = 0
        version = self.command(VERSION, struct.pack('<HH', 0, 1) + capabilities)
        if version.error:
            self.close()
            raise RuntimeError(f'the server refuses: error {version.error}')
        self.capabilities, self.fds = version.body[4:], version.fds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close()

    def command(self, number, body=b'', fds=()):
        self.send(number, body, fds)
        return self._answer(number)

    def send(self, number, body=b'', fds=()):
        """A command alone, whose answer nobody takes."""
        self._last = self._last % 0xffff + 1
        header = HEADER.pack(self._last, number, HEADER.size + len(body), 0, 0)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        sent = self._socket.sendmsg([header + body], ancillary)
        if sent < HEADER.size + len(body):
            self._socket.sendall((header + body)[sent:])

    def _answer(self, number):
        data, ancillary, _, _ = self._socket.recvmsg(HEADER.size, socket.CMSG_SPACE(8 * 4))
        fds = array.array('i')
        for _, _, content in ancillary:
            fds.frombytes(content)
        data += self._receive(HEADER.size - len(data))
        identity, command, size, flags, error = HEADER.unpack(data)
        if (identity, command, flags & 0xf) != (self._last, number, REPLY):
            raise RuntimeError(f'no answer to command {number}: {data.hex()}')
        return Reply(error if flags & ERROR_FLAG else 0, self._receive(size - HEADER.size), list(fds))

    def _receive(self, size):
        data = b''
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionResetError('the server has closed the connection')
            data += more
        return data

    def region_info(self, index, argsz):
        reply = self.command(GET_REGION_INFO, struct.pack('<IIIIQQ', argsz, 0, index, 0, 0, 0))
        return RegionInfo(*struct.unpack_from('<IIIIQQ', reply.body), reply.body[32:], reply.fds)

    def read(self, region, offset, size):
        return self.command(REGION_READ, struct.pack('<QII', offset, region, size)).body[16:]

    def write(self, region, offset, data):
        self.command(REGION_WRITE, struct.pack('<QII', offset, region, len(data)) + data)

    def map(self, address, size, fd):
        return self.command(DMA_MAP, struct.pack('<IIQQQ', 32, 3, 0, address, size), [fd]).error


# ---- NVMe [Base 2.0c] ----

Done = collections.namedtuple('Done', 'status more dnr result data')  # status: type 10:8 and code 7:0

PAGE = 4096
ENTRIES = 16  # of each queue: a page holds 64
IOVA = 0x100000
ADMIN_SQ, ADMIN_CQ, SQ, CQ, LIST, DATA = range(6)  # pages; data is the rest
DATA_PAGES = 64


class Nvme:
    """A controller with one I/O queue pair, polled, whose commands are sent one after the other."""

    def __init__(self, client, command_sets=False):
        self._client = client
        size = (DATA + DATA_PAGES) * PAGE
        fd = os.memfd_create('memory')
        os.ftruncate(fd, size)
        self._memory = mmap.mmap(fd, size)
        if client.map(IOVA, size, fd):
            raise RuntimeError('the memory was refused')
        self.file = fd
        for number in range(DATA_PAGES):
            struct.pack_into('<Q', self._memory, LIST * PAGE + 8 * number, self.address(DATA + 1 + number))
        client.write(CONFIG, 4, struct.pack('<H', 0x406))  # memory, bus master, no pin
        self._start(command_sets)

    def address(self, page):
        return IOVA + page * PAGE

    def _start(self, command_sets):
        client = self._client
        client.write(0, 0x14, struct.pack('<I', 0))
        client.write(0, 0x24, struct.pack('<I', (ENTRIES - 1) << 16 | ENTRIES - 1))
        client.write(0, 0x28, struct.pack('<QQ', self.address(ADMIN_SQ), self.address(ADMIN_CQ)))
        client.write(0, 0x14, struct.pack('<I', 0x460001 | (6 << 4 if command_sets else 0)))
        self._wait(lambda: self.csts() & 3, 'ready')
        if self.csts() & 2:
            raise RuntimeError('the controller failed to start')
        self._queues = {0: [ADMIN_SQ, ADMIN_CQ, 0, 0, 1], 1: [SQ, CQ, 0, 0, 1]}
        for opcode, page, more in ((0x05, CQ, 1), (0x01, SQ, 1 << 16 | 1)):
            self.expect(self.admin(opcode, prp1=self.address(page), cdw10=(ENTRIES - 1) << 16 | 1, cdw11=more))

    def csts(self):
        return struct.unpack('<I', self._client.read(0, 0x1c, 4))[0]

    @staticmethod
    def _wait(condition, what, seconds=10, meanwhile=None):
        end = time.monotonic() + seconds
        while not condition():
            if meanwhile:
                meanwhile()
            if time.monotonic() > end:
                raise TimeoutError(f'not {what} in {seconds} s')

    @staticmethod
    def expect(done):
        if done.status:
            raise RuntimeError(f'unexpected status {done.status:#x}')
        return done

    def __del__(self):
        os.close(self.file)

    def admin(self, opcode, **fields):
        return self._command(0, opcode, **fields)

    def io(self, opcode, nsid=1, **fields):
        return self._command(1, opcode, nsid=nsid, **fields)

    def identify(self, cns, nsid=0, cdw11=0):
        return self.admin(0x06, nsid=nsid, cdw10=cns, cdw11=cdw11, size=PAGE)

    def log(self, page, size, nsid=0xffffffff, offset=0, more=0, cdw14=0):
        words = size // 4 - 1
        return self.admin(0x02, nsid=nsid, cdw10=page | more | (words & 0xffff) << 16, cdw11=words >> 16,
                          cdw12=offset & 0xffffffff, cdw13=offset >> 32, cdw14=cdw14, size=size)

    def blocks(self, opcode, lba, count, nsid=1, data=None, size=0, cdw12=0, cdw13=0):
        return self.io(opcode, nsid=nsid, cdw10=lba & 0xffffffff, cdw11=lba >> 32, cdw12=cdw12 | count - 1, cdw13=cdw13,
                       data=data, size=size)

    def ring(self, queue, more=0):
        """Writes the doorbell of the submission queue, for `more` entries than were put into it."""
        self._client.write(0, 0x1000 + 8 * queue, struct.pack('<I', self._queues[queue][2] + more))

    def _command(self, queue, opcode, nsid=0, prp1=None, prp2=None, data=None, size=0, meanwhile=None, flags=0, **words):
        sq, cq, tail, head, phase = state = self._queues[queue]
        if data is not None:
            self._memory[DATA * PAGE:DATA * PAGE + len(data)] = data
            size = len(data)
        elif size:
            self._memory[DATA * PAGE:DATA * PAGE + size] = b'\xa5' * size
        if prp1 is None:
            prp1 = self.address(DATA)
            prp2 = 0 if size <= PAGE else self.address(DATA + 1) if size <= 2 * PAGE else self.address(LIST)
        entry = struct.pack('<IIQQQQ6I', opcode | flags | 0x1234 << 16, nsid, 0, 0, prp1, prp2 or 0,
                            *(words.pop(f'cdw{number}', 0) for number in range(10, 16)))
        if words:
            raise TypeError(f'unknown fields {sorted(words)}')
        self._memory[sq * PAGE + tail * 64:sq * PAGE + tail * 64 + 64] = entry
        state[2] = tail = (tail + 1) % ENTRIES
        self.ring(queue)
        at = cq * PAGE + head * 16
        self._wait(lambda: self._memory[at + 14] & 1 == phase, 'completed', meanwhile=meanwhile)
        result, more, _, _, outcome = struct.unpack_from('<IIHHI', self._memory, at)
        state[3] = head = (head + 1) % ENTRIES
        state[4] = phase if head else 1 - phase
        self._client.write(0, 0x1004 + 8 * queue, struct.pack('<I', head))
        status = outcome >> 17
        return Done(status & 0x7ff, status >> 13 & 1, status >> 14 & 1, result | more << 32,
                    self._memory[DATA * PAGE:DATA * PAGE + size])
