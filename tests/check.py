#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Builds Chalk and runs its tests. The last line counts them: N passed, N failed, N skipped.

    tools/check [--quick | --long] [--build DIR] [SUITE...]

--quick runs unit tests, layout, portability and same bytes: minutes after a build. --long adds soaks to all the rest,
which take hours. Suites: native, proof, twin, hosted, bare, quick, long.
"""
import json
import os
import re
import shlex
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'tools'))
from runner import tool  # noqa: E402

OPTIONS = ['-Dwerror=true', '-Dtests=true', '-Dpkgconfig.relocatable=true']
SUITES = ['native', 'proof', 'twin', 'hosted', 'bare', 'quick', 'long']


def step(text, *command):
    """Runs a command; what it says matters only if it fails."""
    print(f'== {text}', flush=True)
    run = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=None if command[0].endswith('setup') else subprocess.STDOUT, text=True, errors='replace')
    if run.returncode:
        print(run.stdout, end='')
        sys.exit(f'tools/check: failed with status {run.returncode}: {shlex.join(command)}')


def build(folder, every=30):
    """Runs ninja. Says how far it is, every so many seconds; what the compilers say matters only if it fails."""
    print('== build (many minutes, the first time)', flush=True)
    command = ['ninja', '-C', folder]
    run = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, errors='replace', env={**os.environ, 'NINJA_STATUS': '[%f of %t] '})
    said, told = [], time.monotonic()
    for line in run.stdout:
        progress = re.match(r'\[(\d+ of \d+)\] ', line)
        if not progress:
            said.append(line)
        elif time.monotonic() - told >= every:
            print(f'   {progress[1]} steps', flush=True)
            told = time.monotonic()
    if run.wait():
        print(''.join(said), end='')
        sys.exit(f'tools/check: failed with status {run.returncode}: {shlex.join(command)}')


def show_failures(log):
    """The cases that failed, with what they said; meson shows only what other tests wrote to standard error."""
    for line in open(log):
        test = json.loads(line)
        for block in re.findall(r'^not ok [^\n]*\n(?:#[^\n]*\n)*', test.get('stdout', ''), re.M):
            print(f'{test["name"]}: {block.rstrip()}')


def count(log):
    """(passed, failed, skipped): a test that speaks TAP counts its cases, any other counts as one."""
    passed = failed = skipped = 0
    for line in open(log):
        test = json.loads(line)
        cases = re.findall(r'^(not )?ok\b([^\n]*)', test.get('stdout', ''), re.M)
        bad = test['result'] not in ('OK', 'SKIP', 'EXPECTEDFAIL')
        if cases:
            skips = sum('# SKIP' in rest.upper() for _, rest in cases)
            wrong = sum(bool(negation) for negation, _ in cases)
            skipped += skips
            passed += len(cases) - skips - wrong
            failed += max(wrong, bad)
        else:
            passed += test['result'] in ('OK', 'EXPECTEDFAIL')
            failed += bad
            skipped += test['result'] == 'SKIP'
    return passed, failed, skipped


def main():
    parser = tool.Parser(prog='tools/check', usage='%(prog)s [--quick | --long] [--build DIR] [SUITE...]',
                                     description='Builds Chalk and runs its tests. The last line counts them.')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--quick', action='store_true', help='unit tests, layout, portability and same bytes')
    size.add_argument('--long', action='store_true', help='also the soaks, which take hours')
    parser.add_argument('--build', default=os.path.join(ROOT, 'build'), metavar='DIR', help='default: build')
    parser.add_argument('suites', nargs='*', metavar='SUITE', help=f'of {", ".join(SUITES)}; default: all')
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    for suite in options.suites:
        if suite not in SUITES:
            parser.error(f'no suite {suite}: expected {", ".join(SUITES)}')
    suites = options.suites or (['quick'] if options.quick else [])

    step('packages', os.path.join(ROOT, 'tools/setup'))
    if not suites or 'hosted' in suites:
        print('== a newer QEMU, for the test that needs it', flush=True)
        if subprocess.run([os.path.join(ROOT, 'tools/setup'), '--judges'], stdin=subprocess.DEVNULL).returncode:
            print('not to be had: that test is skipped', flush=True)
    if not os.path.exists(os.path.join(options.build, 'build.ninja')):
        step('configure', 'meson', 'setup', *OPTIONS, options.build, ROOT)
    else:
        step('configure', 'meson', 'configure', *OPTIONS, options.build)
    build(options.build)

    print(f'== tests: {" ".join(suites) or "all"}', flush=True)
    command = ['meson', 'test', '-C', options.build, '--no-rebuild', '--print-errorlogs']
    command += ['--setup', 'long'] if options.long else []
    for suite in suites:
        command += ['--suite', suite]
    log = os.path.join(options.build, 'meson-logs', 'testlog.json')
    if os.path.exists(log):
        os.unlink(log)
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    if not os.path.exists(log):
        sys.exit(f'tools/check: meson test ran nothing (status {status}); see {options.build}/meson-logs')
    show_failures(log)
    passed, failed, skipped = count(log)
    print(f'{passed} passed, {failed} failed, {skipped} skipped', flush=True)
    sys.exit(bool(failed or status))


if __name__ == '__main__':
    tool.run('tools/check', main)
