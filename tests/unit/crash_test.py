#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A hosted program that crashes shows what a panic of an image shows, and ends by its signal: crash_test.py FAULT"""
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402
import worlds  # noqa: E402

SIGNALS = {'opcode': signal.SIGILL, 'abort': signal.SIGABRT}  # the others are SIGSEGV
ENVIRONMENT = {**os.environ, 'CHALK_UNPINNED': '1', 'CHALK_LOG': 'warning'}


def run(program, name):
    run = subprocess.run([program, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors='replace', env=ENVIRONMENT, timeout=60)
    return worlds.Result(run.returncode, run.stdout)


def main():
    program = os.path.abspath(sys.argv[1])
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        for fault, parts in worlds.FAULTS.items():
            result = run(program, fault)
            missing = [part for part in [*parts, 'crash on core 0', '  rip '] if part.lower() not in result.output.lower()]
            test.result(result.status == -SIGNALS.get(fault, signal.SIGSEGV) and not missing, f'crash: {fault}',
                        f'missing {missing}\n{result}')
        places = re.findall(r'chalk_main\S* in .*\(\+(0x[0-9a-f]+)\)', run(program, 'opcode').output)
        lines = subprocess.run(['addr2line', '-f', '-e', program, *places], stdout=subprocess.PIPE, text=True).stdout
        test.result(places and 'chalk_main' in lines, 'addr2line finds the line of a place', f'{places} {lines}')
        stripped = os.path.join(folder, 'stripped')
        subprocess.run(['strip', '-o', stripped, program], check=True)
        result = run(stripped, 'null')
        test.result(result.status == -signal.SIGSEGV and f'{stripped}(+0x' in result.output, 'without names there are addresses',
                    result)


if __name__ == '__main__':
    main()
