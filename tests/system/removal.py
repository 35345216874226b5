#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A disk is taken away under 32 requests: Linux wants it back, the button of its slot is pressed, or it is pulled out.
Every request ends, the program says why and ends with an error, and whoever took it is not kept waiting:
removal.py BUILD
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
DIRECT = '0000:00:03.0'
BEHIND = '0000:01:00.0'  # a root port
PERF = 'nvme-perf --pattern random --op read --depth 32 --seconds 60'
UNDER_WAY = 'measuring, 2 s'  # what it says then
NATIVE = '-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off'  # slots are the system's own to serve


def built(*names):
    return [os.path.join(BUILD, name) for name in names]


class Monitor:
    """QEMU's, by its machine protocol."""

    def __init__(self, path):
        deadline = time.monotonic() + 30
        self._socket = socket.socket(socket.AF_UNIX)
        while self._socket.connect_ex(path) != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        self._stream = self._socket.makefile('rw')
        self._answer()
        self.tell('qmp_capabilities')

    def _answer(self):
        while True:
            answer = json.loads(self._stream.readline())
            if 'event' not in answer:
                return answer

    def tell(self, command, **arguments):
        self._stream.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self._stream.flush()
        answer = self._answer()
        if 'error' in answer:
            raise RuntimeError(f'{command}: {answer["error"]}')
        return answer.get('return')

    def _port(self, form, port, value=None):
        """An access to an I/O port: `form` is b, h or w, for 1, 2 or 4 bytes."""
        if value is not None:
            return self.tell('human-monitor-command', **{'command-line': f'o/{form} {port:#x} {value:#x}'})
        answer = self.tell('human-monitor-command', **{'command-line': f'i/{form} {port:#x}'})
        return int(answer.split('=')[1], 16)

    def config(self, form, device, offset, value=None):
        """Configuration space of device `device` of bus 0, function 0 (PCI 3.0 3.2.2.3.2)."""
        self._port('w', 0xCF8, 0x80000000 | device << 11 | offset & 0xFC)
        return self._port(form, 0xCFC + offset % 4, value)


def press_button(monitor):
    monitor.tell('device_del', id='nvme0')


def pull_out(monitor):
    """A slot whose power is turned off lets go of what is in it, and tells nobody (PCIe 7.5.3.10)."""
    port = 3
    capability = monitor.config('b', port, 0x34)
    while monitor.config('b', port, capability) != 0x10:
        capability = monitor.config('b', port, capability + 1)
    control = monitor.config('h', port, capability + 0x18)
    monitor.config('h', port, capability + 0x18, control | 0x700)  # power off, indicator off


def machine(folder, runner, arguments, qemu, act):
    """Runs a machine, and does `act` when the program is under way."""
    path = os.path.join(folder, 'monitor')
    disk = worlds.disk(folder, 'disk.img', 512)
    command = [runner, '--timeout', '90', '--device', f'root-port:nvme:{disk}',
               '--qemu', f'-qmp unix:{path},server=on,wait=off {qemu}', *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors='replace') as run:
        monitor = Monitor(path)
        output = ''
        for line in run.stdout:
            output += line.replace('\r', '')
            if UNDER_WAY in line:
                act(monitor)
    return worlds.Result(run.returncode, output)


def linux(folder, script, qemu, act):
    with tempfile.NamedTemporaryFile('w', suffix='.sh') as file:
        file.write(script)
        file.flush()
        program, = built('nvme-perf')
        return machine(folder, worlds.VM, ['--file', program, '--script', file.name], qemu, act)


def wanted_back(test, folder):
    """By whoever writes to /sys: the write has to return, and the disk works again afterwards."""
    sys_devices = '/sys/bus/pci/devices'
    unbind = f'echo {DIRECT} >/sys/bus/pci/drivers/vfio-pci/unbind; echo "let go: $?"'
    end = 'wait $p; echo "status $?"'
    results = worlds.guest({
        'removed': f'{PERF} {DIRECT} & p=$!; sleep 4; echo 1 >{sys_devices}/{DIRECT}/remove; echo "let go: $?"; {end}; '
                   f'echo 1 >/sys/bus/pci/rescan; sleep 1; rebind vfio-pci {DIRECT}',
        'unbound, by interrupt': f'{PERF} --mode interrupt {DIRECT} & p=$!; sleep 4; {unbind}; {end}; rebind vfio-pci {DIRECT}',
        'unbound, two cores': f'{PERF} --cores 2 {DIRECT} & p=$!; sleep 4; {unbind}; {end}; rebind vfio-pci {DIRECT}',
        'unbound while it verifies': f'nvme-verify --overwrite {DIRECT} & p=$!; sleep 3; {unbind}; {end}; '
                                     f'rebind vfio-pci {DIRECT}',
        'afterwards': f'nvme-verify --overwrite --blocks 4096 {DIRECT}',
        'decoding off': f'decoding-off {DIRECT}',
    }, [f'nvme:{worlds.disk(folder, "disk.img", 512)}'], built('nvme-perf', 'nvme-verify', 'decoding-off'))
    for name in ('removed', 'unbound, by interrupt', 'unbound, two cores', 'unbound while it verifies'):
        worlds.passed(test, f'a disk that is {name}: the program ends with an error, Linux goes on', results[name],
                      [f'{DIRECT}: the system wants this device back', f'NVMe {DIRECT}: gone', 'let go: 0', 'status 1'])
    worlds.passed(test, 'and the disk works at once afterwards', results['afterwards'])
    worlds.passed(test, 'registers that answer with SIGBUS read as all ones, until the device is opened again',
                  results['decoding off'],
                  [f'round {round}: there before, gone after, and then no such device' for round in (1, 2)])


def taken_out(test, folder):
    """Out of its slot, which acts as the firmware's or as the system's own."""
    left = (f'echo "status $?"; i=0; while [ -e /sys/bus/pci/devices/{BEHIND} ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; '
            f'ls /sys/bus/pci/devices/{BEHIND} || echo "the slot is empty"')
    for slot, qemu in (("the firmware's", ''), ("the system's", NATIVE)):
        result = linux(folder, f'{PERF} {BEHIND}; {left}', qemu, press_button)
        worlds.passed(test, f'the button of the slot is pressed, {slot}', result,
                      [f'{BEHIND}: the system wants this device back', f'NVMe {BEHIND}: gone', 'status 1', 'the slot is empty'])
    # Linux, which has not noticed, would wait a minute for the function to answer to a reset.
    result = linux(folder, f'echo >/sys/bus/pci/devices/{BEHIND}/reset_method; {PERF} {BEHIND}; echo "status $?"', '', pull_out)
    worlds.passed(test, 'hosted: a disk is pulled out', result, [f'NVMe {BEHIND}: gone', 'status 1'])
    image, = built('nvme-perf.elf')
    result = machine(folder, worlds.METAL, ['--', image, *PERF.split()[1:], BEHIND], '', pull_out)
    test.result(result.status == 1 and f'NVMe {BEHIND}: gone' in result.output, 'bare: a disk is pulled out', f'{result}')


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        wanted_back(test, folder)
        taken_out(test, folder)


if __name__ == '__main__':
    main()
