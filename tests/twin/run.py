#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""One program, both worlds, the same output: run.py BUILD [--variant VARIANT] NAME...

Each program runs as a Linux process over VFIO in a guest and as an image, on the same devices; what they print on
standard output has to be equal, and both have to succeed.
"""
import difflib
import os
import random
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402


def without_messages(text):
    """Messages differ by design: they name the cure, which is another one in each world."""
    return [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith('chalk:')]


def devices(folder, world):
    """The same in each world. The first disk begins with bytes that nobody would guess."""
    disks = [worlds.disk(folder, f'{world}-{name}.img', 8) for name in 'abc']
    with open(disks[0], 'r+b') as file:
        file.write(random.Random(1).randbytes(2048))
    return [f'nvme:{"+".join(disks)},ns2.logical_block_size=4096,ns3.ms=8,ns3.pi=1', 'e1000e', 'edu']


def main():
    build, names = os.path.abspath(sys.argv[1]), sys.argv[2:]
    if names[0] == '--variant':
        names = [f'{name}-{names[1]}' for name in names[2:]]
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        programs = [os.path.join(build, name) for name in names]
        hosted = worlds.guest({name: name for name in names}, devices(folder, 'hosted'), programs)
        for_bare = devices(folder, 'bare')
        for name, program in zip(names, programs):
            bare = worlds.metal(program + '.elf', [], for_bare)
            test.result(hosted[name].status == 0, f'{name}: hosted', hosted[name].output)
            test.result(bare.status == 0, f'{name}: bare', bare.output)
            test.result('never given back' not in hosted[name].output + bare.output, f'{name}: gives all memory back',
                        f'{hosted[name].output}\n{bare.output}')
            seen = [without_messages(run.output) for run in (hosted[name], bare)]
            test.result(seen[0] == seen[1] and seen[0], f'{name}: both print the same {len(seen[0])} lines',
                        '\n'.join(difflib.unified_diff(*seen, 'hosted', 'bare', lineterm='')))


if __name__ == '__main__':
    main()
