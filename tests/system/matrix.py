#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""nvme-verify over block sizes, transfer sizes, depths, polled and by interrupt, in one world: matrix.py BUILD hosted|bare"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

SIZES = '4096,131072,12288,28672,69632,126976'  # a page, 32 pages, and odd numbers of pages
DEPTHS = (1, 2, 31, 128, 255)
OWN_MEMORY = "commands in the controller's memory"


def main():
    build, world = os.path.abspath(sys.argv[1]), sys.argv[2]
    cases = {}
    for namespace, block in ((1, 512), (2, 4096)):
        for mode in ('polled', 'interrupts'):
            for depth in DEPTHS:
                arguments = ['--overwrite', '--namespace', namespace, '--sizes', SIZES, '--depth', depth, '--seed', depth]
                name = f'{world}: {block} B blocks, depth {depth}, {mode}'
                cases[name] = [*map(str, arguments)] + (['--interrupts'] if mode == 'interrupts' else [])
        own = ['--overwrite', '--namespace', str(namespace), '--sizes', SIZES, '--depth', '128', '--cmb']
        cases[f'{world}: {block} B blocks, {OWN_MEMORY}'] = own
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        disks = '+'.join((worlds.disk(folder, 'a.img', 32), worlds.disk(folder, 'b.img', 32)))
        device = f'nvme:{disks},ns2.logical_block_size=4096,cmb_size_mb=1'
        program = os.path.join(build, 'nvme-verify-instrumented')
        if world == 'hosted':
            results = worlds.guest({name: 'nvme-verify-instrumented ' + ' '.join(arguments) for name, arguments in
                                    cases.items()}, [device], [program], timeout=900)
        else:
            results = {name: worlds.metal(program + '.elf', arguments, [device]) for name, arguments in cases.items()}
        for name, (status, output) in results.items():
            good = status == 0 and (OWN_MEMORY in output) == (OWN_MEMORY in name)
            test.result(good, name, f'status {status}\n{output}')


if __name__ == '__main__':
    main()
