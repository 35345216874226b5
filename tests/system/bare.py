#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The image from outside: every way to boot, its size, its panics, machines it can't work on: bare.py BUILD"""
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
SMALLEST_UNIKRAFT = 140 * 1024


def image(name):
    return os.path.join(BUILD, name + '.elf')


def boots(test, folder):
    disk = worlds.disk(folder, 'disk.img', 8)
    for boot in ('pvh', 'bios', 'uefi'):
        run = worlds.metal(image('hello'), ['one', 'two words'], options=['--boot', boot])
        test.result(run.status == 0 and 'hello' in run.output, f'{boot}: boots, prints a line, exits with 0', run)
        run = worlds.metal(image('nvme-verify'), ['--overwrite', '--blocks', 4096, '--interrupts'], [f'nvme:{disk}'], ['--boot', boot])
        test.result(run.status == 0, f'{boot}: verifies an NVMe disk by interrupt', run.output)
    run = worlds.metal(image('nvme-verify'), ['--overwrite', '--blocks', 4096, '--interrupts'], [f'root-port:nvme:{disk}'])
    test.result(run.status == 0, 'pvh: a device behind a root port', run.output)


def buses(test, folder):
    """A second root bus, and a bus behind it, whose only devices have number 5."""
    disk = worlds.disk(folder, 'far.img', 8)
    qemu = ('-device pxb-pcie,id=root,bus_nr=128,bus=pcie.0,addr=0x10 -device pci-bridge,id=far,bus=root,addr=5,chassis_nr=9 '
            f'-drive file={disk},if=none,format=raw,id=disk -device nvme,serial=far,drive=disk,bus=far,addr=5')
    run = worlds.metal(image('nvme-verify'), ['--overwrite', '--blocks', 4096], options=['--qemu', qemu])
    test.result(run.status == 0, 'a disk behind a root bus that has no device 0', run.output)


def without_firmware(test, folder):
    """QEMU's microvm: configuration space is told in AML only, and no firmware gives addresses to devices."""
    disk = worlds.disk(folder, 'micro.img', 8)
    run = worlds.metal(image('nvme-verify'), ['--overwrite', '--blocks', 4096, '--interrupts'], [f'nvme:{disk}', 'edu'],
                       ['--machine', 'microvm,pcie=on'])
    test.result(run.status == 0, 'microvm: verifies an NVMe disk by interrupt', run.output)


def size(test, folder):
    stripped = os.path.join(folder, 'hello.elf')
    subprocess.run(['strip', '-o', stripped, image('hello')], check=True)
    seen = os.path.getsize(stripped)
    test.result(seen < SMALLEST_UNIKRAFT, f'hello is {seen} bytes stripped', f'allowed: {SMALLEST_UNIKRAFT}')
    run = worlds.metal(stripped, [])
    test.result(run.status == 0 and 'hello' in run.output, 'and boots as it is', run.output)


def panics(test):
    """Each fault ends in a panic that names it, with a backtrace that names the function."""
    for fault, parts in worlds.FAULTS.items():
        run = worlds.metal(image('fault'), [fault], timeout=30)
        missing = [part for part in parts if part.lower() not in run.output.lower()]
        test.result(run.status == 134 and not missing, f'panic: {fault}',
                    f'status {run.status}, missing {missing}\n{run.output}')


def reach(test, folder):
    """No IOMMU yet: the instrumented build stops a driver that is about to let a device out of bounds."""
    path = worlds.disk(folder, 'reach.img', 8)
    with open(path, 'r+b') as file:
        file.write(b'a disk with data')
    run = worlds.metal(image('dma-fault-instrumented'), ['0000:00:03.0'], [f'nvme:{path}'])
    test.result(run.status not in (0, 124) and 'mapped: written' in run.output and 'never shared' in run.output and
                'the device wrote' not in run.output, 'an address that was not shared stops the instrumented build', run)


def loans(test, folder):
    """What a device owns is not the program's: the instrumented build says where it was lent, and who forgot."""
    path = worlds.disk(folder, 'loans.img', 8)
    for mistake, parts in worlds.LOANS.items():
        run = worlds.metal(image('loan-instrumented'), ['0000:00:03.0', mistake], [f'nvme:{path}'])
        missing = [part for part in [*parts, 'lend_to_disk+'] if part not in run.output]
        test.result(run.status == 134 and not missing, f'a buffer that the disk owns: {mistake}', f'missing {missing}\n{run}')


def refusals(test):
    """What a device does not have is named; one that is left open, too. This one has an interrupt pin only."""
    run = worlds.metal(image('refusals'), ['0000:00:05.0'], options=['--qemu', '-device rtl8139,addr=5'])
    parts = ['window of 0: -19', 'has I/O ports at base address register 0', 'window of 1: 0', 'window of 1: -34',
             'base address register 1 has 0x100 bytes, not 0x100000', 'window of 3: -19', 'has nothing at base address register 3',
             'vector 0: -95', 'rearmed: -95', 'has no MSI-X and no MSI', 'vector 9: -95', 'pci: 0000:00:05.0 was still open']
    missing = [part for part in parts if part not in run.output]
    test.result(run.status == 0 and not missing, 'what a device does not have is named', f'missing {missing}\n{run}')
    run = worlds.metal(image('refusals'), ['0000:00:05.0', 'twice'], options=['--qemu', '-device rtl8139,addr=5'])
    test.result(run.status == 134 and 'chalk_device_close(): 0000:00:05.0 is not open: it was closed already' in run.output,
                'a device that is closed twice ends the program', run)


def leaks(test):
    for name, seen in (('leak-instrumented', True), ('leak', False)):
        run = worlds.metal(image(name))
        test.result(run.status == 0 and (' 4 KiB at' in run.output and ': forgotten' in run.output) == seen,
                    f'{name}: what was never given back is {"listed" if seen else "not told"}', run)


def nodes(test):
    """Two NUMA nodes whose memory is contiguous: spans end where nodes do."""
    qemu = '-smp 2 -object memory-backend-ram,id=m0,size=128M -object memory-backend-ram,id=m1,size=128M ' \
           '-numa node,memdev=m0,cpus=0 -numa node,memdev=m1,cpus=1'
    run = worlds.metal(image('nodes'), options=['--memory', '256M', '--qemu', qemu])
    spans = re.findall(r'span at (0x[0-9a-f]+), (\d+) KiB: node (-?\d+)', run.output)
    near = [(int(start, 16), int(start, 16) + int(kib) * 1024, int(node)) for start, kib, node in spans]
    right = all(end <= 128 << 20 if node == 0 else start >= 128 << 20 for start, end, node in near)
    test.result(run.status == 0 and right and {node for _, _, node in near} == {0, 1}, 'each span is of one node', run)
    test.result('core 0: node 0\ncore 1: node 1\n' in run.output, 'each core knows its node', run)
    test.result('node 0: got node 0' in run.output and 'node 1: got node 1' in run.output, 'memory is claimed near a node', run)
    test.result('no 4 KiB of RAM are free in one piece on NUMA node 7' in run.output and 'asked for node 7: -12' in run.output,
                'a node without memory is named', run)
    run = worlds.metal(image('nodes'))
    test.result(run.status == 0 and 'core 0: node -1' in run.output and 'KiB: node -1' in run.output,
                'a machine without nodes says -1', run)


def power(test, folder):
    """A machine without isa-debug-exit, as real ones are: the program's end switches it off, by ACPI."""
    for machine in ('q35', 'pc'):
        command = ['qemu-system-x86_64', '-nodefaults', '-no-reboot', '-display', 'none', '-accel', 'tcg', '-cpu', 'max',
                   '-machine', machine, '-m', '256', '-serial', f'file:{folder}/console', '-kernel', image('hello')]
        try:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60).returncode
        except subprocess.TimeoutExpired:
            status = 'none: still running after 60 s'
        with open(f'{folder}/console') as file:
            said = file.read()
        test.result(status == 0 and 'hello' in said and 'switch itself off' not in said,
                    f'{machine}: the power goes off at the end', f'status {status}: {said}')


def modules(test, folder):
    """What the loader leaves in memory is a span, and stays as it is."""
    path = os.path.join(folder, 'module')
    with open(path, 'w') as file:
        file.write('a file for the image'.ljust(5000))
    run = worlds.metal(image('modules'), options=['--qemu', f'-initrd {path}'])
    test.result(run.status == 0 and 'module0, 8192 bytes: a file for the image\n' in run.output, 'pvh: a boot module', run)


def interrupted(test, folder):
    """^C, which the runner types on the console, ends a program in good order in the middle of its work."""
    path = worlds.disk(folder, 'interrupted.img', 8)
    run = subprocess.Popen([worlds.METAL, '--timeout', '60', '--device', f'nvme:{path}', '--', image('nvme-perf'), '--seconds',
                            '50', '0000:00:03.0'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    said = run.stdout.readline()  # it measures
    run.send_signal(signal.SIGINT)
    said += run.communicate()[0]
    test.result(run.returncode == 130 and 'interrupted' in said and 'requests' in said,
                '^C on the console: the program stops its device and tells what it has', f'status {run.returncode}: {said}')


def forwarded(test, folder):
    """Standard input of tools/metal is the program's."""
    def metal(mode, options=(), **how):
        return subprocess.Popen([worlds.METAL, '--timeout', '60', *options, '--', image('input'), mode],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)

    for boot in ('pvh', 'uefi'):
        said = metal('lines', ['--boot', boot], stdin=subprocess.PIPE).communicate(b'hi\nthere\n')[0]
        test.result(said == b'1: hi\n2: there\nend of input\n', f'{boot}: lines from a pipe, and its end', said)
    path = os.path.join(folder, 'input')
    with open(path, 'wb') as file:
        file.write((bytes(range(256)) + b'\r\n\x03\x04\x16\x16\x03') * 20)
    wanted = f'{os.path.getsize(path)} bytes, {worlds.crc32c(path):08x}\n'.encode()
    with open(path, 'rb') as file:
        said = metal('bytes', stdin=file).communicate()[0]
    test.result(said == wanted, 'every byte of a file, as it is', f'{said}, expected {wanted}')
    said = metal('lines', stdin=subprocess.DEVNULL).communicate()[0]
    test.result(said == b'end of input\n', 'no input: its end', said)

    run = metal('lines', stdin=subprocess.PIPE)
    run.stdin.write(b'first\n')
    run.stdin.flush()
    said = [run.stdout.readline()]
    run.stdin.write(b'second\n')
    run.stdin.flush()
    said += [run.stdout.readline()]
    run.send_signal(signal.SIGINT)  # it waits for a third
    said += run.communicate()[0].splitlines(True)
    test.result(said[:2] == [b'1: first\n', b'2: second\n'] and b'end of input\n' in said,
                'lines arrive when they are written, and ^C ends the wait for one', said)


def environment(test):
    for boot in ('pvh', 'bios'):
        run = worlds.metal(image('words'), ['CHALK_WORD=a b', 'CHALK_LOG=info', '--', '--x', 'CHALK_WORD=c'],
                           options=['--boot', boot])
        test.result('[--x][CHALK_WORD=c] CHALK_WORD a b\n' in run.output and 'of level info' in run.output,
                    f'{boot}: words before -- are the environment', run.output)
    run = worlds.metal(image('words'), ['a', '--', 'b'])
    test.result(run.output == '[a][--][b] CHALK_WORD is not set\n', 'a -- among arguments stays', run.output)


def entropy(test):
    run = worlds.metal(image('entropy'))
    test.result(run.output == 'getrandom: 100 bytes\n', 'random bytes are the processor\'s', run)
    run = worlds.metal(image('entropy'), options=['--qemu', '-cpu max,-rdrand'])
    test.result(run.output == 'getrandom: ENOSYS\n', 'and where it has none, there are none', run)


def bad_machine(test):
    for name, program, options, parts in (
            ('no NVMe', 'nvme-identify', [], ['no NVMe']),
            ('too little memory', 'hello', ['--memory', '2M'], ['memory'])):
        run = worlds.metal(image(program), [], options=options, timeout=30)
        missing = [part for part in parts if part.lower() not in run.output.lower()]
        test.result(run.status not in (0, 124) and not missing, f'{name}: a message on the console',
                    f'status {run.status}, missing {missing}\n{run.output}')
    run = worlds.metal(image('hello'), options=['--qemu', '-cpu qemu64'], timeout=30)
    test.result(run.status == 1 and 'x86-64-v2' in run.output, 'an old processor: a message', run.output)
    run = worlds.metal(image('hello'), options=['--machine', 'microvm,acpi=off'])
    test.result(run.status == 0 and 'acpi: no tables' in run.output, 'no ACPI: says so, and does without', run)
    run = worlds.metal(image('nvme-identify'), options=['--machine', 'microvm'])
    test.result(run.status == 1 and 'no PCI bus' in run.output, 'no PCI bus: says so to who looks for a device', run.output)
    run = worlds.metal(image('no-such-image'), [])
    test.result(run.status not in (0, 124) and 'no-such-image' in run.output, 'no such image: a message', run.output)


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        boots(test, folder)
        buses(test, folder)
        without_firmware(test, folder)
        size(test, folder)
        panics(test)
        reach(test, folder)
        loans(test, folder)
        refusals(test)
        leaks(test)
        nodes(test)
        power(test, folder)
        modules(test, folder)
        interrupted(test, folder)
        forwarded(test, folder)
        environment(test)
        entropy(test)
        bad_machine(test)


if __name__ == '__main__':
    main()
