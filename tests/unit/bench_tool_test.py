#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""tools/bench: what it says when it cannot measure, and what it makes of figures: bench_tool_test.py ROOT"""
import contextlib
import io
import os
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(sys.argv[1])
sys.path[:0] = [os.path.join(ROOT, 'tests'), ROOT]
import tap  # noqa: E402
from bench import core, nvme, peers, progress  # noqa: E402


def bench(*arguments):
    return subprocess.run([os.path.join(ROOT, 'tools/bench'), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


def refusals(test):
    with tempfile.TemporaryDirectory() as empty:
        for shows, arguments, parts in (
                ('no table', [], ['tools/bench: ', 'TABLE', '--help']),
                ('a table that there is not', ['gold'], ["'gold'", "'core'"]),
                ('a folder where nothing was built', ['--build', empty, 'core'], [empty, 'meson setup']),
                ('no repetition', ['--repetitions', '0', 'core'], ['--repetitions', 'at least 1'])):
            run = bench(*arguments)
            missing = [part for part in parts if part not in run.stdout]
            test.result(run.returncode in (1, 2) and not missing and 'Traceback' not in run.stdout,
                        f'{shows}: is refused, with what helps', f'status {run.returncode}, missing {missing}\n{run.stdout}')
    run = bench('--help')
    test.result(run.returncode == 0 and 'core ' in run.stdout, '--help lists the tables', run.stdout)


def progresses(test):
    """What takes long says how far it is, and what it runs is not lost."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        done = progress.run(['sh', '-c', 'echo @@ one; sleep 1; echo two; echo three >&2; exit 4'], 'counting sheep', mark='@@ ',
                            total=3, interval=0.2)
    lines = said.getvalue().splitlines()
    test.equal((done.returncode, done.stdout, done.stderr), (4, '@@ one\ntwo\n', 'three\n'), 'a run has its status and streams')
    test.equal(lines[0], 'tools/bench: counting sheep', 'a run says first what it is')
    test.result(len(lines) > 2 and lines[-1].endswith('1 of 3 done') and lines[-1].startswith('tools/bench: counting sheep: '),
                'and then how far it is, as long as it goes on', lines)
    test.equal(progress.duration(125), '2 min 5 s', 'minutes are told as such')
    for name in ('peers', 'core', 'model', 'nvme'):
        with open(os.path.join(ROOT, 'bench', name + '.py'), encoding='utf-8') as file:
            test.result('progress.' in file.read(), f'bench/{name}.py says how far it is')


def figures(test):
    seen = {'burst 32': {'chalk': [9, 1, 2], 'peer': [4, 4, 100]}, 'burst 8': {'chalk': [5.0]}}
    rows = list(peers.compare(seen, lambda what, peer: 0.4))
    test.equal([row['operation'] for row in rows], ['burst 8', 'burst 32'], 'rows come in the order of their numbers')
    test.equal((rows[0]['chalk'], rows[0]['peer']), (5.0, None), 'an operation without a peer has a row')
    test.equal((rows[1]['chalk'], rows[1]['peer_ticks'], rows[1]['ratio']), (2, 4, 0.5), 'medians are compared')
    test.equal(rows[1]['met'], False, 'a ratio above the one that is wanted is not met')


def growths(test):
    row = {'operation': 'a claim, of 100000', 'chalk': 250.0, 'ns': 119.0, 'few': 100.0, 'few_of': 100, 'growth': 2.5,
           'target': 2, 'met': False, 'instructions': None}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        core.show(row)
    missing = [part for part in ('a claim, of 100000', '250.0', '100.0', '2.50', 'NOT <= 2', 'with 100') if part not in
               shown.getvalue()]
    test.result(not missing, 'what one more costs is shown with the growth beside it', f'missing {missing}: {shown.getvalue()}')


def verdicts(test):
    for ratios, met, wanted in (([4] * 5, True, 5), ([1] * 5, False, 5), ([4] * 4, None, 5), ([4] * 4 + [1], None, 8),
                                ([4] * 7 + [0.1], True, 8), ([1] * 7 + [4], False, 8), ([4] * 8 + [1] * 2, None, 11),
                                ([4, 1], None, 8)):
        told = nvme.verdict(ratios)
        test.equal((told['met'], told['wanted']), (met, wanted), f'{ratios}: met, and rounds that would do')


def main():
    with tap.Tap() as test:
        refusals(test)
        progresses(test)
        figures(test)
        growths(test)
        verdicts(test)


if __name__ == '__main__':
    main()
