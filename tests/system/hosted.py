#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The hosted world from outside: isolation, embedding, ends in mid-I/O, and every bad input's message: hosted.py BUILD"""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
NVME = '0000:00:03.0'
OTHER = '0000:00:04.0'


def built(*names):
    return [os.path.join(BUILD, name) for name in names]


def well(test, folder):
    """What works, and how it ends."""
    path = worlds.disk(folder, 'disk.img', 512)
    with open(path, 'r+b') as file:
        file.write(b'a disk with data')
    busy = 'nvme-perf --pattern random --op read --depth 32 --seconds 60'
    results = worlds.guest({
        'identify': f'nvme-identify {NVME}',
        'fault': f'dmesg -c >/dev/null; dma-fault {NVME}; s=$?; dmesg | grep -q "DMAR.*fault" && echo "DMAR fault seen"; exit $s',
        'plugin': f'plugin-host /root/plugin.so {NVME}',
        'killed': f'{busy} {NVME} >/dev/null 2>&1 & p=$!; sleep 4; kill -9 $p; wait $p; '
                  f'nvme-verify --overwrite --blocks 4096 {NVME}',
        'interrupted': f'{busy} {NVME} & p=$!; sleep 4; kill -INT $p; wait $p; echo "status $?"',
        'verify interrupted': f'nvme-verify --overwrite --sizes 512 {NVME} & p=$!; sleep 2; kill -INT $p; wait $p; '
                              'echo "status $?"',
        'kernel takes over': f'rebind kernel {NVME} && dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16',
        'bound to the kernel': f'nvme-identify {NVME}',
    }, [f'nvme:{path}'], built('nvme-identify', 'nvme-verify', 'nvme-perf', 'dma-fault', 'tests/system/plugin-host', 'tests/system/plugin.so:/root/plugin.so'))

    def passed(name, shows, *parts):
        worlds.passed(test, shows, results[name], parts)

    passed('identify', 'identifies the controller')
    passed('fault', 'a DMA to what was not mapped is blocked, and the kernel saw the fault',
           'mapped: written', 'never mapped: blocked', 'mapped for reading: blocked', 'just unmapped: blocked', 'DMAR fault seen')
    passed('plugin', 'a plugin opens, uses, closes and reopens a device', 'a disk with data', 'left behind: 0 descriptors')
    passed('killed', 'works at once after kill -9 in mid-I/O')
    passed('interrupted', 'SIGINT in mid-I/O ends in good order', 'status 130')
    passed('verify interrupted', 'so does nvme-verify', 'interrupted', 'status 130')
    passed('kernel takes over', 'and the kernel\'s driver can take the device afterwards')
    worlds.refused(test, 'a device bound to a kernel driver', results['bound to the kernel'], ['driver_override'])


def bad_input(test, folder):
    """Each mistake: a non-zero exit, and a message that names the cure."""
    path = worlds.disk(folder, 'bad.img', 16)
    cases = {  # name: (command, parts of the message)
        'unknown address': ('nvme-identify 0000:00:1f.7', ['0000:00:1f.7']),
        'not an address': ('nvme-identify banana', ['banana']),
        'not an NVMe device': (f'nvme-identify {OTHER}', [f'NVMe {OTHER}: not an NVMe controller']),
        'no such processor': ('CHALK_CORES=0-9 nvme-identify', ['0-9', 'cpu/online']),
        'no list of processors': ('CHALK_CORES=two nvme-identify', ['two', 'cpu/online']),
        'unknown option': ('nvme-verify --colour', ['--colour', '--help']),
        'depth 0': ('nvme-verify --depth 0', ['depth']),
        'unaligned size': ('nvme-verify --sizes 1000', ['1000', '512']),
        'range beyond the end': ('nvme-verify --start 99999999 --blocks 8', ['99999999']),
        'no such namespace': ('nvme-verify --namespace 9', ['namespace 9']),
        'writing needs consent': ('nvme-perf --op write --pattern random --count 10', ['--overwrite']),
        'in use': (f'nvme-perf --pattern random --op read --seconds 30 {NVME} >/dev/null 2>&1 & p=$!; sleep 3; '
                   f'nvme-identify {NVME}; s=$?; kill -INT $p; wait $p; exit $s', ['in use']),
        'no hugepages': ('old=$(cat /proc/sys/vm/nr_hugepages); echo 0 > /proc/sys/vm/nr_hugepages; nvme-identify; s=$?; '
                         'echo $old > /proc/sys/vm/nr_hugepages; [ $s = 0 ] && echo works; exit 9', ['nr_hugepages', 'works']),
        'io_uring disabled': ('echo 2 > /proc/sys/kernel/io_uring_disabled; nvme-verify --overwrite --blocks 2048 --interrupts; s=$?; '
                              'echo 0 > /proc/sys/kernel/io_uring_disabled; [ $s = 0 ] && echo works; exit 9', ['io_uring', 'works']),
        'DMA entries exhausted': ('limit=/sys/module/vfio_iommu_type1/parameters/dma_entry_limit; echo 16 > $limit; '
                                  f'dma-entries {NVME}; s=$?; echo 65535 > $limit; [ $s = 0 ] && echo refused; exit 9',
                                  ['dma_entry_limit', 'refused']),
    }
    results = worlds.guest({name: command for name, (command, _) in cases.items()}, [f'nvme:{path}', 'e1000e'],
                           built('nvme-identify', 'nvme-verify', 'nvme-perf', 'dma-entries'))
    for name, (_, parts) in cases.items():
        worlds.refused(test, name, results[name], parts)


def limits(test, folder):
    """What Linux does not let the process have: refused with the limit's name, and no advice that takes pages away."""
    path = worlds.disk(folder, 'limits.img', 16)
    group = 'd=/sys/fs/cgroup/$$; mkdir -p $d; echo $(sh -c \'echo $PPID\') > $d/cgroup.procs; '
    pages = '/proc/sys/vm/nr_hugepages'
    large = 'nvme-perf --pattern random --op read --count 10 --depth 2047 --size 131072'
    node = ('g=/dev/vfio/$(basename $(readlink /sys/bus/pci/devices/%s/iommu_group)); ' % NVME +
            'set -- $(tr : " " < /sys/class/vfio/$(basename $g)/dev); rm $g; ')
    again = 'rm -f $g; mknod $g c $1 $2; exit $s'
    results = worlds.guest({
        'mount': 'mount -t cgroup2 none /sys/fs/cgroup; echo "+memory +hugetlb" > /sys/fs/cgroup/cgroup.subtree_control; '
                 'cat /sys/fs/cgroup/cgroup.subtree_control',
        'memory': f'{group} old=$(cat {pages}); echo 0 > {pages}; echo 64M > $d/memory.max; {large}; s=$?; '
                  f'echo $old > {pages}; cat $d/memory.events; exit $s',
        'tables': f'{group} old=$(cat {pages}); echo 0 > {pages}; echo 20M > $d/memory.max; '
                  f'nvme-perf --trace 1000000 --seconds 0.1; s=$?; echo $old > {pages}; cat $d/memory.events; exit $s',
        'model': f'{group} echo 16M > $d/memory.max; chalk-model nvme --socket /tmp/k --size 64M & p=$!; sleep 1; kill $p; wait $p; exit 9',
        'hugepages': f'{group} echo 0 > $d/hugetlb.2MB.max; nvme-identify; s=$?; [ $s = 0 ] && echo works; exit 9',
        'another group': node + f'mknod $g c $1 200; nvme-identify {NVME}; s=$?; ' + again,
        'another device': node + f'mknod $g c 1 3; nvme-identify {NVME}; s=$?; ' + again,
        'right again': f'nvme-identify {NVME}',
    }, [f'nvme:{path}'], built('nvme-identify', 'nvme-perf', 'chalk-model'))
    worlds.passed(test, 'the guest has control groups', results['mount'], ['memory', 'hugetlb'])
    worlds.refused(test, 'a group with little memory', results['memory'],
                   ['a control group of this process allows', '/memory.max', 'give a smaller --depth', 'oom_kill 0'])
    worlds.refused(test, 'a group with little memory for a trace', results['tables'],
                   ['a control group of this process allows', '/memory.max', 'give a smaller --trace', 'oom_kill 0'])
    worlds.refused(test, 'a disk in memory that the group does not allow', results['model'],
                   ['disks of 65536 KiB', '/memory.max', '--backing file:PATH'])
    worlds.refused(test, 'a group without hugepages', results['hugepages'],
                   ['ordinary pages are used', '/hugetlb.2MB.max', 'works'])
    test.result('nr_hugepages' not in results['hugepages'].output, 'it gets no advice about hugepages', results['hugepages'])
    worlds.refused(test, 'a group file with a wrong number', results['another group'], ['is not the file', 'mknod /dev/vfio/'])
    worlds.refused(test, 'a group file that is another device', results['another device'], ['is not the file', 'mknod /dev/vfio/'])
    worlds.passed(test, 'the right file again', results['right again'])


def loans(test, folder):
    """What a device owns is not the program's: the instrumented build says where it was lent, and who forgot."""
    path = worlds.disk(folder, 'loans.img', 16)
    program, = built('loan-instrumented')
    results = worlds.guest({mistake: f'loan-instrumented {NVME} {mistake}' for mistake in worlds.LOANS}, [f'nvme:{path}'], [program])
    for mistake, parts in worlds.LOANS.items():
        result = results[mistake]
        offsets = re.findall(r'#\d+ .*\(\+(0x[0-9a-f]+)\)', result.output)
        names = subprocess.run(['addr2line', '-i', '-f', '-e', program, *offsets], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               text=True).stdout
        missing = [part for part in [*parts, 'lend_to_disk', 'chalk_main'] if part not in result.output + names]
        test.result(result.status == 134 and not missing, f'a buffer that the disk owns: {mistake}',
                    f'missing {missing}\n{result}\n{names}')


def leaks(test):
    names = ('leak-instrumented', 'leak')
    results = worlds.guest({name: name for name in names}, [], built(*names))
    for name in names:
        listed = 'never given back' in results[name].output and ' 4 KiB at' in results[name].output
        test.result(results[name].status == 0 and listed == (name != 'leak'),
                    f'{name}: what was never given back is {"listed" if name != "leak" else "not told"}', results[name])


def outside(test, folder):
    """Memory that the program mapped itself: a disk reads and writes it, and the file shows it."""
    program, = built('tests/system/outside')
    device = f'nvme:{worlds.disk(folder, "outside.img", 16)}'
    kinds = ('memfd', 'hugetlb', 'file', 'readonly')
    results = worlds.guest({kind: f'outside {NVME} {kind}' for kind in kinds}, [device], [program])
    for kind in kinds[:3]:
        result = results[kind]
        test.result(result.status == 0 and 'the file has: from a file' in result.output, f'memory from outside: {kind}', f'{result}')
    worlds.refused(test, 'memory from outside that is mapped read-only', results['readonly'], ['mapped read-only', 'memfd'])
    result = worlds.vm(program, [NVME, 'large'], [device], ['--user', '--memlock', str(32 << 20)])
    worlds.refused(test, 'memory from outside beyond the locked-memory limit', result, ['65536 KiB', 'RLIMIT_MEMLOCK', 'prlimit'])


def shared_group(test, folder):
    """Two functions of one slot, which QEMU's bridge cannot keep apart; and VFIO taken away piece by piece."""
    second = '0000:00:03.1'
    cases = {
        'another device of the group has its kernel driver': (
            f'modprobe nvme; cd /sys/bus/pci/devices/{second}; i=0; '
            'while [ ! -e driver ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; nvme-identify',
            [second, 'driver nvme', 'driver_override', 'not permitted']),
        'VFIO without its IOMMU module': (f'modprobe -r vfio_iommu_type1; nvme-identify {NVME}',
                                          ['modprobe vfio_iommu_type1']),
        'VFIO not loaded': (f'modprobe -r vfio_pci; nvme-identify {NVME}', ['modprobe vfio-pci', 'driver_override']),
    }
    device = f'nvme:{worlds.disk(folder, "group.img", 16)},multifunction=on'
    results = worlds.guest({name: command for name, (command, _) in cases.items()}, [device], built('nvme-identify'),
                           ['--qemu', '-device nvme,serial=second,addr=03.1'])
    for name, (_, parts) in cases.items():
        worlds.refused(test, name, results[name], parts)


def bad_machine(test, folder):
    """Machines on which it can't work."""
    device = f'nvme:{worlds.disk(folder, "machine.img", 16)}'
    program = os.path.join(BUILD, 'nvme-identify')
    for name, options, parts in (
            ('no IOMMU', ['--no-iommu'], ['iommu']),
            ('device left to its kernel driver', ['--no-bind'], ['driver_override']),
            ('an ordinary user without the group', ['--user', '--no-own'], ['permission', '/dev/vfio/']),
            ('locked memory too low', ['--user', '--memlock', '65536'], ['bytes', 'memlock'])):
        worlds.refused(test, name, worlds.vm(program, [NVME], [device], options), parts)
    result = worlds.vm(program, [NVME], [device], ['--user'])
    test.result(result.status == 0, 'an ordinary user who owns the group: works', result.output)
    result = worlds.vm(program, [], [], ['--qemu', '-cpu qemu64'])
    worlds.refused(test, 'an old processor', result, ['below x86-64-v2', 'SSSE3', '-cpu max'])
    result = worlds.vm(program, [], [])
    worlds.refused(test, 'no NVMe device at all', result, ['no NVMe'])
    result = worlds.vm(os.path.join(BUILD, 'no-such-program'), [], [])
    worlds.refused(test, 'no such program', result, ['no-such-program'])
    result = worlds.vm(program, [], ['nvme:/no/such/disk.img'])
    worlds.refused(test, 'no such disk', result, ['/no/such/disk.img', 'qemu-img create'])


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        well(test, folder)
        bad_input(test, folder)
        limits(test, folder)
        loans(test, folder)
        outside(test, folder)
        leaks(test)
        shared_group(test, folder)
        bad_machine(test, folder)


if __name__ == '__main__':
    main()
