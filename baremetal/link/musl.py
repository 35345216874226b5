#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes musl's libc.a fit for ring 0: musl.py libc.a OUTPUT

musl ends a program that is beyond help (abort(), a damaged heap) with `hlt`, which a process may not do. In ring 0
it may, and would stand still for ever. Each becomes `int3`, one byte too, which panics with a backtrace. Which bytes
are `hlt` is objdump's word; nothing else is changed.
"""
import re
import struct
import subprocess
import sys

HLT, INT3 = 0xf4, 0xcc


def members(archive):
    """(offset, size) of each ELF object in an archive: ar(5)."""
    at = 8
    while at + 60 <= len(archive):
        size = int(archive[at + 48:at + 58])
        if archive[at + 60:at + 64] == b'\x7fELF':
            yield at + 60, size
        at += 60 + size + size % 2


def section_offsets(unit):
    """{name: [offset in the object]} of an ELF64 object's sections."""
    start, = struct.unpack_from('<Q', unit, 0x28)
    size, count, names = struct.unpack_from('<HHH', unit, 0x3a)
    headers = [struct.unpack_from('<IIQQQQ', unit, start + i * size) for i in range(count)]
    found = {}
    for header in headers:
        text = headers[names][4] + header[0]
        found.setdefault(unit[text:unit.index(b'\0', text)].decode(), []).append(header[4])
    return found


def disassembled(path):
    """For each object in the archive, in order: [(section, offset in it)] of its hlt instructions."""
    listing = subprocess.run(['objdump', '-d', '-w', path], check=True, text=True, stdout=subprocess.PIPE)
    objects, section = [], None
    for line in listing.stdout.splitlines():
        if ':     file format ' in line:
            objects.append([])
        elif match := re.match(r'Disassembly of section (.*):', line):
            section = match[1]
        elif match := re.match(r'\s*([0-9a-f]+):\tf4 +\thlt', line):
            objects[-1].append((section, int(match[1], 16)))
    return objects


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    archive = bytearray(open(sys.argv[1], 'rb').read())
    units, found = list(members(archive)), disassembled(sys.argv[1])
    if len(units) != len(found):
        sys.exit(f'{sys.argv[1]}: objdump sees {len(found)} objects, the archive has {len(units)}')
    for (start, size), places in zip(units, found):
        offsets = section_offsets(bytes(archive[start:start + size])) if places else {}
        for section, offset in places:
            if len(offsets[section]) != 1:
                sys.exit(f'{sys.argv[1]}: two sections {section} in one object')
            at = start + offsets[section][0] + offset
            if archive[at] != HLT:
                sys.exit(f'{sys.argv[1]}: no hlt at {at:#x}')
            archive[at] = INT3
    open(sys.argv[2], 'wb').write(archive)


if __name__ == '__main__':
    main()
