#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Shows that a portable archive knows nothing of the world it runs in.

    portable.py PLATFORM_H ARCHIVE...

Every symbol that an archive needs and does not define is a function of the platform contract (read from its
header) or one of five memory functions that every compiler may call; no instruction leaves the program or needs
privilege; nothing is thread-local; nothing runs before main.
"""
import re
import subprocess
import sys

MEMORY = {'memcpy', 'memmove', 'memset', 'memcmp', 'strlen', '_GLOBAL_OFFSET_TABLE_'}

SYSTEM = re.compile(  # enter a kernel, touch a port, change how the processor runs (SDM vol. 2)
    r'^(syscall|sysenter|sysret|sysexit|int|int1|int3|into|iret[dq]?|hlt|cli|sti|in|out|(rep )?(ins|outs)[bwdl]?|'
    r'rdmsr|wrmsr|rdpmc|[ls][gi]dt|[ls]ldt|ltr|str|lmsw|smsw|clts|invd|wbinvd|invlpg|invpcid|swapgs|'
    r'(rd|wr)(fs|gs)base|(rd|wr)pkru|xsetbv|xgetbv|cpuid|vm(call|run|launch|resume|mcall|read|write|xon|xoff)|monitor|mwait)$')
SECTIONS = re.compile(r'\.(init_array|fini_array|preinit_array|ctors|dtors|tdata|tbss|init|fini|interp)\b')


def run(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def contract(header):
    text = re.sub(r'/\*.*?\*/', '', open(header).read(), flags=re.S)
    names = set(re.findall(r'\b(chalk_\w+)\s*\([^;{]*\)\s*;', text))
    if len(names) < 10:
        sys.exit(f'{header}: found only {len(names)} functions; is this the contract?')
    return names


def check(archive, allowed):
    """What is wrong with the archive, a line each."""
    defined, needed = set(), set()
    for line in run('nm', '-P', archive).splitlines():
        fields = line.split()
        if len(fields) >= 2 and len(fields[1]) == 1:
            (needed if fields[1] in 'Uwv' else defined).add(fields[0])
    for symbol in sorted(needed - defined - allowed):
        yield f'needs {symbol}, which is neither in the contract nor in the archive'

    function = '?'
    for line in run('objdump', '-d', '--no-show-raw-insn', archive).splitlines():
        if line.endswith('>:'):
            function = line.split('<')[1][:-2]
        fields = line.split('\t')
        if len(fields) < 2:
            continue
        mnemonic, _, operands = fields[1].partition(' ')
        if SYSTEM.match(mnemonic):
            yield f'{function}: {fields[1].strip()}'
        if re.search(r'%[fgc]s:|%[cd]r\d|%[fgcdes]s\b(?!:)', operands):
            yield f'{function}: segment or control register: {fields[1].strip()}'
    for line in run('readelf', '-SW', archive).splitlines():
        if SECTIONS.search(line):
            yield f'section {line.strip()}'


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    allowed = contract(sys.argv[1])
    failed = False
    for archive in sys.argv[2:]:
        faults = list(check(archive, allowed | MEMORY))
        for fault in faults:
            print(f'{archive}: {fault}')
        if not faults:
            print(f'{archive}: needs only the {len(allowed)} functions of the contract')
        failed |= bool(faults)
    sys.exit(failed)


if __name__ == '__main__':
    main()
