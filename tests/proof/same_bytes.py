#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Shows that two executables run the same portable code, byte for byte.

    same_bytes.py ARCHIVE HOSTED IMAGE

Both were linked with --emit-relocs --no-relax and a map (EXECUTABLE.map). Every section of the archive that the
linker put into either is cut out of the executable, its relocation sites are masked, and the rest is compared
with the object that it came from; those that are in both are compared with each other, and their relocations
(place, kind, target) too. Whatever differs is named, and the exit status is 1.
"""
import bisect
import collections
import io
import os
import re
import subprocess
import sys

from elftools.elf.elffile import ELFFile

# psABI x86-64, table 4.9: how many bytes a relocation fills
WIDTH = {1: 8, 2: 4, 4: 4, 9: 4, 10: 4, 11: 4, 24: 8, 25: 8, 26: 4, 41: 4, 42: 4}

Section = collections.namedtuple('Section', 'bytes relocations')


def relocations_of(elf, section, base):
    """{offset: (kind, target)} of a relocation section; targets that have no name of their own are ''."""
    found = {}
    symbols = elf.get_section(section['sh_link'])
    for entry in section.iter_relocations():
        # a section has no name that both links share; memcpy is memcpy@GLIBC_2.14 in one
        symbol = symbols.get_symbol(entry['r_info_sym'])
        name = '' if symbol['st_info']['type'] == 'STT_SECTION' else symbol.name.partition('@')[0]
        found[entry['r_offset'] - base] = (entry['r_info_type'], name)
    return found


def object_sections(data):
    """{section name: Section} of everything in an object file that occupies memory at run time."""
    elf = ELFFile(io.BytesIO(data))
    relocations = {s['sh_info']: relocations_of(elf, s, 0) for s in elf.iter_sections() if s['sh_type'] == 'SHT_RELA'}
    return {s.name: Section(s.data(), relocations.get(i, {})) for i, s in enumerate(elf.iter_sections())
            if s['sh_flags'] & 2 and s['sh_type'] == 'SHT_PROGBITS' and s['sh_size']}


def archive_members(path):
    """(member name, bytes) of an archive, thin or not."""
    names = subprocess.run(['ar', 't', path], check=True, text=True, stdout=subprocess.PIPE).stdout.split()
    thin = open(path, 'rb').read(8) == b'!<thin>\n'
    for name in names:
        if thin:
            place = name if os.path.exists(name) else os.path.join(os.path.dirname(path), name)
            yield os.path.basename(name), open(place, 'rb').read()
        else:
            yield name, subprocess.run(['ar', 'p', path, name], check=True, stdout=subprocess.PIPE).stdout


def placed_sections(executable, archive_name):
    """{(member, section): (address, size)} for the archive's sections, as the linker's map has it."""
    text = open(executable + '.map').read()
    text = text[text.index('Linker script and memory map'):]
    pattern = re.compile(r'^ (\.[^\s]+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S+)$', re.M)
    placed = {}
    for name, address, size, origin in pattern.findall(text):
        match = re.search(re.escape(archive_name) + r'(?:\.p/|\(|/)(?:.*/)?([^/()]+\.o)\)?$', origin)
        if match and int(size, 16) and int(address, 16):
            placed[match[1], name] = (int(address, 16), int(size, 16))
    return placed


class Executable:
    def __init__(self, path):
        self.path = path
        self.elf = ELFFile(open(path, 'rb'))
        self.segments = [s for s in self.elf.iter_segments() if s['p_type'] == 'PT_LOAD']
        self.relocations = {}
        for section in self.elf.iter_sections():
            if section['sh_type'] == 'SHT_RELA' and self.elf.get_section(section['sh_info'])['sh_flags'] & 2:
                self.relocations.update(relocations_of(self.elf, section, 0))
        if not self.relocations:
            sys.exit(f'{path} has no relocations: link it with --emit-relocs')
        self.sorted = sorted(self.relocations)

    def cut(self, address, size):
        for segment in self.segments:
            if segment['p_vaddr'] <= address and address + size <= segment['p_vaddr'] + segment['p_filesz']:
                offset = segment['p_offset'] + address - segment['p_vaddr']
                self.elf.stream.seek(offset)
                data = self.elf.stream.read(size)
                break
        else:
            return None
        low, high = bisect.bisect_left(self.sorted, address), bisect.bisect_left(self.sorted, address + size)
        return Section(data, {at - address: self.relocations[at] for at in self.sorted[low:high]})


def masked(data, relocations):
    data = bytearray(data)
    for offset, (kind, _) in relocations.items():
        data[offset:offset + WIDTH[kind]] = bytes(WIDTH[kind])
    return bytes(data)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    archive, *paths = sys.argv[1:]
    archive_name = archive.rsplit('/', 1)[-1]
    origin = {(member, name): section for member, data in archive_members(archive)
              for name, section in object_sections(data).items()}
    found = []
    faults = []
    for path in paths:
        executable = Executable(path)
        cuts = {}
        for key, (address, size) in placed_sections(path, archive_name).items():
            cut = executable.cut(address, size)
            if cut is None or key not in origin:
                continue  # zero-initialised data has no bytes in the file
            reference = origin[key]
            cuts[key] = cut
            if cut.relocations.keys() != reference.relocations.keys():
                faults.append(f'{path}: {key[0]} {key[1]}: relocations at other places than in the archive')
            elif masked(cut.bytes, reference.relocations) != masked(reference.bytes, reference.relocations):
                faults.append(f'{path}: {key[0]} {key[1]}: bytes differ from the archive')
        found.append(cuts)
    both = found[0].keys() & found[1].keys()
    for key in sorted(both):
        a, b = found[0][key], found[1][key]
        if masked(a.bytes, a.relocations) != masked(b.bytes, b.relocations):
            faults.append(f'{key[0]} {key[1]}: bytes differ between the two')
        if a.relocations != b.relocations:
            faults.append(f'{key[0]} {key[1]}: relocations differ between the two')
    if not both:
        faults.append(f'no section of {archive_name} is in both: were they linked with a map?')
    for fault in faults:
        print(fault)
    functions = [key for key in both if key[1].startswith('.text')]
    size = sum(len(found[0][key].bytes) for key in both)
    sites = sum(len(found[0][key].relocations) for key in both)
    only = [len(cuts.keys() - both) for cuts in found]
    verdict = 'DIFFERENT' if faults else 'same bytes'
    print(f'{verdict}: {len(functions)} functions, {len(both)} sections, {size} bytes compared, {sites} relocation '
          f'sites masked; {only[0]} and {only[1]} sections in one alone equal the archive')
    sys.exit(bool(faults))


if __name__ == '__main__':
    main()
