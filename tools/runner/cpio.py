# SPDX-License-Identifier: BSD-2-Clause
"""An initial RAM file system: the "newc" archive of Linux's Documentation/driver-api/early-userspace/buffer-format."""

import os
import stat


class Archive:
    """Archives can be concatenated; in what the kernel unpacks, later files replace earlier ones."""

    def __init__(self):
        self._out = bytearray()
        self._names = set()

    def directory(self, name):
        name = name.strip('/')
        if name and name not in self._names:
            self.directory(os.path.dirname(name))
            self._entry(name, stat.S_IFDIR | 0o755, b'')

    def file(self, name, content, mode=0o644):
        self.directory(os.path.dirname(name.strip('/')))
        self._entry(name.strip('/'), stat.S_IFREG | mode, content)

    def link(self, name, target):
        self.directory(os.path.dirname(name.strip('/')))
        self._entry(name.strip('/'), stat.S_IFLNK | 0o777, target.encode())

    def __contains__(self, name):
        return name.strip('/') in self._names

    def finish(self):
        self._entry('TRAILER!!!', 0, b'')
        return bytes(self._out)

    def _entry(self, name, mode, content):
        self._names.add(name)
        encoded = os.fsencode(name) + b'\0'
        fields = (len(self._names), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        self._out += b'070701' + b''.join(b'%08x' % field for field in fields) + encoded
        self._pad()
        self._out += content
        self._pad()

    def _pad(self):
        self._out += bytes(-len(self._out) % 4)
