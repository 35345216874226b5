# SPDX-License-Identifier: BSD-2-Clause
"""From `--device SPEC` to QEMU arguments. A spec means the same device, at the same address, to both runners."""

import json
import os
import re
import stat

from . import Failure, disks

HELP = """\
devices, in the order given, are 0000:00:03.0, 0000:00:04.0, ... in both runners:
  nvme:FILE[+FILE...][,KEY=VALUE...]   an NVMe controller; each FILE is a raw image, and a namespace
        logical_block_size=4096        KEY is a property of QEMU's nvme or nvme-ns device;
        ns2.logical_block_size=4096    of the second namespace only;
        drive.cache=none               an option of QEMU's -drive (all of its files), such as
        drive.format=qcow2             what the files are, if not raw images; drive.format=raw: that they are,
                                       although one begins like an image of another format
  edu | e1000e | bochs-display [,KEY=VALUE...]
  vfio-user:SOCKET                     a model in a process, such as chalk-model, which serves SOCKET already; the
                                       machine is then of the newer QEMU that tools/setup --judges unpacks
  raw:QEMU-DEVICE                      any other PCI device, as after QEMU's -device
  root-port:SPEC                       SPEC behind a PCIe root port: the port takes the place in the order,
                                       and the devices behind ports are 0000:01:00.0, 0000:02:00.0, ...
(a comma or a plus sign in a file name is written twice)"""

FIRST_SLOT = 3
LAST_SLOT = 0x1D  # 1e is for the runners' own use, 1f is the chipset's
SIMPLE = ('edu', 'e1000e', 'bochs-display')
NAMESPACE_KEYS = ('logical_block_size', 'physical_block_size', 'min_io_size', 'opt_io_size', 'discard_granularity')


def split(text, separator):
    """Splits at single separators; a doubled one stands for itself."""
    sep = re.escape(separator)
    parts = re.split(f'(?<!{sep}){sep}(?!{sep})', text)
    return [part.replace(separator * 2, separator) for part in parts]


def check_socket(path):
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError as error:
        raise Failure(f"vfio-user:{path}: {error.strerror}: start a model first: 'chalk-model nvme --socket {path} ...'")
    if not is_socket:
        raise Failure(f'vfio-user:{path}: is not a socket')


class Devices:
    """
    The devices of one machine: `arguments` for QEMU, and the PCI address of each. With `processes`, some of them are
    other processes, which need to see the machine's memory.
    """

    def __init__(self, specs):
        self.arguments = []
        self.addresses = []
        self.processes = False
        self._ports = 0
        if len(specs) > LAST_SLOT - FIRST_SLOT + 1:
            raise Failure(f'{len(specs)} devices: there are slots for {LAST_SLOT - FIRST_SLOT + 1}')
        for index, spec in enumerate(specs):
            self._add(index, spec)

    def _add(self, index, spec):
        slot = FIRST_SLOT + index
        place, address = f'bus=pcie.0,addr={slot:#x}', f'0000:00:{slot:02x}.0'
        kind = spec
        if kind.startswith('root-port:'):
            kind = kind[len('root-port:'):]
            self._ports += 1
            port = f'port{self._ports}'
            self.arguments += ['-device', f'pcie-root-port,id={port},chassis={self._ports},slot={self._ports},{place}']
            place, address = f'bus={port},addr=0', f'0000:{self._ports:02x}:00.0'
        name, _, rest = kind.partition(':')
        if name == 'nvme':
            self._add_nvme(index, rest, place)
        elif name == 'vfio-user' and rest:
            self._add_process(rest, place)
        elif name == 'raw' and rest:
            placed = re.search(r',(addr|bus)=', rest)
            self.arguments += ['-device', rest if placed else f'{rest},{place}']
        elif kind.split(',')[0] in SIMPLE:
            self._add_simple(index, kind, place)
        else:
            raise Failure(f"--device {spec}: not a device: expected nvme:FILE, {', '.join(SIMPLE)}, vfio-user:SOCKET, "
                          'raw:QEMU-DEVICE, or root-port: before one of them')
        self.addresses.append(address)

    def _add_simple(self, index, kind, place):
        if kind.split(',')[0] == 'e1000e':
            self.arguments += ['-netdev', f'user,id=net{index},restrict=on']
            kind += f',netdev=net{index}'
        self.arguments += ['-device', f'{kind},{place}']

    def _add_process(self, path, place):
        check_socket(path)
        self.processes = True
        properties = {'driver': 'vfio-user-pci', 'socket': {'path': os.path.abspath(path), 'type': 'unix'}}
        properties |= dict(setting.split('=') for setting in place.split(','))
        self.arguments += ['-device', json.dumps(properties)]

    def _add_nvme(self, index, rest, place):
        files, *settings = split(rest, ',')
        files = split(files, '+')
        controller = {'id': f'nvme{index}', 'serial': f'chalk{index}'}
        drive = {'cache': 'writeback'}
        shared, own = {}, [{} for _ in files]
        for setting in settings:
            key, equals, value = setting.partition('=')
            if not key or not equals:
                raise Failure(f'--device nvme:{rest}: {setting!r} is not KEY=VALUE')
            namespace = re.fullmatch(r'ns(\d+)\.(.+)', key)
            if namespace:
                number = int(namespace[1])
                if not 1 <= number <= len(files):
                    raise Failure(f'--device nvme:{rest}: {key}: there is no namespace {number}, only 1-{len(files)}')
                own[number - 1][namespace[2]] = value
            elif key.startswith('drive.'):
                drive[key[len('drive.'):]] = value
            elif key in NAMESPACE_KEYS:
                shared[key] = value
            else:
                controller[key] = value
        self.arguments += ['-device', joined('nvme', controller, place)]
        for number, path in enumerate(files, 1):
            if not path:
                raise Failure(f'--device nvme:{rest} names no file: expected nvme:FILE')
            identity = f'disk{index}.{number}'
            properties = {'drive': identity, 'bus': controller['id'], 'nsid': number, **shared, **own[number - 1]}
            disks.check(path, block_size(properties), drive.get('format'))
            # An absolute path, since QEMU takes what stands before a colon for a protocol.
            settings = {'format': 'raw', **drive, 'file': os.path.abspath(path)}
            self.arguments += ['-drive', joined(f'id={identity},if=none', settings)]
            if 'logical_block_size' in properties:  # may not be larger than the physical one
                properties.setdefault('physical_block_size', properties['logical_block_size'])
            self.arguments += ['-device', joined('nvme-ns', properties)]


def block_size(properties):
    """In bytes. QEMU itself refuses a size that is not a number."""
    size = properties.get('logical_block_size', '512')
    return int(size) if size.isdecimal() and int(size) else 512


def joined(head, settings, tail=None):
    """QEMU's KEY=VALUE,... with commas in values doubled."""
    parts = [head] + [f'{key}={str(value).replace(",", ",,")}' for key, value in settings.items()]
    return ','.join(parts + ([tail] if tail else []))
