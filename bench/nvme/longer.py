#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the hot path with one instruction more in each call of submit: longer.py NAME ROOT OUTPUT; --names lists them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../tests'))
import bug  # noqa: E402

LONGER = {  # name: (source, what it has, what the control has)
    'longer': (
        'drivers/nvme/io.c',
        '    struct pages pages;\n\n    if (count != 1 ||',
        '    struct pages pages;\n\n    __asm__ volatile("nop");\n    if (count != 1 ||'),
}

if __name__ == '__main__':
    bug.main(LONGER, lambda _: 'io')
