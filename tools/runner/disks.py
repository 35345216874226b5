# SPDX-License-Identifier: BSD-2-Clause
"""
Whether a file can be a machine's disk, found out before QEMU starts: QEMU takes any file for the bytes of a disk, and its
own messages name neither the cure nor the option. tools/models/image.c knows the same formats.
"""

import os
import shlex
import stat

from . import Failure

# Where a format has its mark, and what qemu-img calls it. They are those of QEMU's own block/*.c. Offsets below 0 count
# from the end: a fixed VHD image has its only mark there.
FORMATS = (
    (0, b'QFI\xfb\0\0\0\x01', 'qcow'),
    (0, b'QFI\xfb', 'qcow2'),
    (0, b'QED\0', 'qed'),
    (0, b'KDMV', 'vmdk'),
    (0, b'COWD', 'vmdk'),
    (0, b'# Disk DescriptorFile', 'vmdk'),
    (0x40, b'\x7f\x10\xda\xbe', 'vdi'),
    (0, b'vhdxfile', 'vhdx'),
    (0, b'conectix', 'vpc'),
    (-512, b'conectix', 'vpc'),
    (0, b'WithoutFreeSpace', 'parallels'),
    (0, b'WithouFreSpacExt', 'parallels'),
    (0, b'Bochs Virtual HD Image', 'bochs'),
    (-512, b'koly', 'dmg'),
)


def image_format(file, size):
    """The format of an open file that is not a raw image, or None."""
    for offset, mark, name in FORMATS:
        where = offset if offset >= 0 else size + offset
        if where >= 0:
            file.seek(where)
            if file.read(len(mark)) == mark:
                return name
    return None


def check(path, block_size, chosen_format=None):
    """
    Raises Failure if `path` cannot be a disk with blocks of `block_size` bytes. It has to be a raw image unless the user
    chose a format: then QEMU says what is wrong with it.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise Failure(f"{path}: no such file: create it with 'qemu-img create -f raw {path} 256M'")
    except OSError as error:
        raise Failure(f'{path}: {error.strerror}')
    if stat.S_ISDIR(mode):
        raise Failure(f'{path}: is a directory, not a disk image')
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise Failure(f'{path}: is neither a file nor a block device')
    if not os.access(path, os.R_OK | os.W_OK):
        raise Failure(f"{path}: may not be read and written by you: 'chmod u+rw {path}', or run as its owner")
    if chosen_format is not None and chosen_format != 'raw':
        return
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        found = image_format(file, size) if chosen_format is None else None
    name = shlex.quote(path)
    if found:
        raise Failure(f"{path}: is a {found} image, not a raw one: 'qemu-img convert -O raw {name} {name}.raw' makes a raw one;\n"
                      f'  ,drive.format={found} uses it as it is, and ,drive.format=raw says that all of these bytes are the disk')
    if size == 0:
        raise Failure(f"{path}: is empty: give it a size: 'qemu-img resize -f raw {name} 256M'")
    if size % block_size:
        raise Failure(f'{path}: {size} bytes are not a whole number of blocks of {block_size} bytes. Is it a disk image? Then '
                      f"'qemu-img resize -f raw {name} {-(-size // block_size) * block_size}' completes its last block")
