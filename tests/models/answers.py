#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the models answer, judged by the specifications, without a driver of Chalk's: answers.py CHALK-MODEL"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import vfio_user  # noqa: E402
import worlds  # noqa: E402

MODEL = os.path.abspath(sys.argv[1])


def regions(test, folder):
    """Of a region that can be mapped in part, a client first learns how much room its description takes."""
    path = os.path.join(folder, 'disk')
    with worlds.model(MODEL, 'nvme', path, '--size', '1M', '--poll'), vfio_user.Client(path) as client:
        info = client.region_info(0, 32)
        test.equal((info.flags & vfio_user.INFO_CAPS, info.cap_offset, info.fds), (0, 0, []),
                   'a description without room for capabilities says that it has none')
        test.result(info.argsz > 32, 'and how much room they take', info)
        whole = client.region_info(0, info.argsz)
        test.equal((whole.flags & vfio_user.INFO_CAPS, whole.cap_offset, len(whole.rest), len(whole.fds)),
                   (vfio_user.INFO_CAPS, 32, info.argsz - 32, 1), 'with that room they come, and the descriptor')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        regions(test, folder)


if __name__ == '__main__':
    main()
