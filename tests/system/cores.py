#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Cores from outside: other numbers of them, their ends, idling, and the window of a wait: cores.py BUILD"""
import os
import resource
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
MESSAGES = 10_000_000
IDLE_SECONDS = 3  # core_end.c
IDLE_SHARE = 0.3  # of one processor of the host, starting QEMU and the runner included
LOOP_SECONDS = 6
LOOP_SHARE = 0.01  # of one processor, for an idle loop as a Linux process, its start included


def image(name):
    return os.path.join(BUILD, name + '.elf')


def numbers(test):
    """The default is two, of which the twin tests tell."""
    for cores in (1, 4):
        run = worlds.metal(image('twin-cores'), devices=['edu'], options=['--cores', str(cores)])
        test.result(run.status == 0, f'bare: {cores} processors', run.output)
        run = worlds.vm(os.path.join(BUILD, 'twin-cores'), devices=['edu'], options=['--cores', str(cores)])
        test.result(run.status == 0, f'hosted: {cores} processors', run.output)
    for boot in ('bios', 'uefi'):
        run = worlds.metal(image('twin-cores'), devices=['edu'], options=['--cores', '4', '--boot', boot])
        test.result(run.status == 0, f'bare: 4 processors, as firmware ({boot}) leaves them', run.output)
    # Those that QEMU emulates have x2APIC mode since version 9, and then only that is used.
    run = worlds.metal(image('twin-cores'), devices=['edu'], options=['--cores', '4', '--qemu', '-cpu max,-x2apic'])
    test.result(run.status == 0, 'bare: 4 processors without x2APIC mode', run.output)


def messages(test):
    for cores in (2, 4):
        for world, run in (('bare', worlds.metal(image('messages'), [MESSAGES], options=['--cores', str(cores)], timeout=600)),
                           ('hosted', worlds.vm(os.path.join(BUILD, 'messages'), [MESSAGES], options=['--cores', str(cores)],
                                                timeout=600))):
            said = f'{MESSAGES} messages between {cores} cores, 0 of them wrong'
            test.result(run.status == 0 and said in run.output, f'{world}: {said}', run.output)


def ends(test):
    """One report, and the status of whoever was first; the other cores are stopped, whatever they do."""
    for how, status, parts in (('null', 134, ['page fault', 'read_null']),
                               ('stack', 134, ['main stack of core', 'exhaust_stack']),
                               ('both', 134, ['page fault', 'read_null']),
                               ('exit', 7, ['ends everything'])):
        run = worlds.metal(image('core-end'), [how], options=['--cores', '4'], timeout=30)
        missing = [part for part in parts if part not in run.output]
        reports = run.output.count('panic')
        test.result(run.status == status and not missing and reports == (status == 134), f'bare: {how} on another core',
                    f'status {run.status}, missing {missing}, {reports} reports\n{run.output}')


def spent():
    """Seconds that processes which have ended took of the host's processors."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def idle(test):
    before, start = spent(), time.monotonic()
    run = worlds.metal(image('core-end'), ['idle'], options=['--cores', '4'], timeout=30)
    seconds = spent() - before
    test.result(run.status == 0 and time.monotonic() - start >= IDLE_SECONDS, f'bare: idles for {IDLE_SECONDS} s', run)
    test.result(seconds < IDLE_SHARE * IDLE_SECONDS, f'and takes {seconds:.2f} s of the host\'s time for it')


def idle_loop(test):
    before, start = spent(), time.monotonic()
    run = worlds.metal(image('loop-idle'), [IDLE_SECONDS], timeout=30)
    seconds = spent() - before
    test.result(run.status == 0 and time.monotonic() - start >= IDLE_SECONDS, f'bare: a loop idles for {IDLE_SECONDS} s', run)
    test.result(seconds < IDLE_SHARE * IDLE_SECONDS, f'and takes {seconds:.2f} s of the host\'s time for it')
    before, start = spent(), time.monotonic()
    run = subprocess.run([os.path.join(BUILD, 'loop-idle'), str(LOOP_SECONDS)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    seconds = spent() - before
    test.result(run.returncode == 0 and time.monotonic() - start >= LOOP_SECONDS,
                f'hosted: a loop idles for {LOOP_SECONDS} s', run)
    test.result(seconds < LOOP_SHARE * LOOP_SECONDS, f'and takes {seconds * 1000:.0f} ms of a processor for it')


def window(test):
    run = worlds.metal(image('wake-window'), options=['--icount', '--cores', '2'])
    test.result(run.status == 0, 'bare: an interrupt at each instruction of a wait is never lost', run.output)


def main():
    with tap.Tap() as test:
        window(test)
        ends(test)
        idle(test)
        idle_loop(test)
        numbers(test)
        messages(test)


if __name__ == '__main__':
    main()
