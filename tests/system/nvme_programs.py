#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The programs that administer NVMe controllers, in both worlds: nvme_programs.py BUILD

Each case is one command line, run as a Linux process over VFIO and as an image: both have to say what is expected,
and the same.
"""
import contextlib
import json
import os
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])

# What it shows: program, arguments, exit status, what has to be in its output.
PLAIN = {
    'the health log': ('nvme-log', '', 0, 'temperature            50 degrees Celsius'),
    'the firmware log': ('nvme-log', '--log firmware', 0, 'slot 1  1.0       <- in use'),
    'the effects log has format and write': ('nvme-log', '--log effects', 0, 'admin 80, changes blocks'),
    'the error log': ('nvme-log', '--log errors', 0, 'Errors, 0'),
    'the list of changed namespaces': ('nvme-log', '--log changed', 0, 'Changed namespaces, 0'),
    'a log as bytes, of the second namespace': ('nvme-log', '--page 0x2 --size 16 --offset 4', 0, '  00 00 00 00'),
    'a log that QEMU does not have': ('nvme-log', '--log sanitize', 1, 'does not give this log page'),
    'a log beyond its end': ('nvme-log', '--page 2 --offset 1M', 1, 'is the page that long?'),
    'a log of 6 bytes': ('nvme-log', '--page 2 --size 6', 2, 'not a multiple of 4'),
    'a log that there is not': ('nvme-log', '--log weather', 2, 'must be one of'),
    'the size of a log that has one': ('nvme-log', '--log health --size 16', 2, 'only with --page'),
    'a count of no events': ('nvme-log', '--count 3', 2, 'only with --watch'),
    'two logs at once': ('nvme-log', '--log health --page 2', 2, 'give only one'),
    'all features': ('nvme-features', '', 0, '06 write-cache       changeable'),
    'a feature by its identifier': ('nvme-features', '--feature 0x0b', 0, '0b events '),
    'the write cache is turned off': ('nvme-features', '--feature write-cache --set 0', 0, '0x00000000, off'),
    'a threshold is set': ('nvme-features', '--feature temperature --set 0x150', 0, 'from 63 degrees Celsius'),
    'its default stays': ('nvme-features', '--feature temperature --select default', 0, 'from 70 degrees Celsius'),
    'a feature that cannot be changed': ('nvme-features', '--feature power --set 1', 1, 'feature not changeable'),
    'a feature that cannot be saved': ('nvme-features', '--feature write-cache --set 1 --save', 1, 'not saveable'),
    'a feature that there is not': ('nvme-features', '--feature colour', 2, 'a name that nvme-features lists'),
    'a value of no feature': ('nvme-features', '--set 1', 2, '--set needs --feature'),
    'the feature that the driver keeps': ('nvme-features', '--feature queues --set 1', 2, 'only the driver does'),
    'the zones of a namespace without': ('nvme-zns', '', 1, 'has no zones: not supported'),
    'formatting asks first': ('nvme-format', '--block-size 4096', 2, 'add --overwrite'),
    'formatting into 4096-byte blocks': ('nvme-format', '--block-size 4096 --overwrite', 0, '2048 blocks of 4096 bytes'),
    'formatting the other namespace': ('nvme-format', '--namespace 2 --format 0 --overwrite', 0, '16384 blocks of 512'),
    'formatting with metadata': ('nvme-format', '--format 1 --overwrite', 0, 'of 512 bytes and 8 of metadata'),
    'a format of no such number': ('nvme-format', '--format 60 --overwrite', 2, 'has no such format'),
    'a format of no such size': ('nvme-format', '--block-size 100 --overwrite', 2, 'has no such format'),
    'a format of no namespace': ('nvme-format', '--namespace 9 --format 0 --overwrite', 1, 'has no namespace 9'),
    'no format at all': ('nvme-format', '--overwrite', 2, 'give --block-size'),
    'no events within a second': ('nvme-log', '--watch 1', 0, '  0 in all'),
}
ZONED = {  # hosted, each finds the zones as its predecessor left them; bare, all are empty
    'zones, as a library does it': ('twin-zns', '', 0, 'ok     each gets a place, and no two the same'),
    'all zones are reset': ('nvme-zns', '--do reset --all --overwrite', 0, 'zone   15  from block     3840, 0 of 192'),
    'the limits of zones': ('nvme-zns', '--count 1', 0, 'at most 4 open, at most 6 active; appends of up to 65536'),
    'a zone is opened': ('nvme-zns', '--do open --zone 7 --overwrite --count 1', 0, '0 of 192 written, open'),
    'blocks are appended': ('nvme-zns', '--append 8 --zone 2 --overwrite --count 1', 0, 'are at block 512\nread back'),
    'a zone is finished': ('nvme-zns', '--do finish --zone 7 --overwrite --count 1', 0, '192 of 192 written, full'),
    'an empty zone cannot be closed': ('nvme-zns', '--do close --zone 9 --overwrite', 1, 'close of zone 9 failed'),
    'changing a zone asks first': ('nvme-zns', '--do reset --zone 1', 2, 'add --overwrite'),
    'a zone of no such number': ('nvme-zns', '--zone 16', 2, '--zone 16: the last zone is 15'),
    'more than an append takes': ('nvme-zns', '--append 17 --zone 1 --overwrite', 2, 'has at most 65536 bytes'),
    'all zones and one': ('nvme-zns', '--do open --zone 1 --all --overwrite', 2, 'give --do with --zone or --all'),
}
COMMANDS = {'commands, as a library gives them': ('twin-nvme-commands', '', 0, 'ok     those between are as they were')}
MANY = {'controllers and namespaces at once': ('twin-nvme-many', '', 0, 'ok     each has what was written to it')}
LIMITS = {  # properties of the controller: what it then has
    'max_ioqpairs=1,msix_qsize=1,mdts=1': '1 queues, 1 vectors, at most 8 KiB in a command',
    'max_ioqpairs=8,msix_qsize=3,mdts=0': '8 queues, 3 vectors, at most 1024 KiB in a command',
    'max_ioqpairs=65535,msix_qsize=2048': '63 queues, 64 vectors, at most 512 KiB in a command',
}
ZONES = (',zoned.zasl=4,logical_block_size=4096,ns1.zoned=on,ns1.zoned.zone_size=1M,ns1.zoned.zone_capacity=768K,'
         'ns1.zoned.max_open=4,ns1.zoned.max_active=6')


def said(run):
    """What a program says, on both streams, but the driver's own messages."""
    return [line.rstrip() for line in run.output.splitlines() if line.strip() and not line.startswith('chalk:')]


def compare(test, devices, cases):
    """All cases hosted, in one guest; and bare, each on a machine of its own."""
    programs = [os.path.join(BUILD, name) for name in sorted({case[0] for case in cases.values()})]
    hosted = worlds.guest({name: f'{program} {arguments}' for name, (program, arguments, _, _) in cases.items()},
                          devices, programs)
    for name, (program, arguments, status, text) in cases.items():
        bare = worlds.metal(os.path.join(BUILD, program + '.elf'), arguments.split(), devices)
        both = (hosted[name].status, bare.status)
        if test.result(both == (status, status), f'{name}: {program} ends with {status}',
                       f'{both}\nhosted:\n{hosted[name].output}\nbare:\n{bare.output}'):
            test.result(text in bare.output and said(hosted[name]) == said(bare), f'{name}: both say it',
                        f'hosted:\n{hosted[name].output}\nbare:\n{bare.output}')


PERF = {  # what it shows: arguments, what is to be true of the figures
    'two cores, reading and writing, all of it verified': (
        '--cores 2 --op mixed --verify --overwrite --count 3000 --histogram',
        lambda f: f['cores'] == 2 and f['requests'] == 3000 and f['verified'] > 0 and f['interrupts_per_io'] == 0 and
        sum(f['latency_us_from'].values()) == 3000),
    'two cores, asleep until they are interrupted': (
        '--cores 2 --op write --pattern sequential --verify --overwrite --count 3000 --mode interrupt',
        lambda f: f['requests'] == 3000 and f['verified'] >= 1500 and 0 < f['interrupts_per_io'] <= 1),
    'one core, polling at depth 32': (
        '--count 3000 --depth 32', lambda f: f['interrupts_per_io'] == 0 and f['reads_percent'] == 100),
    'one core, interrupted though QEMU does not coalesce': (
        '--count 3000 --mode interrupt --coalesce 8', lambda f: f['requests'] == 3000 and f['interrupts_per_io'] > 0),
    'one core, adapting at depth 32': (
        '--count 3000 --depth 32 --mode adaptive', lambda f: f['requests'] == 3000 and f['interrupts_per_io'] < 0.5),
}


def perf(test, devices):
    """Figures differ from run to run; what they have to be does not."""
    hosted = worlds.guest({name: f'nvme-perf --json {arguments}' for name, (arguments, _) in PERF.items()}, devices,
                          [os.path.join(BUILD, 'nvme-perf')])
    for name, (arguments, holds) in PERF.items():
        bare = worlds.metal(os.path.join(BUILD, 'nvme-perf.elf'), ['--json', *arguments.split()], devices)
        for world, run in (('hosted', hosted[name]), ('bare', bare)):
            figures = [json.loads(line) for line in run.output.splitlines() if line.startswith('{')]
            test.result(run.status == 0 and len(figures) == 1 and holds(figures[0]), f'{world}: {name}', run.output)


# The kernel keeps the physical function, and gives one of its virtual ones two queues and a vector, and to Chalk.
VIRTUAL = '''
physical=/sys/bus/pci/devices/0000:01:00.0
rebind kernel 0000:01:00.0 && cd $physical || exit 1
nvme virt-mgmt /dev/nvme0 -c 0 -r 0 -a 1 -n 0 && nvme virt-mgmt /dev/nvme0 -c 0 -r 1 -a 1 -n 0 && echo 1 >reset || exit 1
echo 0 >sriov_drivers_autoprobe
echo 1 >sriov_numvfs
nvme virt-mgmt /dev/nvme0 -c 1 -r 0 -a 8 -n 2 && nvme virt-mgmt /dev/nvme0 -c 1 -r 1 -a 8 -n 1 &&
    nvme virt-mgmt /dev/nvme0 -c 1 -r 0 -a 9 -n 0 || exit 1
rebind vfio-pci 0000:01:00.1
'''


def virtual_function(test, folder):
    """SR-IOV, hosted: Chalk drives a virtual function of a controller whose physical one is the kernel's."""
    path = worlds.disk(folder, 'virtual.img', 8)
    qemu = ('-device nvme-subsys,id=subsys0 -device pcie-root-port,id=rp0,chassis=9,slot=9,bus=pcie.0,addr=0x10 '
            '-device nvme,id=sr,serial=sr,subsys=subsys0,bus=rp0,sriov_max_vfs=2,sriov_vq_flexible=4,'
            'sriov_vi_flexible=2,msix_qsize=9,max_ioqpairs=8 '
            f'-drive id=virtual,if=none,format=raw,file={path} -device nvme-ns,drive=virtual,bus=sr,nsid=1,shared=on')
    runs = worlds.guest({
        'ready': VIRTUAL,
        'identify': 'nvme-identify 0000:01:00.1',
        'verify': 'nvme-verify --overwrite --blocks 2048 0000:01:00.1',
        'kernel': 'dd if=/dev/nvme0n1 of=/dev/null bs=1M count=1 iflag=direct',
    }, programs=['/usr/sbin/nvme', *(os.path.join(BUILD, name) for name in ('nvme-identify', 'nvme-verify'))],
        options=['--qemu', qemu])
    test.result(runs['ready'].status == 0, 'a virtual function is there', runs['ready'].output)
    test.result(runs['identify'].status == 0 and 'controller id    1\n' in runs['identify'].output,
                'hosted: it is a controller of its own', runs['identify'].output)
    test.result(runs['verify'].status == 0 and f'CRC-32C {worlds.crc32c(path, 0, 1 << 20):08x}' in runs['verify'].output,
                'hosted: what it writes is on the disk', runs['verify'].output)
    test.result(runs['kernel'].status == 0, 'the kernel still reads through the physical one', runs['kernel'].output)


def subsystem(test, folder):
    """What only a controller in a subsystem has: namespaces that come and go, virtual functions."""
    disks = [worlds.disk(folder, name, 8) for name in ('attached.img', 'detached.img')]
    detached = ' '.join(f'-drive id=at{i},if=none,format=raw,file={disk} -device nvme-ns,drive=at{i},bus=own,nsid={i}{more}'
                        for i, (disk, more) in enumerate(zip(disks, ('', ',detached=on')), 1))
    flexible = ',sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2,msix_qsize=9,max_ioqpairs=8'
    for name, argument, properties, more in (('twin-nvme-commands', 'attach', '', detached),
                                             ('twin-nvme-commands', 'virtual', flexible, ''),
                                             ('twin-nvme-events', '', '', detached)):
        program = os.path.join(BUILD, name)
        case = f'{name} {argument}'.strip()
        options = ['--qemu', '-device nvme-subsys,id=subsys0 -device nvme,id=own,serial=own,subsys=subsys0,bus=pcie.0,'
                   f'addr=0x10{properties} {more}']
        command = f'rebind vfio-pci 0000:00:10.0 && {case}'
        runs = (worlds.guest({case: command}, programs=[program], options=options)[case],
                worlds.metal(program + '.elf', argument.split(), options=options))
        for world, run in zip(('hosted', 'bare'), runs):
            test.result(run.status == 0, f'{world}: {case}', run.output)
        test.equal(said(runs[0]), said(runs[1]), f'{case}: both say the same')


@contextlib.contextmanager
def warm_and_cold(path):
    """While it is in use, QEMU's controller `own` again and again gets too warm, and then cold enough."""
    over = threading.Event()

    def run():
        while not over.wait(0.1):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:  # when there is no machine
                monitor.settimeout(10)
                monitor.connect(path)
                for command, arguments in ('qmp_capabilities', {}), *(
                        ('qom-set', {'path': '/machine/peripheral/own', 'property': 'smart_critical_warning', 'value': value})
                        for value in (0, 2)):
                    monitor.sendall(json.dumps({'execute': command, 'arguments': arguments}).encode())
                    monitor.recv(4096)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def events(test, folder):
    """What a controller reports of its own accord, from outside of the machine, is printed as it comes."""
    path, monitor = worlds.disk(folder, 'warm.img', 8), os.path.join(folder, 'qmp')
    options = ['--qemu', f'-qmp unix:{monitor},server=on,wait=off -drive id=warm,if=none,format=raw,file={path} '
               '-device nvme,id=own,serial=own,drive=warm,bus=pcie.0,addr=0x10']
    program = os.path.join(BUILD, 'nvme-log')
    says = '  temperature is out of bounds: 50 degrees Celsius, spare 0%'
    with warm_and_cold(monitor):
        runs = {
            'hosted': worlds.guest({'watch': 'rebind vfio-pci 0000:00:10.0 && nvme-log --watch 100 --count 2'},
                                   programs=[program], options=options)['watch'],
            'bare': worlds.metal(program + '.elf', ['--watch', '100', '--count', '2'], options=options),
        }
    for world, run in runs.items():
        test.equal(said(run), ['Events', says, says, '  2 in all'], f'{world}: events are printed as they come')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        two = 'nvme:' + '+'.join(worlds.disk(folder, name, 8) for name in ('a.img', 'b.img'))
        compare(test, [two + ',ns2.logical_block_size=4096'], PLAIN)
        compare(test, [two + ',ns2.logical_block_size=4096'], COMMANDS)
        two = 'nvme:' + '+'.join(worlds.disk(folder, name, 16) for name in ('c.img', 'd.img'))
        compare(test, [two + ZONES], ZONED)
        virtual_function(test, folder)
        subsystem(test, folder)
        events(test, folder)
        disks = [worlds.disk(folder, name, 8) for name in ('e.img', 'f.img', 'g.img')]
        compare(test, [f'nvme:{disks[0]}+{disks[1]},ns2.logical_block_size=4096', f'nvme:{disks[2]}'], MANY)
        for properties, text in LIMITS.items():
            compare(test, [f'nvme:{disks[0]},{properties}'], {properties: ('twin-nvme-limits', '', 0, text)})
        compare(test, [f'nvme:{disks[0]},max_ioqpairs=1'], {
            'coalescing without interrupts': ('nvme-perf', '--coalesce 8', 2, 'only with --mode interrupt or adaptive'),
            'more cores than queues': ('nvme-perf', '--cores 2', 2, '--cores 2: 0000:00:03.0 grants only 1 of the queues')})
        compare(test, [f'nvme:{disks[0]},ns1.ms=8'], {
            'blocks with metadata of their own': ('nvme-verify', '--overwrite', 1, 'has 8 bytes of metadata with each block'),
            'and measuring them': ('nvme-perf', '', 1, 'has 8 bytes of metadata with each block')})
        perf(test, ['nvme:' + worlds.disk(folder, 'h.img', 16)])


if __name__ == '__main__':
    main()
