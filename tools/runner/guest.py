# SPDX-License-Identifier: BSD-2-Clause
"""The Linux that hosted programs are tested on: Debian's kernel and busybox, fetched once, never installed."""

import lzma
import os
import re
import shutil
import struct
import subprocess
import zlib

from . import Failure, cache, cpio

# What can be loaded in the guest; each brings what it depends on. Newer kernels have virtio built in.
MODULES = ('virtio_pci', 'virtio_console', 'vfio-pci', 'vfio_iommu_type1', 'nvme', 'e1000e', 'ext4', 'bochs',
           'uio_pci_generic', 'loop', 'msr', 'nbd')
LAYOUT = 3  # goes up when what is kept changes
WANTED = re.compile(r'linux-image-(6\.12\.(\d+)\+deb12-amd64)')


class Guest:
    """`kernel` is the path of a vmlinux, `base` that of an archive with busybox and modules."""

    def __init__(self, say):
        with cache.lock():
            self.folder = newest_kept() or fetch(say)
        self.kernel = os.path.join(self.folder, 'vmlinux')
        self.base = os.path.join(self.folder, 'base.cpio')


def kept_name(version):
    return f'linux-{LAYOUT}-{version}'


def numbers(text):
    return [int(number) for number in re.findall(r'\d+', text)]


def newest_kept():
    """A kept guest is used until it is deleted: what a test ran on does not change by itself."""
    kept = [name for name in os.listdir(cache.folder()) if name.startswith(kept_name(''))]
    return os.path.join(cache.folder(), max(kept, key=numbers)) if kept else None


def fetch(say):
    for program, package in (('apt-get', 'apt'), ('dpkg-deb', 'dpkg'), ('depmod', 'kmod'), ('zstd', 'zstd')):
        tool(program, package)
    package, version = newest_offered()
    path = os.path.join(cache.folder(), kept_name(version))
    say(f'fetching {package} and busybox-static into {cache.folder()} (once, about 110 MB)')
    with cache.made(path) as (work, result):
        run(['apt-get', 'download', '-q=2', package, 'busybox-static'], work,
            f"cannot download {package}: run 'sudo apt-get update', and look at the network")
        for name in os.listdir(work):
            if name.endswith('.deb'):
                run(['dpkg-deb', '-x', name, 'root'], work, f'cannot unpack {name}: is the disk full?')
        root = os.path.join(work, 'root')
        os.mkdir(result)
        with open(os.path.join(root, 'boot', f'vmlinuz-{version}'), 'rb') as file:
            kernel = vmlinux(file.read())
        with open(os.path.join(result, 'vmlinux'), 'wb') as file:
            file.write(kernel)
        with open(os.path.join(result, 'base.cpio'), 'wb') as file:
            file.write(base(root, version))
    return path


def newest_offered():
    """The newest 6.12 of the package lists, else whatever Debian's default kernel is. Returns package, version."""
    listed = subprocess.run(['apt-cache', 'pkgnames', 'linux-image-6.12.'], capture_output=True, text=True).stdout
    offered = [match for match in map(WANTED.fullmatch, listed.split()) if match]
    if offered:
        match = max(offered, key=lambda match: int(match[2]))
        return match[0], match[1]
    depends = subprocess.run(['apt-cache', 'depends', 'linux-image-amd64'], capture_output=True, text=True).stdout
    match = re.search(r'Depends: (linux-image-(\S+-amd64))\s', depends)
    if not match:
        raise Failure("the package lists offer no linux-image: run 'sudo apt-get update'")
    return match[1], match[2]


def vmlinux(image):
    """
    The ELF kernel inside of a bzImage, at payload_offset (Documentation/arch/x86/boot.rst). Booted by PVH, it spares
    the guest the unpacking, which takes seconds when emulated.
    """
    offset, length = struct.unpack_from('<II', image, 0x248)
    start = (image[0x1F1] + 1) * 512 + offset
    payload = image[start:start + length]
    if payload.startswith(b'\x28\xb5\x2f\xfd'):  # the last four bytes are the unpacked size, and not zstd's
        kernel = subprocess.run(['zstd', '-dc'], input=payload[:-4], stdout=subprocess.PIPE).stdout
    elif payload.startswith(b'\xfd7zXZ\0'):
        kernel = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b'\x1f\x8b'):
        kernel = zlib.decompressobj(31).decompress(payload)
    else:
        raise Failure('the kernel is packed in a way that is not known here (not zstd, xz or gzip)')
    if not kernel.startswith(b'\x7fELF'):
        raise Failure('the kernel did not unpack to an ELF file')
    return kernel


def base(root, version):
    """busybox as every command, and the modules where modprobe looks for them."""
    archive = cpio.Archive()
    with open(os.path.join(root, 'bin/busybox'), 'rb') as file:
        archive.file('bin/busybox', file.read(), 0o755)
    for name in ('dev', 'proc', 'sys', 'tmp', 'root', 'run', 'sbin', 'usr/bin', 'usr/sbin', 'usr/local/bin'):
        archive.directory(name)
    tree = os.path.join('lib/modules', version)
    full = os.path.join(root, tree)
    run(['depmod', '-b', root, version], root, 'depmod failed')
    slim = os.path.join(root, 'slim')
    for path in module_paths(root, version):
        with open(path, 'rb') as file:
            content = file.read()
        name = os.path.relpath(path, full)
        if name.endswith('.xz'):
            name, content = name[:-len('.xz')], lzma.decompress(content)
        kept = os.path.join(slim, tree, name)
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        with open(kept, 'wb') as file:
            file.write(content)
        archive.file(os.path.join(tree, name), content)
    for name in ('modules.builtin', 'modules.order', 'modules.builtin.modinfo'):
        shutil.copy(os.path.join(full, name), os.path.join(slim, tree))
    run(['depmod', '-b', slim, version], slim, 'depmod failed')
    for name in ('modules.dep', 'modules.alias', 'modules.softdep', 'modules.builtin'):
        with open(os.path.join(slim, tree, name), 'rb') as file:
            archive.file(os.path.join(tree, name), file.read())
    return archive.finish()


def module_paths(root, version):
    """The files of MODULES and of what they need. A kernel may have some of them built in, or not at all."""
    paths = []
    for module in MODULES:
        listed = subprocess.run(['modprobe', '-d', root, '-S', version, '--show-depends', '-i', module],
                                capture_output=True, text=True).stdout
        for line in listed.splitlines():
            action, path, *_ = line.split()
            if action == 'insmod' and path not in paths:
                paths.append(path)
    return paths


def tool(program, package):
    if not shutil.which(program):
        raise Failure(f"{program}: not installed: run tools/setup, or 'sudo apt-get install {package}'")


def run(command, folder, trouble):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failure(f'{trouble}\n{(done.stderr.strip().splitlines() or ["(no message)"])[-1]}')
