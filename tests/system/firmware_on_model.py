#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""SeaBIOS and OVMF boot from chalk-model, and so does the image that they load: firmware_on_model.py CHALK-MODEL IMAGE

The image is nvme-identify, on a disc that is the model's file, and finds the disk that it was booted from.
"""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, 'tests'), os.path.join(ROOT, 'tools')]
import tap  # noqa: E402
import worlds  # noqa: E402
from runner import devices, judges  # noqa: E402

MODEL, IMAGE = map(os.path.abspath, sys.argv[1:3])
FIRMWARES = {'SeaBIOS': [], 'OVMF': ['-bios', '/usr/share/ovmf/OVMF.fd']}
WAYS = {'messages': [], 'shared doorbells': ['--poll']}
TIMEOUT = 120


def boot(qemu, path, firmware):
    """A machine whose only disk is the model. Its status and what it wrote to the serial line."""
    command = [*qemu, '-nodefaults', '-no-reboot', '-display', 'none', '-machine', 'q35,memory-backend=memory', '-cpu', 'max',
               '-accel', 'tcg', '-m', '512M', '-object', 'memory-backend-memfd,id=memory,size=512M,share=on', '-serial', 'stdio',
               '-device', 'isa-debug-exit,iobase=0xf4,iosize=4', *firmware,
               *devices.Devices([f'vfio-user:{path}']).arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors='replace', timeout=TIMEOUT)
    except subprocess.TimeoutExpired as late:
        return worlds.Result(None, (late.stdout or b'').decode(errors='replace'))
    return worlds.Result(done.returncode >> 1, done.stdout)  # isa-debug-exit ends QEMU with status << 1 | 1


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        qemu = judges.command()
        if not qemu:
            test.skip('firmware on the model', f'there is no newer QEMU: {judges.CURE}')
            return
        disc, disk, path = (os.path.join(folder, name) for name in ('disc.iso', 'disk', 'socket'))
        subprocess.run([os.path.join(ROOT, 'tools/image'), IMAGE, '-o', disc], check=True)
        for way, options in WAYS.items():
            for firmware, arguments in FIRMWARES.items():
                shutil.copy(disc, disk)
                os.chmod(disk, 0o666)
                with worlds.model(MODEL, 'nvme', path, '--backing', f'file:{disk}', '--serial', 'BOOTED', *options):
                    result = boot(qemu, path, arguments)
                worlds.passed(test, f'{way}: {firmware} boots from it, and the image finds it', result,
                              ['BOOTED', 'Namespace 1', '512 bytes a block  <- in use'])


if __name__ == '__main__':
    main()
