#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What there are many of costs hardly more each than what there are few of: growth_test.py BENCH_GROWTH

Instructions are counted, so the result is the same in every run. The control is a list that is walked: it has to grow.
"""
import os
import shutil
import sys

import growth

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../tests'))
import tap  # noqa: E402

FEW, MANY = 100, 10_000
MOST = {  # what 10,000 may cost of what 100 do: a search takes twice as many steps
    'page': 1.5, 'page-behind-holes': 1.5, 'page-back': 1.5, 'claim': 1.5, 'claim-back': 1.8, 'task': 1.5, 'timer': 1.2,
    'timer-back': 1.2, 'address': 1.8, 'mapping': 1.5, 'mapping-back': 2.0, 'guard': 1.2,
}
ANY_PAGE = 1600  # instructions, to give back one that lies elsewhere than the last one


def main():
    program, = sys.argv[1:]
    if not shutil.which('valgrind'):
        print('1..0 # SKIP no valgrind: apt install valgrind')
        return
    with tap.Tap() as test:
        for what, most in MOST.items():
            few, many = (growth.instructions(program, what, objects) for objects in (FEW, MANY))
            test.result(0 < many <= most * few, f'{growth.OPERATIONS[what].title}: at most {most} times as much',
                        f'{few / 64:.0f} instructions of {FEW}, {many / 64:.0f} of {MANY}')
        each = growth.instructions(program, 'any-page-back', MANY) / 64
        test.result(0 < each <= ANY_PAGE, f'any page given back: at most {ANY_PAGE} instructions', f'{each:.0f}')
        few, many = (growth.instructions(program, 'control', objects) for objects in (FEW, 10 * FEW))
        test.result(many > 4 * few, 'a list that is walked is seen to grow', f'{few} became {many}')


if __name__ == '__main__':
    main()
