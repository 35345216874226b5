#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Cores from outside: other numbers of them, their ends, idling, and the window of a wait: cores.py BUILD"""
import os
import resource
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
IDLE_SECONDS = 3  # core_end.c
IDLE_SHARE = 0.3  # of one processor of the host, starting QEMU and the runner included


def image(name):
    return os.path.join(BUILD, name + '.elf')


def numbers(test):
    """The default is two, of which the twin tests tell."""
    for cores in (1, 4):
        run = worlds.metal(image('twin-cores'), devices=['edu'], options=['--cores', str(cores)])
        test.result(run.status == 0, f'bare: {cores} processors', run.output)
        run = worlds.vm(os.path.join(BUILD, 'twin-cores'), devices=['edu'], options=['--cores', str(cores)])
        test.result(run.status == 0, f'hosted: {cores} processors', run.output)
    run = worlds.metal(image('twin-cores'), [200000], options=['--cores', '2'])
    test.result(run.status == 0, 'bare: 600 000 messages between two cores, none lost', run.output)
    for boot in ('bios', 'uefi'):
        run = worlds.metal(image('twin-cores'), devices=['edu'], options=['--cores', '4', '--boot', boot])
        test.result(run.status == 0, f'bare: 4 processors, as firmware ({boot}) leaves them', run.output)


def ends(test):
    """One report, and the status of whoever was first; the other cores are stopped, whatever they do."""
    for how, status, parts in (('null', 125, ['page fault', 'read_null']),
                               ('stack', 125, ['main stack of core', 'exhaust_stack']),
                               ('both', 125, ['page fault', 'read_null']),
                               ('exit', 7, ['ends everything'])):
        run = worlds.metal(image('core-end'), [how], options=['--cores', '4'], timeout=30)
        missing = [part for part in parts if part not in run.output]
        reports = run.output.count('panic')
        test.result(run.status == status and not missing and reports == (status == 125), f'bare: {how} on another core',
                    f'status {run.status}, missing {missing}, {reports} reports\n{run.output}')


def idle(test):
    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before, start = spent(), time.monotonic()
    run = worlds.metal(image('core-end'), ['idle'], options=['--cores', '4'], timeout=30)
    seconds = spent() - before
    test.result(run.status == 0 and time.monotonic() - start >= IDLE_SECONDS, f'bare: idles for {IDLE_SECONDS} s', run)
    test.result(seconds < IDLE_SHARE * IDLE_SECONDS, f'and takes {seconds:.2f} s of the host\'s time for it')


def window(test):
    run = worlds.metal(image('wake-window'), options=['--icount', '--cores', '2'])
    test.result(run.status == 0, 'bare: an interrupt at each instruction of a wait is never lost', run.output)


def main():
    with tap.Tap() as test:
        window(test)
        ends(test)
        idle(test)
        numbers(test)


if __name__ == '__main__':
    main()
