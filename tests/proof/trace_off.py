#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Shows what a trace point costs when tracing is off: two instructions, a test and a branch that is not taken.

    trace_off.py INCLUDE_FOLDER COMPILER...

Two functions with a trace point in each are compiled as the portable archive is; what they execute up to their
return, with branches not taken, is read from the disassembly.
"""
import os
import subprocess
import sys
import tempfile

SOURCE = '''
#include <chalk/block.h>
#include <chalk/trace.h>
void direct(struct chalk_trace *trace, uint64_t value);
void request(const struct chalk_block_queue *queue, const struct chalk_block_request *request);
void direct(struct chalk_trace *trace, uint64_t value)
{
    chalk_trace_emit(trace, CHALK_TRACE_MARK, 1, value, 2);
}
void request(const struct chalk_block_queue *queue, const struct chalk_block_request *request)
{
    chalk_block_submitted(queue, request);
}
'''


def straight(compiler, function):
    """The mnemonics from the function's start to its first return, no branch taken."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'trace.o')
        subprocess.run([compiler, '-x', 'c', '-std=gnu11', '-O2', '-ffreestanding', '-fPIC', '-march=x86-64-v2',
                        '-fcf-protection=none', '-fno-asynchronous-unwind-tables', '-fomit-frame-pointer',
                        '-I', sys.argv[1], '-c', '-o', path, '-'], input=SOURCE, text=True, check=True)
        lines = subprocess.run(['objdump', '-d', '--no-show-raw-insn', f'--disassemble={function}', path],
                               stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    mnemonics = [line.split('\t')[1].split()[0] for line in lines if '\t' in line]
    return mnemonics[:mnemonics.index('ret') + 1] if 'ret' in mnemonics else mnemonics


def main():
    failed = False
    for compiler in sys.argv[2:]:
        for function in ('direct', 'request'):
            seen = straight(compiler, function)
            # `je over; call ...; over: ret` would take its branch when off.
            good = len(seen) == 3 and seen[0] in ('test', 'cmpq') and seen[1] == 'jne' and seen[2].startswith('ret')
            failed |= not good
            print(f'{compiler}, {function}: {" ".join(seen)}{"" if good else " <- not a test, a branch, and a return"}')
    sys.exit(failed)


if __name__ == '__main__':
    main()
