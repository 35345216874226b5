#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the models answer, judged by the specifications, without a driver of Chalk's: answers.py CHALK-MODEL"""
import contextlib
import os
import re
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import vfio_user  # noqa: E402
import worlds  # noqa: E402

MODEL = os.path.abspath(sys.argv[1])


def regions(test, folder):
    """Of a region that can be mapped in part, a client first learns how much room its description takes."""
    path = os.path.join(folder, 'disk')
    with worlds.model(MODEL, 'nvme', path, '--size', '1M', '--poll'), vfio_user.Client(path) as client:
        info = client.region_info(0, 32)
        test.equal((info.flags & vfio_user.INFO_CAPS, info.cap_offset, info.fds), (0, 0, []),
                   'a description without room for capabilities says that it has none')
        test.result(info.argsz > 32, 'and how much room they take', info)
        whole = client.region_info(0, info.argsz)
        test.equal((whole.flags & vfio_user.INFO_CAPS, whole.cap_offset, len(whole.rest), len(whole.fds)),
                   (vfio_user.INFO_CAPS, 32, info.argsz - 32, 1), 'with that room they come, and the descriptor')


@contextlib.contextmanager
def controller(folder, *options, command_sets=False):
    path = os.path.join(folder, 'disk')
    with worlds.model(MODEL, 'nvme', path, '--size', '8M', *options), vfio_user.Client(path) as client:
        yield vfio_user.Nvme(client, command_sets)


READ, WRITE, FLUSH, COMPARE, WRITE_ZEROES, DATASET, VERIFY = 0x02, 0x01, 0x00, 0x05, 0x08, 0x09, 0x0c
ZONE_SEND, ZONE_RECEIVE, ZONE_APPEND = 0x79, 0x7a, 0x7d
NVM, ZONED, NO_SET = 0, 2, 1
FORMAT, CREATE, ATTACH = 0x80, 0x0d, 0x15


def names(nvme):
    """What a host tells subsystems and namespaces apart by [Base 4.5, 5.17.2.3]."""
    subsystem = nvme.identify(1).data[768:1024]
    descriptors = nvme.identify(3, nsid=1).data
    return subsystem.rstrip(b'\0').decode(), descriptors[4:20]


def identity(test, folder):
    seen = []
    for serial in ('first', 'second', 'second'):
        with controller(folder, '--serial', serial) as nvme:
            seen.append(names(nvme))
            data = nvme.identify(1).data
    test.result(all(re.fullmatch(r'nqn\.2014-08\.org\.nvmexpress:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', name)
                    for name, _ in seen), 'the subsystem has a name of the standard form', seen)
    test.equal([len({name for name, _ in seen}), len({uuid for _, uuid in seen}), seen[1] == seen[2]], [2, 2, True],
               'it and the UUID of a namespace are those of the serial number')
    test.equal(data[525], 5, 'VWC: a cache, and no flush of all namespaces')


def effects_of(nvme, csi):
    done = nvme.log(0x05, 4096, cdw14=csi << 24)
    words = struct.unpack('<512I', done.data[:2048])
    return done.status, {number: word for number, word in enumerate(words[:256]) if word}, \
        {number: word for number, word in enumerate(words[256:]) if word}


def effects(test, folder):
    """Commands supported and effects, of each command set [Base 5.16.1.6]."""
    block_commands = {FLUSH: 1, WRITE: 3, READ: 1, COMPARE: 1, WRITE_ZEROES: 3, DATASET: 3, VERIFY: 1}
    zone_commands = {ZONE_SEND: 3, ZONE_RECEIVE: 1, ZONE_APPEND: 3}
    with controller(folder, '--zone-size', '1M', command_sets=True) as nvme:
        status, admin, io = effects_of(nvme, NVM)
        test.equal((status, io), (0, block_commands), 'effects: I/O commands of the NVM command set')
        test.equal([admin[opcode] for opcode in (FORMAT, CREATE, ATTACH)], [0x20007, 9, 9],
                   'effects: format changes blocks and namespaces, and is alone')
        status, again, io = effects_of(nvme, ZONED)
        test.equal((status, again == admin, io), (0, True, {**block_commands, **zone_commands}),
                   'effects: of the zoned one, with the same admin commands')
        test.equal(effects_of(nvme, NO_SET)[0], 0x02, 'effects: of a command set that it has not')
        for opcode in zone_commands:
            test.result(nvme.io(opcode, nsid=1, cdw12=1023, cdw13=1 << 8, size=4096).status != 0x01,
                        f'effects: {opcode:#x} is there')
    with controller(folder) as nvme:
        test.equal(effects_of(nvme, ZONED)[2], block_commands, 'effects: the command set is not looked at without a choice')


def errors(test, folder):
    """The error log says of what namespace and block [Base 5.16.1.2], and the status, whether it can pass."""
    with controller(folder, '--zone-size', '1M', '--active-zones', 1, '--size2', '8M', '--spare', '4M',
                    command_sets=True) as nvme:
        def newest():
            data = nvme.log(0x01, 64).data
            _, sqid, _, status, _, lba, nsid = struct.unpack_from('<QHHHHQI', data)
            return sqid, status >> 1 & 0x7ff, status >> 15, nsid, lba

        cases = {  # name: (command, its status, whether the same command would fail again, error log: queue, nsid, lba)
            'a read beyond the end': (lambda: nvme.blocks(READ, 1 << 40, 1, nsid=2, size=512), 0x080, 1, (1, 2, 1 << 40)),
            'a write into the middle of a zone': (lambda: nvme.blocks(WRITE, 5, 1, data=bytes(512)), 0x1bc, 1, (1, 1, 5)),
            'a zone more than can be active': (lambda: nvme.blocks(WRITE, 4096, 1, data=bytes(512)), 0x1bd, 0, (1, 1, 4096)),
            'a namespace that is not there': (lambda: nvme.io(FLUSH, nsid=7), 0x00b, 1, (1, 7, 0)),
            'a discard beyond the end': (lambda: nvme.io(DATASET, nsid=2, cdw11=4, data=struct.pack('<IIQ', 0, 8, 1 << 40)),
                                         0x080, 1, (1, 2, 0)),
            'no such opcode': (lambda: nvme.io(0x7f, nsid=2, cdw10=77), 0x001, 1, (1, 2, 0)),
            'no such log': (lambda: nvme.log(0x77, 64), 0x109, 1, (0, 0xffffffff, 0)),
            'data that is not in our memory': (lambda: nvme.io(READ, nsid=2, cdw10=3, prp1=1 << 50), 0x004, 0, (1, 2, 3)),
        }
        nvme.expect(nvme.blocks(WRITE, 0, 1, data=bytes(512)))
        for name, (command, status, final, (queue, nsid, lba)) in cases.items():
            done = command()
            test.equal((done.status, done.dnr), (status, final), f'{name}: its status')
            test.equal(newest(), (queue, status, final, nsid, lba), f'{name}: its entry in the error log')
        test.equal(nvme.io(FLUSH, nsid=0xffffffff).status, 0x00b, 'a flush of all namespaces is refused, as VWC says')


def features(test, folder):
    """Host behaviour support is a structure of 512 bytes [Base 5.27.1.18]."""
    with controller(folder) as nvme:
        nvme.expect(nvme.admin(0x09, cdw10=0x16, data=b'\1' + bytes(511)))
        data = nvme.expect(nvme.admin(0x0a, cdw10=0x16, size=512)).data
        test.equal(data, b'\1' + bytes(511), 'host behaviour: what was set is had back')
        data = nvme.expect(nvme.admin(0x0a, cdw10=0x16 | 1 << 8, size=512)).data
        test.equal(data, bytes(512), 'host behaviour: nothing by default')


def zeroes(test, folder):
    with controller(folder) as nvme:
        test.equal(nvme.identify(0, nsid=1).data[33] & 7, 1, 'DLFEAT: discarded blocks read as zeroes')
        nvme.expect(nvme.blocks(WRITE, 8, 8, data=b'x' * 4096))
        nvme.expect(nvme.io(DATASET, cdw11=4, data=struct.pack('<IIQ', 0, 8, 8)))
        test.equal(nvme.blocks(READ, 8, 8, size=4096).data, bytes(4096), 'and so they do')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        for judge in (regions, identity, effects, errors, features, zeroes):
            judge(test, folder)


if __name__ == '__main__':
    main()
