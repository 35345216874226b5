# SPDX-License-Identifier: BSD-2-Clause
"""Runs what takes minutes, and says on standard error that it goes on: a line every ten seconds, with how far it has come."""
import subprocess
import sys
import tempfile
import threading
import time

INTERVAL_S = 10


def say(text):
    print(f'tools/bench: {text}', file=sys.stderr, flush=True)


def duration(seconds):
    return f'{seconds:.0f} s' if seconds < 60 else f'{seconds // 60:.0f} min {seconds % 60:.0f} s'


def run(command, what, mark=None, total=None, interval=INTERVAL_S, **settings):
    """
    Runs a command to its end, as subprocess.run() with both streams captured does. `what` says what it is. Lines that
    begin with `mark` are steps, of `total`. `settings` are those of subprocess.Popen().
    """
    say(what)
    start, steps, over = time.monotonic(), 0, threading.Event()

    def tell():
        while not over.wait(interval):
            done = f', {steps} of {total} done' if total else ''
            say(f'{what}: {duration(time.monotonic() - start)}{done}')

    with tempfile.TemporaryFile('w+') as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
                                   errors='replace', **settings)
        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                steps += mark is not None and line.startswith(mark)
            status = process.wait()
        except BaseException:  # interrupted: what was started ends first
            process.terminate()
            process.wait()
            raise
        finally:
            over.set()
            teller.join()
            process.stdout.close()
        errors.seek(0)
        return subprocess.CompletedProcess(command, status, ''.join(lines), errors.read())
