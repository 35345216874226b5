#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs a command whose processes cannot have an io_uring, as in many containers: without_uring.py COMMAND ARGUMENTS

The kernel refuses io_uring_setup() by a seccomp filter, which children inherit. WITHOUT_URING=1 tells a test of it.
"""
import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2  # linux/prctl.h, linux/seccomp.h
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: LD | W | ABS, JMP | JEQ | K, RET | K
IO_URING_SETUP = 425  # on every architecture
EPERM, ALLOW = 0x00050001, 0x7fff0000  # SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ALLOW


def forbid():
    program = b''.join(struct.pack('HBBI', *step) for step in (
        (LOAD, 0, 0, 0),  # seccomp_data.nr
        (EQUAL, 0, 1, IO_URING_SETUP),
        (RETURN, 0, 0, EPERM),
        (RETURN, 0, 0, ALLOW)))
    filters = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(program) // 8, ctypes.addressof(filters)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or \
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        sys.exit(f'a seccomp filter: {os.strerror(ctypes.get_errno())}')


forbid()
os.execvpe(sys.argv[1], sys.argv[1:], {**os.environ, 'WITHOUT_URING': '1'})
