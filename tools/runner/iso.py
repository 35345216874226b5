# SPDX-License-Identifier: BSD-2-Clause
"""From an image to a disc: an ISO that boots it by GRUB and multiboot2, under BIOS and UEFI, from CD or USB stick."""

import hashlib
import os
import shlex
import shutil
import struct
import subprocess

from . import Failure, cache

# What GRUB says last on the console that it shares with the firmware: the image's own output begins behind it.
BOOTING = 'Booting by multiboot2 ...'
KEPT = 24  # discs in the cache
MULTIBOOT2_MAGIC, MULTIBOOT2_SEARCH = 0xE85250D6, 32768  # Multiboot2 specification 3.1
PACKAGES = {
    'grub-mkrescue': 'grub-common', 'xorriso': 'xorriso', 'mformat': 'mtools',
    '/usr/lib/grub/i386-pc/multiboot2.mod': 'grub-pc-bin',
    '/usr/lib/grub/x86_64-efi/multiboot2.mod': 'grub-efi-amd64-bin',
}


def read_image(path):
    """The bytes of a bootable image. Anything else is refused here: firmware would only hang on it."""
    try:
        with open(path, 'rb') as file:
            content = file.read()
    except FileNotFoundError:
        raise Failure(f"{path}: no such file: is it built? ('meson setup build; ninja -C build')")
    except OSError as error:
        raise Failure(f'{path}: {error.strerror}')
    for offset in range(0, min(len(content), MULTIBOOT2_SEARCH) - 15, 8):
        magic, architecture, length, checksum = struct.unpack_from('<IIII', content, offset)
        if magic == MULTIBOOT2_MAGIC and not (magic + architecture + length + checksum) & 0xFFFFFFFF:
            break
    else:
        raise Failure(f'{path}: not a bootable image (it has no multiboot2 header): images are named PROGRAM.elf')
    return content


def check_argument(argument):
    """GRUB drops empty words, and both it and the kernel command line end at a line's end."""
    if not argument or any(ord(character) < 32 for character in argument):
        raise Failure(f'argument {argument!r}: an image takes no empty arguments, nor control characters')


def command_line(arguments):
    """
    One line from many words, as GRUB 2 writes it (grub_create_loader_cmdline): words with spaces stand in double
    quotes, and a backslash comes before each quote and backslash.
    """
    words = []
    for argument in arguments:
        check_argument(argument)
        word = ''.join('\\' + character if character in '\\"\'' else character for character in argument)
        words.append(f'"{word}"' if ' ' in word else word)
    return ' '.join(words)


def make(image, arguments, output):
    """Writes the disc to `output`, which is complete or not there."""
    content = read_image(image)
    for argument in arguments:
        check_argument(argument)
    for needed, package in PACKAGES.items():
        if not (os.path.exists(needed) if needed.startswith('/') else shutil.which(needed)):
            name = os.path.basename(needed)
            raise Failure(f"{name} is missing: run tools/setup, or 'sudo apt-get install {package}'")
    # GRUB's shell reads single quotes as any shell does.
    config = (f'set timeout=0\nset timeout_style=hidden\necho "{BOOTING}"\n'
              f'multiboot2 /boot/image.elf {shlex.join(arguments)}\nboot\n')
    with cache.made(output) as (work, result):
        tree = os.path.join(work, 'tree')
        os.makedirs(os.path.join(tree, 'boot/grub'))
        with open(os.path.join(tree, 'boot/image.elf'), 'wb') as file:
            file.write(content)
        with open(os.path.join(tree, 'boot/grub/grub.cfg'), 'w') as file:
            file.write(config)
        done = subprocess.run(['grub-mkrescue', '-o', result, '--locales=', '--fonts=', '--themes=', '--compress=xz',
                               '--install-modules=multiboot2 normal echo iso9660 part_gpt part_msdos', tree],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, 'TMPDIR': work})
        if done.returncode or not os.path.exists(result):
            raise Failure(f'grub-mkrescue failed:\n{(done.stdout.strip().splitlines() or ["(no message)"])[-1]}')


def kept(image, arguments):
    """The path of a disc that boots `image` with `arguments`, made once for the same content."""
    with open(__file__, 'rb') as file:
        recipe = file.read()
    parts = [recipe, read_image(image), *(argument.encode() for argument in arguments)]
    digest = hashlib.sha256(b'\0'.join(parts)).hexdigest()[:24]
    path = os.path.join(cache.folder(), f'disc-{digest}.iso')
    with cache.lock():
        if not os.path.exists(path):
            make(image, arguments, path)
            forget_oldest()
        os.utime(path)
    return path


def forget_oldest():
    discs = [os.path.join(cache.folder(), name) for name in os.listdir(cache.folder()) if name.startswith('disc-')]
    for path in sorted(discs, key=os.path.getmtime)[:-KEPT]:
        os.unlink(path)
