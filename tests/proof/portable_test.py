#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""portable.py refuses each thing that it claims to refuse: portable_test.py PLATFORM_H"""
import os
import subprocess
import sys
import tempfile

CASES = {
    'clean': 'int f(int a) { return a + 1; }',
    'libc': 'int puts(const char *); int f(void) { return puts("x"); }',
    'syscall': 'void f(void) { __asm__ volatile("syscall"); }',
    'port': 'void f(void) { __asm__ volatile("outb %al, $0x80"); }',
    'halt': 'void f(void) { __asm__ volatile("cli; hlt"); }',
    'msr': 'void f(void) { __asm__ volatile("rdmsr"); }',
    'control register': 'long f(void) { long v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }',
    'thread-local': 'static __thread int t; int f(void) { return ++t; }',
    'constructor': 'int v; __attribute__((constructor)) void f(void) { v = 1; }',
}


def main():
    header = sys.argv[1]
    checker = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'portable.py')
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, source in CASES.items():
            path = os.path.join(folder, 'case.o')
            subprocess.run(['cc', '-O2', '-ffreestanding', '-fcf-protection=none', '-x', 'c', '-c', '-', '-o', path],
                           input=source, text=True, check=True)
            refused = subprocess.run([checker, header, path], stdout=subprocess.DEVNULL).returncode != 0
            expected = name != 'clean'
            wrong += refused != expected
            print(f'{name}: {"refused" if refused else "accepted"}{"" if refused == expected else ", WRONG"}')
    sys.exit(wrong != 0)


if __name__ == '__main__':
    main()
