#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Linux's own NVMe driver on chalk-model, through a newer QEMU: linux_on_model.py CHALK-MODEL PROGRAM IMAGE

The first namespace has zones; the second has none, and is a file, which is then read without either. Then nvme-verify,
as a PROGRAM in a guest with an IOMMU and as an IMAGE, uses a model in the same way.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, 'tests'), os.path.join(ROOT, 'tools')]
import tap  # noqa: E402
import worlds  # noqa: E402
from runner import judges  # noqa: E402

MODEL, PROGRAM, IMAGE = map(os.path.abspath, sys.argv[1:4])
ADDRESS = '0000:00:03.0'
ZONES, DISK, THIRD = '/tmp/ns1', '/tmp/ns2', '/tmp/ns3'  # links, since Linux numbers devices as it finds them
ZONE_MIB, CAPACITY_MIB, ZONE_COUNT, DISK_MIB, SPARE_MIB = 4, 3, 8, 64, 16
WAYS = {'messages': [], 'shared doorbells': ['--poll']}
# blkdiscard is util-linux's: the guest's shell would run its own by that name.
WITH = [word for command in ('fio', 'nvme', 'mkfs.ext4', 'fsck.ext4', 'blkdiscard', 'blkzone') for word in ('--with', command)]


def complaints(*expected):
    """Prints what the driver says beside a plain account of what it found and did. Succeeds if there is something."""
    plain = '|'.join(('pci function', 'default/read/poll queues', 'resetting controller', *expected))
    return f'dmesg | grep "nvme nvme0\\|nvme0n.: \\|I/O error" | grep -Ev "{plain}"'


def fio(device, ioengine='libaio', **settings):
    words = ' '.join(f'--{key}={value}' for key, value in settings.items())
    return f'fio --name=job --filename={device} --direct=1 --ioengine={ioengine} {words}'


def verified(device, **settings):
    return fio(device, verify='crc32c', verify_fatal=1, **settings)


def until(condition):
    return f'i=0; until {condition}; do usleep 50000; [ $((i += 1)) -lt 200 ] || exit 1; done'


def links():
    return 'for b in /sys/block/nvme*; do ln -sf /dev/${b##*/} /tmp/ns$(cat $b/nsid); done'


def there(device):
    return until(f'{{ {links()}; [ -b {device} ]; }}')


def fill(device, mebibytes):
    """Not with zeroes: that is looked at, too."""
    return f'head -c {mebibytes << 20} /dev/urandom >{device} && sync && ! {zeroes(device, mebibytes)}'


def zeroes(device, mebibytes):
    return f'cmp -s -n {mebibytes << 20} {device} /dev/zero'


CASES = {
    'found': f'modprobe nvme; echo 1 >/sys/module/nvme/parameters/poll_queues; rebind kernel {ADDRESS} && {there(ZONES)} && '
             f'{there(DISK)}',
    'no complaints': f'! {complaints()}',
    'identify': 'nvme id-ctrl -o json /dev/nvme0',

    'fio': verified(DISK, rw='randwrite', bsrange='512-512k', bs_unaligned=0, blockalign=512, iodepth=32, size='12m'),
    'polled': verified(DISK, ioengine='io_uring', hipri=1, rw='randwrite', bs='4k', iodepth=8, size='2m'),
    'ext4': f'mkfs.ext4 -q {DISK} && mount {DISK} /mnt && cp file /mnt/file && umount /mnt && fsck.ext4 -f -n {DISK} && '
            f'mount {DISK} /mnt && cmp file /mnt/file; s=$?; umount /mnt; exit $s',
    'discard': f'{fill(DISK, 8)} && blkdiscard {DISK} && {zeroes(DISK, 8)}',
    'write zeroes': f'{fill(DISK, 4)} && /usr/local/bin/blkdiscard -z {DISK} && {zeroes(DISK, 4)}',
    'format': f'{fill(DISK, 4)} && nvme format {DISK} --lbaf=1 --force && '
              f'{until(f"[ $(blockdev --getss {DISK}) = 4096 ]")} && {zeroes(DISK, 4)}',
    'fio on 4096': verified(DISK, rw='randwrite', bs='16k', iodepth=16, size='8m'),
    'reset': f'{verified(DISK, rw="randwrite", bs="4k", iodepth=16, size="8m", time_based=1, runtime=4)} & sleep 1; '
             'for i in 1 2 3; do nvme reset /dev/nvme0 || exit 1; usleep 300000; done; wait $!',
    'function reset': f'{verified(DISK, rw="randwrite", bs="4k", iodepth=16, size="8m", time_based=1, runtime=4)} & sleep 1; '
                      f'echo 1 >/sys/bus/pci/devices/{ADDRESS}/reset || exit 1; wait $!',
    'namespaces': 'nvme create-ns /dev/nvme0 --nsze=8192 --ncap=8192 --flbas=0 && nvme attach-ns /dev/nvme0 -n 3 -c 1 && '
                  f'{there(THIRD)} && {verified(THIRD, rw="write", bs="64k", size="4m")} && '
                  'nvme detach-ns /dev/nvme0 -n 3 -c 1 && '
                  f'{until(f"! [ -b {THIRD} ]")} && nvme delete-ns /dev/nvme0 -n 3',

    'zoned': f'b=/sys/block/$(basename $(readlink {ZONES})); cat $b/queue/zoned $b/ro',
    'zones': f'{verified(ZONES, rw="write", bs="16k", iodepth=8, zonemode="zbd", size=f"{ZONE_MIB * 3}m")} && '
             f'{fio(ZONES, rw="randwrite", bs="4k", iodepth=8, zonemode="zbd", max_open_zones=3, time_based=1, runtime=3)}',
    'zones reset': f'blkzone reset $(readlink {ZONES}) && nvme zns report-zones -o json {ZONES} && {zeroes(ZONES, CAPACITY_MIB)}',
    'zone full': f'{fio(ZONES, rw="write", bs="64k", zonemode="zbd", size=f"{2 * ZONE_MIB}m")} && '
                 f'nvme zns report-zones -d 1 -o json {ZONES}',
    'beyond the zone': f'nvme write {ZONES} -s 0 -c 0 -z 512 -d file',
    'errors': f'nvme read {DISK} --start-block=0x{DISK_MIB << 20:x} --block-count=0 --data-size=4096; '
              'nvme error-log -e 1 -o json /dev/nvme0',

    'file': f'mkfs.ext4 -q {DISK} && mount {DISK} /mnt && cp file /mnt/file && umount /mnt',
    'no complaints at the end': f'! {complaints("rescanning")}',
    'let go': f'rebind vfio-pci {ADDRESS}; ! [ -e /dev/nvme0 ]',
}


def output_json(result):
    """The JSON in what a command said; empty if there is none."""
    found = re.search(r'^[{\[].*^[}\]]', result.output, re.M | re.S)
    return json.loads(found[0]) if found else {}


def judge(test, way, results):
    def passed(name, shows, *parts):
        worlds.passed(test, f'{way}: {shows}', results[name], parts)

    passed('found', 'Linux finds both namespaces')
    passed('no complaints', 'and has nothing to complain of')
    identity = output_json(results['identify'])
    test.result(re.fullmatch(r'nqn\.2014-08\.org\.nvmexpress:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}',
                             identity.get('subnqn', '')), f'{way}: the subsystem has a name', identity.get('subnqn'))
    passed('fio', 'fio verifies writes of many sizes, 32 at once', 'err= 0')
    passed('polled', 'and those on a queue without interrupts', 'err= 0')
    passed('ext4', 'mkfs, mount, copy, fsck, compare')
    passed('discard', 'discarded blocks read as zeroes')
    passed('write zeroes', 'and so do zeroed ones')
    passed('format', 'format: other blocks, all zeroes')
    passed('fio on 4096', 'fio verifies there, too', 'err= 0')
    passed('reset', 'the controller is reset three times in the middle of it', 'err= 0')
    passed('function reset', 'and the function', 'err= 0')
    passed('namespaces', 'a namespace is created, attached, written, detached, deleted', 'err= 0')
    passed('zoned', 'zones are found, and can be written', f'host-managed\n0\n')
    passed('zones', 'fio verifies them', 'err= 0')
    passed('zones reset', 'reset, they read as zeroes')
    zones = {zone['state'] for zone in output_json(results['zones reset']).get('zone_list', [])}
    test.equal(zones, {'EMPTY'}, f'{way}: and are empty')
    first = (output_json(results['zone full']).get('zone_list') or [{}])[0]
    test.equal(first.get('state'), 'FULL', f'{way}: a zone is written to its end')
    worlds.refused(test, f'{way}: a write behind it', results['beyond the zone'], ['zone'])
    error = (output_json(results['errors']).get('errors') or [{}])[0]
    test.equal([error.get(key) for key in ('nsid', 'lba', 'status_field')], [2, DISK_MIB << 20, 0x4080],
               f'{way}: the error log names namespace, block and status of a read beyond the end')
    passed('no complaints at the end', 'Linux still has nothing to complain of')
    passed('let go', 'it lets go of the device')


def run(test, folder, way, options):
    path, disk, file, copy = (os.path.join(folder, f'{name}-{way.split()[0]}') for name in ('socket', 'disk', 'file', 'copy'))
    with open(file, 'wb') as out:
        out.write(os.urandom(3000000))  # no multiple of any block
    arguments = ['--size', f'{ZONE_MIB * ZONE_COUNT}M', '--zone-size', f'{ZONE_MIB}M', '--zone-capacity', f'{CAPACITY_MIB}M',
                 '--size2', f'{DISK_MIB}M', '--backing2', f'file:{disk}', '--spare', f'{SPARE_MIB}M', *options]
    with worlds.model(MODEL, 'nvme', path, *arguments):
        results = worlds.guest(CASES, [f'vfio-user:{path}'], [f'{file}:/root/file'], [*WITH, '--no-iommu', '--no-bind'])
    judge(test, way, results)
    subprocess.run(['/usr/sbin/debugfs', '-R', f'dump /file {copy}', disk], capture_output=True)
    same = os.path.exists(copy) and open(copy, 'rb').read() == open(file, 'rb').read()
    test.result(same, f'{way}: debugfs finds the file in the disk', 'it differs, or is not there')


def both_worlds(test, folder, way, options):
    """What the guest's IOMMU maps and unmaps is told to the model, too: QEMU has nothing to say of that."""
    path = os.path.join(folder, f'verified-{way.split()[0]}')
    arguments = [ADDRESS, '--overwrite', '--blocks', '4096']
    with worlds.model(MODEL, 'nvme', path, '--size', '64M', *options):
        for world, result in (('hosted', worlds.vm(PROGRAM, arguments, [f'vfio-user:{path}'])),
                              ('bare', worlds.metal(IMAGE, arguments, [f'vfio-user:{path}']))):
            worlds.passed(test, f'{way}: nvme-verify, {world}', result, ['checked  4096 blocks'])
            test.result('dma_unmap' not in result.output, f'{way}: all memory is returned, {world}', result.output)


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        if not judges.command():
            test.skip("Linux's driver on the model", f'there is no newer QEMU: {judges.CURE}')
            return
        for way, options in WAYS.items():
            run(test, folder, way, options)
            both_worlds(test, folder, way, options)


if __name__ == '__main__':
    main()
