#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Drivers whose device's process stalls, or ends and comes back: restart.py CHALK-MODEL NVME-PERF"""
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

MODEL, PERF = (os.path.abspath(path) for path in sys.argv[1:3])
LOG = os.path.join(os.path.dirname(PERF), 'nvme-log')


def serve(path, file, *options):
    process = subprocess.Popen([MODEL, 'nvme', '--socket', path, '--size', '16M', '--backing', f'file:{file}', *options],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **worlds.ordinary())
    process.stdout.readline()
    return process


def run(test, folder, name, seconds, disturb, mode, *options, **environment):
    """Reads go on, whatever happened to the model meanwhile."""
    path, file = os.path.join(folder, 'disk'), os.path.join(folder, 'disk.img')
    model = serve(path, file, *options)
    perf = subprocess.Popen([PERF, f'vfio-user:{path}', '--seconds', str(seconds), '--mode', mode], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={'CHALK_UNPINNED': '1', **environment}, **worlds.ordinary())
    time.sleep(1)
    try:
        model = disturb(model, lambda: serve(path, file, *options))
        output = perf.communicate(timeout=60)[0]
        test.result(perf.returncode == 0, f'{name}, {mode} {" ".join(options)}: reads go on', output)
        return output
    finally:
        perf.kill()
        model.terminate()
        model.communicate()


def restart(model, again):
    model.kill()
    model.wait()
    time.sleep(0.3)
    return again()


def stall(model, _):
    model.send_signal(signal.SIGSTOP)
    time.sleep(7)
    model.send_signal(signal.SIGCONT)
    return model


def watches_on(test, folder):
    """A watch for events, with nothing in flight: the restarted model's event comes, and a model that stays away is missed."""
    path, file = os.path.join(folder, 'disk'), os.path.join(folder, 'disk.img')
    script = os.path.join(folder, 'event.script')
    with open(script, 'w') as text:
        text.write('for nvme\ntime 4s: reshape 1\n')
    for back in True, False:
        model = serve(path, file)
        watch = subprocess.Popen([LOG, '--watch', '8' if back else '3', f'vfio-user:{path}'], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 env={'CHALK_UNPINNED': '1', 'CHALK_RECONNECT': '5'}, **worlds.ordinary())
        time.sleep(1)
        model.kill()
        model.communicate()
        if back:
            model = serve(path, file, '--script', script)
        output = watch.communicate(timeout=60)[0]
        if back:
            test.result(watch.returncode == 0 and 'namespaces have changed' in output, 'a watch goes on after a restart', output)
            model.terminate()
            model.communicate()
        else:
            test.equal(watch.returncode, 1, 'a watch whose model stays away ends with an error')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        for mode, options in (('polled', []), ('interrupt', ['--poll'])):
            output = run(test, folder, 'restarted', 5, restart, mode, *options, CHALK_RECONNECT='30')
            test.contains(output, 'has come back', 'and it is said')
        watches_on(test, folder)
        output = run(test, folder, 'stopped for seven seconds', 9, stall, 'polled')
        test.contains(output, 'is stopped', 'and it is said')


if __name__ == '__main__':
    main()
