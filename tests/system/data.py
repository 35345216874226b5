#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Data is the same from inside and outside, and in both worlds: data.py BUILD

Disks are written by one side and read by another: Linux's own tools, the hosted program, the image, qemu-io and cmp.
"""
import filecmp
import json
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
HOSTED = os.path.join(BUILD, 'nvme-verify')
IMAGE = os.path.join(BUILD, 'nvme-verify.elf')


def crc_of(result):
    match = re.search(r'CRC-32C\W+(?:0x)?([0-9a-f]{8})', result.output, re.I)
    return int(match[1], 16) if match else None


def file_system(test, folder):
    """A file system made by mkfs.ext4 on the host, read block by block by the image."""
    files = os.path.join(folder, 'files')
    os.mkdir(files)
    for i in range(40):
        with open(os.path.join(files, f'file-{i}'), 'wb') as file:
            file.write(os.urandom(20000 + 7919 * i))
    path = worlds.disk(folder, 'ext4.img', 16)
    subprocess.run(['/sbin/mkfs.ext4', '-q', '-F', '-d', files, path], check=True)
    expected = worlds.crc32c(path)
    for name, run in (('image', worlds.metal(IMAGE, ['--crc-only'], [f'nvme:{path}'])),
                      ('hosted', worlds.vm(HOSTED, ['--crc-only'], [f'nvme:{path}']))):
        test.result(run.status == 0 and crc_of(run) == expected, f'{name}: CRC of an ext4 disk equals the host\'s',
                    f'expected {expected:08x}, status {run.status}\n{run.output}')


def crossed(test, folder):
    """What one world writes the other verifies; the host sees the same bytes in both disks."""
    seed = ['--seed', 7]
    by_image = worlds.disk(folder, 'image.img', 16)
    by_hosted = worlds.disk(folder, 'hosted.img', 16)
    written = worlds.metal(IMAGE, ['--overwrite', *seed, '--write-only'], [f'nvme:{by_image}'])
    test.result(written.status == 0, 'image: writes a pattern', written.output)
    written = worlds.vm(HOSTED, ['--overwrite', *seed, '--write-only'], [f'nvme:{by_hosted}'])
    test.result(written.status == 0, 'hosted: writes the same pattern', written.output)
    test.result(filecmp.cmp(by_image, by_hosted, shallow=False), 'cmp: both disks hold the same bytes')
    test.result(any(open(by_image, 'rb').read(4096)), 'host: and they are not all zero')
    read = worlds.metal(IMAGE, [*seed, '--read-only'], [f'nvme:{by_hosted}'])
    test.result(read.status == 0, 'image: verifies what the hosted program wrote', read.output)
    expected = worlds.crc32c(by_hosted)
    test.result(crc_of(read) == expected, 'image: prints the host\'s CRC of it', f'{expected:08x}\n{read.output}')
    read = worlds.vm(HOSTED, [*seed, '--read-only'], [f'nvme:{by_image}'])
    test.result(read.status == 0, 'hosted: verifies what the image wrote', read.output)

    with open(by_image, 'r+b') as file:  # a verifier that can't fail verifies nothing
        file.seek(5 << 20)
        byte = file.read(1)[0]
        file.seek(5 << 20)
        file.write(bytes([byte ^ 1]))
    read = worlds.metal(IMAGE, [*seed, '--read-only'], [f'nvme:{by_image}'])
    test.result(read.status == 1 and str((5 << 20) // 512) in read.output, 'image: names the block with a changed bit',
                f'status {read.status}\n{read.output}')


def constant(test, folder):
    """qemu-io writes a constant; the image reads it; and a disk that the image wrote is readable by qemu-io."""
    path = worlds.disk(folder, 'constant.img', 4)
    subprocess.run(['qemu-io', '-f', 'raw', '-c', 'write -P 0x5c 0 4M', path], check=True, stdout=subprocess.DEVNULL)
    run = worlds.metal(IMAGE, ['--crc-only'], [f'nvme:{path}'])
    test.equal(crc_of(run), worlds.crc32c(path), 'image: reads what qemu-io wrote')
    worlds.metal(IMAGE, ['--overwrite', '--seed', 3, '--start', 2048, '--blocks', 2048, '--write-only'], [f'nvme:{path}'])
    outside = subprocess.run(['qemu-io', '-f', 'raw', '-c', 'read -P 0x5c 0 1M', '-c', 'read -P 0x5c 2M 2M', path],
                             stdout=subprocess.PIPE, text=True).stdout
    inside = subprocess.run(['qemu-io', '-f', 'raw', '-c', 'read -P 0x5c 1M 1M', path], stdout=subprocess.PIPE,
                            text=True).stdout
    test.result('verification failed' not in outside and 'verification failed' in inside,
                'qemu-io: the image wrote the range that it was given, and nothing beside it', outside + inside)


def traced(test, folder):
    """A trace that a program left on its disk, among other data, is found there by tools/trace."""
    path = worlds.disk(folder, 'trace.img', 4)
    with open(path, 'r+b') as file:
        file.write(os.urandom(4 << 20))
    device, place = [f'nvme:{path}'], [1024, 2048]

    def events():
        run = subprocess.run([os.path.join(worlds.ROOT, 'tools/trace'), path], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        made = json.loads(run.stdout)['traceEvents'] if run.returncode == 0 else []
        reads = [event['args']['lba'] for event in made if event['ph'] == 'b' and event['name'] == 'read']
        marks = [event['args']['value'] for event in made if event['ph'] == 'i' and event['tid'] == 1]
        return (reads, marks), run.stderr

    def read(count):
        return list(range(count)), [hex(number) for number in range(count)]

    run = worlds.metal(os.path.join(BUILD, 'trace-disk.elf'), [1000, *place], device)
    seen, complaints = events()
    test.result(run.status == 0 and seen == read(1000), 'image: leaves a trace on a disk', run.output + complaints)
    run = worlds.vm(os.path.join(BUILD, 'trace-disk'), [10, *place], device)
    seen, complaints = events()
    test.result(run.status == 0 and seen == read(10), 'hosted: a shorter one in its place, and nothing of the other is left',
                run.output + complaints)
    run = worlds.metal(os.path.join(BUILD, 'trace-disk.elf'), [1000, 1024, 8], device)
    test.result(run.status == 1 and 'no room left' in run.output, 'image: says that the blocks it was given are too few', run.output)


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        file_system(test, folder)
        crossed(test, folder)
        constant(test, folder)
        traced(test, folder)


if __name__ == '__main__':
    main()
