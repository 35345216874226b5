#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""One more of what there are many of costs hardly more than one more of few: growth_test.py FOLDER

Instructions are counted, so the result is the same in every run. Ten times as many of a kind may add as many instructions
to one more as ten times as many did before, as log n does; and the limits below hold. The control is a list that is
walked: it has to be found by both rules.
"""
import os
import shutil
import sys

import growth

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../tests'))
import tap  # noqa: E402

FEW, MIDDLE, MANY = 100, 1_000, 10_000
SLACK = 100  # instructions: trees are not equally balanced at each size
MOST = {  # what 10,000 may cost of what 100 do: a search takes twice as many steps
    'page': 1.5, 'page-behind-holes': 1.5, 'page-back': 1.5, 'claim': 1.5, 'claim-back': 1.8, 'task': 1.5, 'timer': 1.2,
    'timer-back': 1.2, 'address': 1.8, 'mapping': 1.5, 'mapping-back': 2.0, 'guard': 1.2,
    'nvme-namespace': 1.2, 'record': 1.5, 'record-back': 2.0, 'irq': 1.5, 'irq-again': 2.0, 'model-map': 1.7,
    'model-map-back': 2.1,
    'bare-mapping': 1.5, 'bare-mapping-back': 2.1, 'bare-domain': 1.2, 'bare-function': 1.2, 'bare-device': 1.5,
    'bare-address': 1.5,
}
BOUNDED = {'message': 1.2, 'nvme-queue': 1.2}  # and of what there are few at most: those cost what one does
ANY_PAGE = 1600  # instructions, to give back one that lies elsewhere than the last one


def is_logarithmic(few, middle, many):
    """Whether the second tenfold added about what the first one did, or less."""
    return many - middle <= 1.5 * max(middle - few, 0) + SLACK


def main():
    folder, = sys.argv[1:]
    if not shutil.which('valgrind'):
        print('1..0 # SKIP no valgrind: apt install valgrind')
        return
    with tap.Tap() as test:
        def counts(what, sizes):
            return [growth.instructions(folder, what, min(objects, growth.most(what))) / growth.ROUNDS for objects in sizes]

        for what, most in MOST.items():
            few, middle, many = counts(what, (FEW, MIDDLE, MANY))
            seen = f'{few:.0f} instructions of {FEW}, {middle:.0f} of {MIDDLE}, {many:.0f} of {MANY}'
            title = growth.OPERATIONS[what].title
            test.result(0 < many <= most * few, f'{title}: at most {most} times as much', seen)
            test.result(is_logarithmic(few, middle, many), f'{title}: grows no more than a logarithm', seen)
        for what, most in BOUNDED.items():
            operation = growth.OPERATIONS[what]
            few, many = counts(what, (operation.few, operation.many))
            test.result(0 < many <= most * few, f'{operation.title}: at most {most} times as much',
                        f'{few:.0f} instructions of {operation.few}, {many:.0f} of {operation.many}')
        each, = counts('any-page-back', [MANY])
        test.result(0 < each <= ANY_PAGE, f'any page given back: at most {ANY_PAGE} instructions', f'{each:.0f}')
        few, middle, many = counts('control', (FEW, 3 * FEW, 10 * FEW))
        test.result(many > 4 * few, 'a list that is walked is seen to grow', f'{few:.0f} became {many:.0f}')
        test.result(not is_logarithmic(few, middle, many), 'and more than a logarithm',
                    f'{few:.0f}, {middle:.0f}, {many:.0f}')


if __name__ == '__main__':
    main()
