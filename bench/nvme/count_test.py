#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The NVMe driver's hot path executes no more instructions than it did: count_test.py BENCH_NVME BENCH_NVME_LONGER

BENCH_NVME_LONGER is the control: the same program with one instruction more in the driver (longer.py), which has to
be above the limits. So a count that misses an instruction fails here.
"""
import os
import shutil
import sys

import count

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../tests'))
import tap  # noqa: E402


def main():
    program, longer = sys.argv[1:]
    if not shutil.which('valgrind'):
        print('1..0 # SKIP no valgrind: apt install valgrind')
        return
    with tap.Tap() as test:
        rows = count.count_all(program)
        for row in rows:
            for what, limit in row['target'].items():
                test.result(row['met'][what], f'depth {row["depth"]}: {what} of a request: at most {limit:.2f}',
                            f'it is {row[what]:.4f}: {row}')
        traced = count.count_traced(program)
        test.result(traced <= count.TRACED, f'depth 32, traced: instructions of a request: at most {count.TRACED:.2f}',
                    f'it is {traced:.4f}')
        for row in rows:
            more = count.count_instructions(longer, row['depth'])
            test.result(not more['met']['all'] and more['all'] > row['all'],
                        f'depth {row["depth"]}: an instruction more is above the limit',
                        f'{row["all"]:.4f} became {more["all"]:.4f}')


if __name__ == '__main__':
    main()
