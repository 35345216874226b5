#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""How long an image takes to boot: from the start of QEMU to the first line that chalk_main() prints.

    boot.py IMAGE FLOOR [ROUNDS]

FLOOR is an image of a few instructions that prints one line; both run in turn in the same QEMU (q35, PVH). Prints
the medians, and their difference: what booting Chalk costs.
"""
import os
import statistics
import subprocess
import sys
import time


def boot(image, accelerator):
    """Seconds until the first line is there."""
    command = ['qemu-system-x86_64', '-nodefaults', '-no-reboot', '-display', 'none', '-machine', 'q35', '-cpu', 'max',
               '-accel', accelerator, '-m', '256', '-serial', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4',
               '-kernel', image]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        line = process.stdout.readline()
        seconds = time.monotonic() - start
        if not line.strip():
            sys.exit(f'{image} printed nothing')
        process.wait(20)
        return seconds
    finally:
        process.kill()
        process.wait()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    image, floor = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 15
    accelerator = os.environ.get('CHALK_ACCEL', 'tcg')
    times = {image: [], floor: []}
    for _ in range(rounds):
        for path in times:
            times[path].append(boot(path, accelerator))
    medians = {path: statistics.median(values) * 1000 for path, values in times.items()}
    for path, median in medians.items():
        spread = f'{min(times[path]) * 1000:.0f}-{max(times[path]) * 1000:.0f}'
        print(f'{os.path.basename(path):24} {median:7.1f} ms   ({spread}, {rounds} boots, {accelerator})')
    print(f'{"difference":24} {medians[image] - medians[floor]:7.1f} ms')


if __name__ == '__main__':
    main()
