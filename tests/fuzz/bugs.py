#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes a driver's source with a bug in it, to see that it is found: bugs.py NAME ROOT OUTPUT; --names lists them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import bug  # noqa: E402

BUGS = {  # name: (source, what is right, what is not)
    'status-for-ever': (
        'drivers/nvme/controller.c',
        '        if (late)\n            return -ETIMEDOUT;\n',
        '        (void)late;\n'),
    'id-unchecked': (
        'drivers/nvme/io.c',
        'if ((slot->tag & ~NVME_TAG_RESULT) != cid || origin - queue->origin >= queue->entries) {',
        'if (origin - queue->origin >= queue->entries) {'),
    'copy-believed': (
        'examples/edu.c',
        'if (memcmp(seen, text, sizeof(text)) != 0) {',
        'if (seen[0] == 0) {'),
    'copy-for-ever': (
        'examples/edu.c',
        'if (late || command == UINT64_MAX) {',
        'if (command == UINT64_MAX) {'),
}


def harness(name):
    return 'driver-edu' if BUGS[name][0].startswith('examples/edu') else 'driver-nvme'


if __name__ == '__main__':
    bug.main(BUGS, harness)
