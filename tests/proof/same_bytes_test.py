#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The same-bytes proof holds, and fails when a single byte is changed: same_bytes_test.py ARCHIVE HOSTED IMAGE"""
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import same_bytes  # noqa: E402


def prove(archive, hosted, image):
    run = subprocess.run([same_bytes.__file__, archive, hosted, image], text=True, stdout=subprocess.PIPE)
    return run.returncode, run.stdout.strip()


def flip(path, archive, folder, choice):
    """A copy of the executable in which one unmasked byte of one portable section is inverted."""
    copy = os.path.join(folder, os.path.basename(path))
    shutil.copy(path, copy)
    shutil.copy(path + '.map', copy + '.map')
    executable = same_bytes.Executable(path)
    places = same_bytes.placed_sections(path, os.path.basename(archive))
    key = choice.choice(sorted(key for key in places if key[1].startswith('.text')))
    address, size = places[key]
    cut = executable.cut(address, size)
    hidden = {at + i for at, (kind, _) in cut.relocations.items() for i in range(same_bytes.WIDTH[kind])}
    at = address + choice.choice([i for i in range(size) if i not in hidden])
    segment = next(s for s in executable.segments if s['p_vaddr'] <= at < s['p_vaddr'] + s['p_filesz'])
    with open(copy, 'r+b') as file:
        file.seek(segment['p_offset'] + at - segment['p_vaddr'])
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x01]))
    return copy, key[1]


def main():
    archive, hosted, image = sys.argv[1:]
    status, text = prove(archive, hosted, image)
    print(text)
    if status:
        sys.exit('the proof does not hold')
    choice = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        for path in (hosted, image):
            for _ in range(3):
                copy, section = flip(path, archive, folder, choice)
                pair = (copy, image) if path == hosted else (hosted, copy)
                status, text = prove(archive, *pair)
                if not status or section not in text:
                    sys.exit(f'one flipped byte in {section} of {path} was not seen')
                print(f'one flipped byte in {section} of {os.path.basename(path)}: seen')


if __name__ == '__main__':
    main()
