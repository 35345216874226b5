#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The public headers compile alone, in C and C++, beside <errno.h>, and have the right numbers. In C++ every struct of
theirs is a type, and every function can be called.

    headers_test.py INCLUDE_FOLDER
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from tap import Tap  # noqa: E402

MUSL = '/usr/include/x86_64-linux-musl'
STRICT = ['-Wall', '-Wextra', '-pedantic', '-Wconversion', '-Wno-sign-conversion', '-Werror', '-march=x86-64-v2']
# What a program needs of a header alone.
NEEDED = {'device.h': 'struct chalk_mmio window;'}
C = ['-x', 'c', '-std=gnu11', *STRICT, '-Wshadow', '-Wstrict-prototypes', '-Wundef']
CXX = ['-x', 'c++', '-std=gnu++17', *STRICT]
VARIANTS = ([], ['-DCHALK_DEBUG', '-DCHALK_INSTRUMENTED'])


def complaints(compiler, arguments, source):
    """What the compiler has to say of this source; nothing if it is fine."""
    run = subprocess.run([compiler, *arguments, '-fsyntax-only', '-I', sys.argv[1], '-'], input=source, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run.stdout if run.returncode else ''


def names(folder, headers):
    """The structs and enums that these headers define or declare, and the functions."""
    types, functions = set(), set()
    for header in headers:
        text = re.sub(r'/\*.*?\*/', '', open(os.path.join(folder, header)).read(), flags=re.S)
        text = re.sub(r'^#.*(?:\\\n.*)*', '', text, flags=re.M)
        types |= set(re.findall(r'\b(?:struct|enum|union) (chalk_\w+)\s*[{;]', text))
        functions |= set(re.findall(r'\b(chalk_\w+)\(', text))
    return sorted(types), sorted(functions)


def uses(headers, types, functions):
    """A C++ source that names each type without `struct`, as C++ does, and takes the address of each function. A type
    that shares its name with a function is hidden by it there, so that this does not compile."""
    lines = [f'#include <chalk/{header}>' for header in headers]
    lines += [f'extern {name} *use_of_{name};' for name in types]
    lines += [f'auto use_of_{name} = &{name};' for name in functions]
    return '\n'.join(lines) + '\n'


def main():
    folder = os.path.join(sys.argv[1], 'chalk')
    headers = sorted(os.listdir(folder))
    with Tap() as tap:
        for compiler, language in (('cc', C), ('clang', C), ('c++', CXX), ('clang++', CXX)):
            if not shutil.which(compiler):
                tap.skip(f'headers with {compiler}', f'no {compiler}')
                continue
            for header in headers:
                line = f'#include <chalk/{header}>\n'
                found = ''.join(complaints(compiler, language + variant, line * 2 + NEEDED.get(header, 'int main(void);') + '\n')
                                for variant in VARIANTS)
                tap.result(not found, f'{header} alone, with {compiler}', found)
            everything = ''.join(f'#include <chalk/{header}>\n' for header in headers)
            for order, source in (('before', everything + '#include <errno.h>\n'),
                                  ('after', '#include <errno.h>\n' + everything)):
                found = complaints(compiler, language, source)
                tap.result(not found, f'all headers {order} <errno.h>, with {compiler}', found)

        types, functions = names(folder, headers)
        tap.result(len(types) > 50 and len(functions) > 150, 'headers have types and functions',
                   f'{len(types)}, {len(functions)}')
        for compiler in ('c++', 'clang++'):
            if not shutil.which(compiler):
                tap.skip(f'uses with {compiler}', f'no {compiler}')
                continue
            found = ''.join(complaints(compiler, CXX + variant, uses(headers, types, functions)) for variant in VARIANTS)
            tap.result(not found, f'{len(types)} types and {len(functions)} functions are used, with {compiler}', found)

        source = os.path.join(sys.argv[1], '../..')
        files = [os.path.join(path, name) for part in ('lib', 'drivers', 'hosted', 'baremetal')
                 for path, _, names_here in os.walk(os.path.join(source, part)) for name in names_here if name[-2:] in ('.c', '.h')]
        used = set(re.findall(r'-(E[A-Z0-9]{3,})\b', ''.join(open(file).read() for file in files)))
        known = set(re.findall(r'^#define (E\w+) +\d+$', open(os.path.join(folder, 'error.h')).read(), re.M))
        named = set(re.findall(r'case -(E\w+):', open(os.path.join(source, 'lib/error/error.c')).read()))
        tap.result(len(used) > 20 and not used - known, 'every error that is returned is in error.h', used - known)
        tap.result(known == named, 'and has a name', known ^ named)

        numbers = re.findall(r'^#define (E\w+) +(\d+)$', open(os.path.join(folder, 'error.h')).read(), re.M)
        tap.result(len(numbers) > 20, 'error.h has numbers to compare', numbers)
        asserts = '#include <errno.h>\n' + ''.join(
            f'_Static_assert({name} == {number}, "{name} is another number here");\n' for name, number in numbers)
        found = complaints('cc', C, asserts)
        tap.result(not found, f'{len(numbers)} error numbers are those of glibc', found)
        if os.path.isdir(MUSL):
            found = complaints('cc', [*C, '-nostdinc', '-isystem', MUSL], asserts)
            tap.result(not found, f'{len(numbers)} error numbers are those of musl', found)
        else:
            tap.skip('error numbers are those of musl', 'no musl-dev')


if __name__ == '__main__':
    main()
