#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""symbols.py accepts Chalk's archives, and refuses what it claims to refuse: symbols_test.py HEADERS KIND=ARCHIVE..."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

CHECKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'symbols.py')
CASES = {  # (kind, source): whether it is accepted
    ('portable', 'int chalk_log(void) { return 0; }'): True,
    ('portable', 'int nvme_own(void) { return 0; }'): True,
    ('portable', 'static int own(void) { return 0; } int chalk_own(void) { return own(); }'): True,
    ('portable', 'int peer_open(void) { return 0; }'): False,
    ('portable', 'int chalk_log(void) { return 0; } int count;'): False,
    ('portable', '__attribute__((weak)) int hook(void) { return 0; }'): False,
    ('portable', 'extern int other; int chalk_log(void) { return other; }'): True,
    ('platform', 'int chalk_log(void) { return 0; }'): True,
    ('platform', 'int main(void) { return 0; }'): True,
    ('platform', 'int chalk_own(void) { return 0; }'): False,
    ('platform', 'int hosted_own(void) { return 0; }'): False,
    ('platform', 'int chalk_log(void) { return 0; } const int own = 1;'): False,
}


def check(headers, *words):
    return subprocess.run([sys.executable, CHECKER, headers, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)


def main():
    headers, *archives = sys.argv[1:]
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        for word in archives:
            done = check(headers, word)
            test.result(done.returncode == 0, f'{os.path.basename(word)} has no names but Chalk\'s', done.stdout)
        unit, archive = os.path.join(folder, 'case.o'), os.path.join(folder, 'case.a')
        for (kind, source), accepted in CASES.items():
            subprocess.run(['cc', '-x', 'c', '-c', '-', '-o', unit], input=source, text=True, check=True)
            subprocess.run(['ar', 'crs', archive, unit], check=True)
            done = check(headers, f'{kind}={archive}')
            test.result((done.returncode == 0) == accepted, f'{kind}: {source}: {"accepted" if accepted else "refused"}',
                        done.stdout)
            os.unlink(archive)


if __name__ == '__main__':
    main()
