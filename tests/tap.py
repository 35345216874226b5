# SPDX-License-Identifier: BSD-2-Clause
"""The Test Anything Protocol for tests that drive programs from outside: one line a case, details as comments."""
import sys
import traceback


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and not isinstance(error, SystemExit):
            self.result(False, 'the test itself ran to its end', ''.join(traceback.format_exception(error)))
        print(f'1..{self.count}', flush=True)
        if error is None or not isinstance(error, SystemExit):
            sys.exit(self.failed != 0)

    def result(self, passed, name, detail=''):
        """One case: `detail` is shown when it failed."""
        self.count += 1
        self.failed += not passed
        print(f'{"ok" if passed else "not ok"} {self.count} - {name}', flush=True)
        if not passed:
            for line in str(detail).splitlines():
                print(f'#   {line}', flush=True)
        return passed

    def skip(self, name, reason):
        self.count += 1
        print(f'ok {self.count} - {name} # SKIP {reason}', flush=True)

    def equal(self, seen, expected, name):
        return self.result(seen == expected, name, f'saw      {seen!r}\nexpected {expected!r}')

    def contains(self, text, part, name):
        return self.result(part in text, name, f'no {part!r} in:\n{text}')
