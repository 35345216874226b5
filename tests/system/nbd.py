#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Linux's own programs on a Chalk driver, through nbdkit; the disk image is then read without either: nbd.py BUILD"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
SMALL, LARGE, ABSENT = '0000:00:03.0', '0000:00:04.0', '0000:00:1f.7'  # blocks of 512, of 4096 bytes
PLUGIN = '/root/chalk-nbd.so'
PROGRAMS = [os.path.join(BUILD, 'tools/nbd/chalk-nbd.so:') + PLUGIN, os.path.join(BUILD, 'nvme-identify')]
COMMANDS = ['nbdkit', 'nbd-client', 'fio', 'qemu-io', 'mkfs.ext4', 'fsck.ext4']
WITH = [part for command in COMMANDS for part in ('--with', command)]


def serve(name, arguments):
    """nbdkit in the background, on /tmp/NAME; it writes /tmp/NAME.pid when it serves."""
    return (f'nbdkit -U /tmp/{name} -P /tmp/{name}.pid --threads 32 {PLUGIN} {arguments} || exit; i=0; '
            f'until [ -s /tmp/{name}.pid ]; do usleep 20000; [ $((i += 1)) -lt 500 ] || exit 1; done')


def end(name, signal):
    """Until the process has gone, and so the device is free."""
    return (f'p=$(cat /tmp/{name}.pid); kill -{signal} $p; i=0; '
            'while [ -e /proc/$p ]; do usleep 20000; [ $((i += 1)) -lt 500 ] || exit 1; done; '
            f'rm -f /tmp/{name} /tmp/{name}.pid')


def take_away(address):
    return f'timeout 30 sh -c "echo 1 >/sys/bus/pci/devices/{address}/remove"; echo "let go: $?"'


def gone(process):
    return (f'i=0; while [ -e /proc/{process} ]; do usleep 20000; [ $((i += 1)) -lt 500 ] || exit 1; done; '
            'echo "the server has ended"')


def fio(name, **settings):
    words = ' '.join(f'--{key}={value}' for key, value in settings.items())
    return f"fio --name=job --ioengine=nbd '--uri=nbd+unix:///?socket=/tmp/{name}' {words}"


def well(test, folder):
    """Data of every kind goes through, and lies where it belongs."""
    small = worlds.disk(folder, 'small.img', 64)
    large = worlds.disk(folder, 'large.img', 64)
    file = os.path.join(folder, 'file')
    with open(file, 'wb') as out:
        out.write(os.urandom(5000000))  # no multiple of any block
    results = worlds.guest({
        'serve': f'{serve("small", SMALL)}; {serve("large", f"device={LARGE} namespace=1 poll=true")}',
        'fio': fio('small', rw='randwrite', bsrange='512-384k', bs_unaligned=0, blockalign=512, iodepth=32, offset='16m',
                   size='8m', verify='crc32c', verify_fatal=1, end_fsync=1),
        'two clients': fio('small', rw='randrw', bs='4k', iodepth=8, numjobs=2, offset='32m', offset_increment='4m',
                           size='4m', verify='crc32c', verify_fatal=1),
        'pattern': "qemu-io -f raw -c 'write -P 0xc1 0 3M' -c 'write -f -P 0xc2 3M 4k' -c 'write -z 1M 64k' -c flush "
                   "nbd:unix:/tmp/small",
        'ext4': 'modprobe nbd && nbd-client -unix /tmp/large /dev/nbd0 -b 4096 && blkdiscard /dev/nbd0 && mkfs.ext4 -q /dev/nbd0 && '
                'mount -t ext4 /dev/nbd0 /mnt && cp file /mnt/file && umount /mnt && fsck.ext4 -f -n /dev/nbd0 && '
                'mount -t ext4 /dev/nbd0 /mnt && cmp file /mnt/file; s=$?; umount /mnt; nbd-client -d /dev/nbd0; exit $s',
        'end': f'{end("large", "TERM")}; nvme-identify {LARGE}',
        # The kernel does not heed what it is told, unlike libnbd.
        'unaligned': f"nbdkit -U - {PLUGIN} {LARGE} --run 'nbd-client -unix $unixsocket /dev/nbd0 -b 512; fio --name=job "
                     "--filename=/dev/nbd0 --direct=1 --rw=read --bs=512 --offset=512 --size=512; s=$?; "
                     "nbd-client -d /dev/nbd0; exit $s'",
        'kill': f'{fio("small", rw="randread", bs="4k", iodepth=32, size="16m", time_based=1, runtime=60)} >/dev/null 2>&1 & '
                f'sleep 3; {end("small", "KILL")}; wait; {serve("small", SMALL)}; '
                f'qemu-io -f raw -c "read -P 0xc1 0 1M" nbd:unix:/tmp/small && {end("small", "TERM")}',
        # The write into /sys returns once the device has been let go.
        'removed, under load': f'{serve("small", SMALL)}; p=$(cat /tmp/small.pid); '
                               f'{fio("small", rw="randread", bs="4k", iodepth=32, size="16m", time_based=1, runtime=60)} & f=$!; '
                               f'sleep 3; {take_away(SMALL)}; {gone("$p")}; wait $f; echo "fio: $?"',
        'removed, idle': f'{serve("large", LARGE)}; p=$(cat /tmp/large.pid); sleep 2; {take_away(LARGE)}; {gone("$p")}',
    }, [f'nvme:{small}', f'nvme:{large},logical_block_size=4096'], [*PROGRAMS, file], WITH)

    def passed(name, shows, *parts):
        worlds.passed(test, shows, results[name], parts)

    passed('serve', 'two controllers are served, by a process each')
    passed('fio', 'fio verifies writes of many sizes, 32 at once', 'err= 0')
    passed('two clients', 'fio verifies reads and writes of two clients', 'err= 0')
    passed('pattern', 'qemu-io writes, writes with FUA, writes zeroes and flushes')
    passed('ext4', "discard, mkfs, mount, copy, fsck and compare, over the kernel's nbd")
    worlds.refused(test, 'a request that is not in blocks', results['unaligned'], ['4096', '--filter=blocksize'])
    passed('end', 'SIGTERM ends it in good order: the device is free', 'Namespace 1')
    passed('kill', 'it serves again after kill -9 in mid-I/O')

    passed('removed, under load', 'a disk that is removed under load: requests end, the server too, Linux goes on',
           'let go: 0', 'the server has ended', 'fio: 1')
    passed('removed, idle', 'and one that is removed while nobody asks for anything', 'let go: 0', 'the server has ended')

    outside = subprocess.run(['qemu-io', '-r', '-f', 'raw', '-c', 'read -P 0xc1 0 1M', '-c', 'read -P 0 1M 64k',
                              '-c', 'read -P 0xc1 1088k 1984k', '-c', 'read -P 0xc2 3M 4k', small],
                             capture_output=True, text=True)
    test.result(outside.returncode == 0, 'qemu-io finds it all in the disk image', outside.stdout + outside.stderr)
    copy = os.path.join(folder, 'copy')
    subprocess.run(['/usr/sbin/debugfs', '-R', f'dump /file {copy}', large], capture_output=True)
    same = os.path.exists(copy) and open(copy, 'rb').read() == open(file, 'rb').read()
    test.result(same, 'debugfs finds the file in the other', 'it differs, or is not there')


def bad_input(test, folder):
    """Each mistake ends nbdkit before it serves anybody, with a message that names the cure."""
    start = f'nbdkit -U /tmp/bad {PLUGIN}'
    cases = {  # name: (command, parts of the message)
        'no device': (start, ['device=ADDRESS', 'lspci']),
        'an empty device': (f'{start} device=', ['device=ADDRESS', 'lspci']),
        'an unknown parameter': (f'{start} {SMALL} colour=red', ['colour=red', 'namespace']),
        'an unknown address': (f'{start} {ABSENT}', [ABSENT, 'no such device']),
        'not an address': (f'{start} banana', ['banana']),
        'no such namespace': (f'{start} {SMALL} namespace=9', ['namespace 9', 'nvme-identify']),
        'in use': (f'{serve("first", SMALL)}; {start} {SMALL}; s=$?; {end("first", "TERM")}; exit $s', ['in use', 'fuser']),
        'held by the kernel': (f'rebind kernel {SMALL}; {start} {SMALL}', ['driver nvme', 'driver_override']),
    }
    device = f'nvme:{worlds.disk(folder, "bad.img", 16)}'
    results = worlds.guest({name: command for name, (command, _) in cases.items()}, [device], PROGRAMS, ['--with', 'nbdkit'])
    for name, (_, parts) in cases.items():
        worlds.refused(test, name, results[name], parts)
    results = worlds.guest({'no IOMMU': f'{start} {SMALL}'}, [device], PROGRAMS, ['--with', 'nbdkit', '--no-iommu'])
    worlds.refused(test, 'no IOMMU', results['no IOMMU'], ['iommu'])


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        well(test, folder)
        bad_input(test, folder)


if __name__ == '__main__':
    main()
