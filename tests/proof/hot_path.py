#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Shows what the NVMe driver's hot path is free of: locks, fences, division, calls of anything that is not rare.

    hot_path.py ARCHIVE

The functions are read from the archive as it is linked into programs. That they read no register is seen where they run:
bench/nvme.
"""
import re
import subprocess
import sys

HOT = ('submit', 'submit_many', 'kick', 'poll', 'poll_many')
# Of a poll that found something only every 4096th calls look_at_time().
RARE = ('submit_unusual', 'find_unusual', 'idle', 'look_at_time')
FORBIDDEN = re.compile(r'lock|i?div[bwlq]?|[lsm]fence|x(chg|add)[bwlq]?|cpuid|(rd|wr)msr|in|out|int|syscall|rep\w*')
NOP = ('xchg', '%ax,%ax')


def functions(archive):
    """{name: [(mnemonic, operands, what is relocated there)]} of the driver's io.c"""
    text = subprocess.run(['objdump', '-dr', '--no-show-raw-insn', archive], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    found, member, name = {}, '', None
    for line in text.splitlines():
        if 'file format' in line:
            member, name = line, None
        elif match := re.match(r'[0-9a-f]+ <(.*)>:', line):
            name = match.group(1) if 'nvme_io.c' in member else None
            if name:
                found[name] = []
        elif name and (match := re.match(r'\s+[0-9a-f]+: R_X86_64_\w+\s+(?:\.text\.)?(?:unlikely\.)?([\w.]+)', line)):
            found[name][-1][2].append(match.group(1))
        elif name and (match := re.match(r'\s+[0-9a-f]+:\t(\S+)\s*(.*)', line)):
            found[name].append((match.group(1), match.group(2), []))
    return found


def main():
    code = functions(sys.argv[1])
    complaints = [f'{name} is not there' for name in HOT if name not in code]
    for name in HOT:
        for mnemonic, operands, relocations in code.get(name, ()):
            if FORBIDDEN.fullmatch(mnemonic) and (mnemonic, operands) != NOP:
                complaints.append(f'{name}: {mnemonic} {operands}')
            if mnemonic.startswith(('call', 'j')):
                complaints += [f'{name}: {mnemonic} {target}' for target in relocations
                               if target.split('.')[0] not in HOT + RARE]
    for complaint in complaints:
        print(complaint)
    print(f'{sum(len(code.get(name, ())) for name in HOT)} instructions looked at')
    sys.exit(bool(complaints))


if __name__ == '__main__':
    main()
