# SPDX-License-Identifier: BSD-2-Clause
"""One QEMU machine: started, listened to, and ended, whatever happens to the one who started it."""

import argparse
import ctypes
import errno
import fcntl
import json
import os
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

from . import Failure, Status, devices, judges, tool

QEMU = 'qemu-system-x86_64'
# What QEMU says although all is well. The last two are of the newer one: it still takes -mon, and its devices that are
# processes have no error interrupt.
HARMLESS = ('terminating on signal', 'Is another process using', "'-mon' is deprecated", 'Could not enable error recovery')
# What an image's status of 7 bits stands for where it is more: it was interrupted (SIGINT), it crashed (SIGABRT).
LONG_STATUSES = {125: 128 + signal.SIGINT, 126: 128 + signal.SIGABRT}

GRACE = 10  # seconds that a program has to end after it was asked to


# ---- arguments that both runners take ----

class Parser(tool.Parser):
    """Mistakes in the command line get what any other failure gets: one line, and a status that no program has."""

    def error(self, message):
        if 'unrecognized' in message and '--' not in sys.argv:
            message += ": write the program and its arguments behind a '--'"
        raise Failure(f'{message} (see {self.prog} --help)')


def add_arguments(parser):
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = devices.HELP + """

environment:
  CHALK_ACCEL       auto, kvm or tcg: the default of --accel
  XDG_CACHE_HOME    the folder that keeps the guest's kernel and discs, in chalk/ (default ~/.cache)

exit status: the program's; 124 at the time-out, 125 if it could not be run.
  Of an image's, 7 bits arrive: 0 to 123, 130 (interrupted), 134 (a crash, or a failed assertion); any other is 127"""
    parser.add_argument('--device', action='append', default=[], metavar='SPEC', help='see below; can be repeated')
    parser.add_argument('--memory', default='1G', metavar='SIZE', help='memory of the machine (default %(default)s)')
    parser.add_argument('--cores', type=int, metavar='N', help='processors of the machine (default 2; with --icount 1)')
    parser.add_argument('--timeout', type=float, default=120, metavar='SECONDS',
                        help='end the machine after this long (default %(default)s; 0: never)')
    parser.add_argument('--accel', choices=('auto', 'kvm', 'tcg'), default=os.environ.get('CHALK_ACCEL', 'auto'),
                        help='auto takes KVM where it works (default %(default)s)')
    parser.add_argument('--icount', action='store_true',
                        help='emulate: the time stamp counter ticks once for each instruction')
    parser.add_argument('--machine', default='q35', metavar='MACHINE', help="QEMU's -machine (default %(default)s)")
    parser.add_argument('--qemu', action='append', default=[], metavar='ARGUMENTS', help='more arguments for QEMU')
    parser.add_argument('--dry-run', action='store_true', help='print the QEMU command and do nothing')


def check_arguments(args):
    if not re.fullmatch(r'[1-9]\d*[MG]', args.memory):
        raise Failure(f'--memory {args.memory}: expected a size such as 512M or 2G')
    if args.cores is None:  # processors that take turns by counting instructions starve each other: Linux 6.1 hangs
        args.cores = 1 if args.icount else 2
    if not 1 <= args.cores <= 64:
        raise Failure(f'--cores {args.cores}: expected 1 to 64')
    if args.timeout < 0:
        raise Failure(f'--timeout {args.timeout}: expected seconds, or 0 for none')
    kind = args.machine.split(',')[0]
    if args.device and re.fullmatch(r'pc|isapc|pc-(?!q35).*', kind):
        raise Failure(f'--machine {kind}: has no PCI Express, where --device puts its devices: leave --machine out, which means q35')
    if args.accel not in ('auto', 'kvm', 'tcg'):  # argparse does not check a default that came from the environment
        raise Failure(f'CHALK_ACCEL={args.accel}: expected auto, kvm or tcg')
    if args.icount and args.accel == 'kvm':
        raise Failure('--icount counts emulated instructions: it needs --accel tcg')


def split_program(argv):
    """What stands before the first `--` is the runner's, the rest the program's."""
    where = argv.index('--') if '--' in argv else len(argv)
    return argv[:where], argv[where + 1:]


# ---- KVM ----

KVM_GET_API_VERSION, KVM_CREATE_VM, KVM_CHECK_EXTENSION, KVM_CAP_SPLIT_IRQCHIP = 0xAE00, 0xAE01, 0xAE03, 121


KVM_FAILED = ('KVM could not go on with the machine, often for want of VT-x or AMD-V in a machine that is virtual itself: '
              'use --accel tcg')


def kvm_trouble():
    """Why there is no KVM to use here, or None."""
    try:
        with open('/dev/kvm', 'rb+', buffering=0) as kvm:
            if fcntl.ioctl(kvm, KVM_GET_API_VERSION) != 12:
                return 'its interface is not version 12'
            os.close(fcntl.ioctl(kvm, KVM_CREATE_VM, 0))
            if fcntl.ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SPLIT_IRQCHIP) <= 0:
                return 'it has no split interrupt controller'
    except OSError as error:
        return f'/dev/kvm: {error.strerror}'
    return None


def processor_virtualizes():
    """A KVM that does without VT-x and AMD-V makes machines, but cannot run every instruction of theirs."""
    with open('/proc/cpuinfo') as file:
        return re.search(r'^flags\s*:.*\b(vmx|svm)\b', file.read(), re.MULTILINE) is not None


def choose_accel(args):
    if args.accel == 'tcg' or args.icount:
        return 'tcg'
    trouble = kvm_trouble()
    if args.accel == 'kvm':
        if trouble:
            raise Failure(f'--accel kvm: {trouble}: run as root or in group kvm, on a machine with virtualization, or '
                          'use --accel tcg')
        if not processor_virtualizes():
            raise Failure('--accel kvm: this processor has neither VT-x nor AMD-V (vmx or svm in /proc/cpuinfo), and a KVM '
                          'without them cannot run every instruction of a machine: use --accel tcg')
        return 'kvm'
    return 'kvm' if not trouble and processor_virtualizes() else 'tcg'


# ---- QEMU ----

def qemu(machine_devices):
    """The words that start it: this machine's own, or the newer one where a device needs that."""
    if machine_devices.processes:
        words = judges.command()
        if not words:
            raise Failure(f'a device that is a process needs a newer QEMU, with {judges.DEVICE}: {judges.CURE}')
        return words
    return [QEMU]


# ---- the machine ----

class Machine:
    """
    A QEMU process and the byte streams to it. QEMU starts stopped, and runs only when its monitor has answered:
    so its own failures to start (status 1) are never mistaken for a program's status.
    """

    def __init__(self, args, name, iommu=False, machine='', threads='multi'):
        check_arguments(args)
        self._args = args
        self._name = name
        self._channels = {}  # our end of a stream -> what takes its bytes
        self._theirs = {}    # descriptors that QEMU inherits
        self._selector = selectors.DefaultSelector()
        self._watched = {}   # descriptors that are not of the machine's -> what is called when they can be read
        self._process = None
        self._monitor_input = b''
        self._errors = b''
        self._kvm_failed = False
        self.asked_to_end = None  # how to ask the program to end, given a signal: a function, once that is possible
        self.shutdown_reason = None
        self._grace_ends = None
        self._signal = None

        accel = choose_accel(args)
        irqchip = 'split' if accel == 'kvm' else 'off'
        self.devices = devices.Devices(args.device)
        if self.devices.processes:  # which see the memory, by its descriptor
            machine += ',memory-backend=memory'
        self.command = [*qemu(self.devices), '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none',
                        '-machine', f'{args.machine},kernel-irqchip={irqchip}{machine}']
        if args.icount:  # a timer that is set through an x2APIC register confuses QEMU's count: it ends with "Bad icount read"
            self.command += ['-cpu', 'max,-x2apic', '-accel', 'tcg,thread=single', '-icount', 'shift=0,sleep=off']
        else:
            self.command += ['-cpu', 'max', '-accel', f'tcg,thread={threads}' if accel == 'tcg' else 'kvm']
        self.command += ['-smp', str(args.cores), '-m', args.memory]
        if self.devices.processes:
            self.command += ['-object', f'memory-backend-memfd,id=memory,size={args.memory},share=on']
        if iommu:  # before the devices that it is to translate for; QEMU tells other processes of what is mapped
            caching = ',caching-mode=on' if self.devices.processes else ''
            self.command += ['-device', f'intel-iommu,intremap=on{caching}']
        self.command += ['-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
        self.command += self.devices.arguments
        for more in args.qemu:
            self.command += shlex.split(more)

    def add_channel(self, name, sink, shown='/dev/stdout'):
        """A character device for the command line to use: what comes out of it goes to sink(bytes)."""
        if self._args.dry_run:
            self.command += ['-chardev', f'file,id={name},path={shown}']
            return None
        ours, theirs = socket.socketpair()
        self._theirs[name] = theirs
        self._channels[ours] = sink
        self.command += ['-chardev', f'socket,id={name},fd={theirs.fileno()}']
        return ours

    def watch(self, descriptor, readable):
        """Calls readable() whenever the descriptor can be read. False: it always can, as a file on a disk."""
        try:
            self._selector.register(descriptor, selectors.EVENT_READ)
        except PermissionError:
            return False
        self._watched[descriptor] = readable
        return True

    def unwatch(self, descriptor):
        if self._watched.pop(descriptor, None):
            self._selector.unregister(descriptor)

    def add_content(self, name, content):
        """A path under which QEMU, and nobody else, finds `content`. It leaves nothing behind, however we end."""
        if self._args.dry_run:
            return name.upper()
        descriptor = os.memfd_create(name)
        self._theirs[name] = os.fdopen(descriptor, 'wb')
        try:
            self._theirs[name].write(content)
            self._theirs[name].flush()
        except OSError as error:  # a limit of the size of files holds for memory like this, too
            cure = "'ulimit -f unlimited' before" if error.errno == errno.EFBIG else 'is there enough memory?'
            raise Failure(f'{len(content) >> 10} KiB for {name} of the machine cannot be kept in memory: {error.strerror}: {cure}')
        return f'/proc/self/fd/{descriptor}'

    def run(self, wait_for_debugger=False):
        """
        Runs the machine to its end. Returns the status that it wrote to isa-debug-exit, or None if it ended in another
        way (then shutdown_reason says how); raises Failure, or SystemExit at the time-out and when interrupted.
        """
        if not shutil.which(self.command[0]):
            raise Failure(f"{QEMU}: not installed: run tools/setup, or 'sudo apt-get install qemu-system-x86'")
        self._monitor = self.add_channel('monitor', self._take_monitor)
        self.command += ['-mon', 'chardev=monitor,mode=control', '-S']
        self._ready = False
        self._wait_for_debugger = wait_for_debugger
        wakeup, alarm = socket.socketpair()
        wakeup.setblocking(False), alarm.setblocking(False)
        handlers = {number: signal.signal(number, lambda *_: None)
                    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        previous = signal.set_wakeup_fd(alarm.fileno(), warn_on_full_buffer=False)
        try:
            self._start()
            self._selector.register(wakeup, selectors.EVENT_READ, lambda data: self._take_signal(data[0]))
            return self._listen()
        finally:
            self._end()
            signal.set_wakeup_fd(previous)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def quit(self):
        """Ends the machine in good order: its disks are flushed."""
        self._tell('quit')
        self._grace_ends = time.monotonic() + GRACE

    def _start(self):
        parent = os.getpid()
        libc = ctypes.CDLL(None)

        def die_with_parent():
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)

        errors = subprocess.PIPE
        # A session of its own: ^C at the terminal is for us, who first ask the program.
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
            pass_fds=[theirs.fileno() for theirs in self._theirs.values()], preexec_fn=die_with_parent)
        for theirs in self._theirs.values():
            theirs.close()
        for ours, sink in self._channels.items():
            self._selector.register(ours, selectors.EVENT_READ, sink)
        self._selector.register(self._process.stderr, selectors.EVENT_READ, self._take_errors)

    def _listen(self):
        began = time.monotonic()
        deadline = began + self._args.timeout if self._args.timeout else None
        open_streams = len(self._channels) + 1
        while open_streams:
            ends = [end for end in (deadline, self._grace_ends) if end]
            ready = self._selector.select(max(0, min(ends) - time.monotonic()) if ends else None)
            for key, _ in ready:
                if key.fd in self._watched:
                    self._watched[key.fd]()
                    continue
                try:
                    data = os.read(key.fd, 65536)
                except ConnectionResetError:
                    data = b''
                if not data:
                    self._selector.unregister(key.fileobj)
                    open_streams -= 1
                else:
                    key.data(data)
            now = time.monotonic()
            if self._grace_ends and now >= self._grace_ends:
                if self._signal:
                    say(self._name, f'the program did not end within {GRACE} s: killed')
                    raise SystemExit(128 + self._signal)
                break
            if deadline and now >= deadline:
                self._process.kill()
                say(self._name, f'no end after {self._args.timeout:g} s: killed (--timeout)')
                raise SystemExit(Status.TIMED_OUT)
        return self._status()

    def _status(self):
        if self._grace_ends and self._process.poll() is None:
            try:
                self._process.wait(max(0, self._grace_ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._process.kill()
        status = self._process.wait()
        if self._kvm_failed:
            raise Failure(KVM_FAILED)
        if not self._ready:
            raise Failure('QEMU did not start: it says why above')
        if status < 0 and not self._grace_ends:
            raise Failure(f'QEMU was ended by {signal.Signals(-status).name}')
        # isa-debug-exit ends QEMU with (value << 1) | 1: 7 bits (baremetal/x86_64/exit.c).
        status = status >> 1 if status > 0 and status & 1 else None
        return LONG_STATUSES.get(status, status)

    def _end(self):
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for ours in self._channels:
            ours.close()
        for theirs in self._theirs.values():
            theirs.close()
        self._selector.close()

    def _take_signal(self, number):
        """The first asks the program to end, if it can be asked; the second ends the machine."""
        name = signal.Signals(number).name
        if self.asked_to_end and not self._grace_ends:
            say(self._name, f'{name}: asking the program to end (again: at once)')
            self.asked_to_end(number)
            self._grace_ends = time.monotonic() + GRACE
            self._signal = number
            return
        self._process.kill()
        raise SystemExit(128 + number)

    def _tell(self, command):
        try:
            self._monitor.sendall(json.dumps({'execute': command}).encode() + b'\n')
        except OSError:
            pass  # QEMU has just ended: that is seen as the end of its streams

    def _take_monitor(self, data):
        *lines, self._monitor_input = (self._monitor_input + data).split(b'\n')
        for line in lines:
            message = json.loads(line)
            if 'QMP' in message:
                self._tell('qmp_capabilities')
            elif 'return' in message and not self._ready:
                self._ready = True
                if not self._wait_for_debugger:
                    self._tell('cont')
            elif message.get('event') == 'SHUTDOWN':
                self.shutdown_reason = message['data']['reason']
            elif message.get('event') == 'STOP' and not self._wait_for_debugger and not self.shutdown_reason:
                if ' kvm' in ' '.join(self.command):
                    raise Failure(KVM_FAILED)
                raise Failure('QEMU stopped the machine, after an error inside of it')

    def _take_errors(self, data):
        *lines, self._errors = (self._errors + data).split(b'\n')
        for line in lines:
            line = line.decode(errors='replace')
            if line.startswith('KVM internal error'):  # the processor's registers follow, which tell nobody anything
                self._kvm_failed = True
            if self._kvm_failed:
                continue
            if 'Failed to get "write" lock' in line:
                say(self._name, 'a disk is in use by another machine: wait for it, or give each its own copy')
            elif not any(harmless in line for harmless in HARMLESS):
                say(self._name, line)


say = tool.say


def write(descriptor, data):
    """All of it, at once: what a program says is seen when it says it."""
    while data:
        try:
            data = data[os.write(descriptor, data):]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(f'standard {"output" if descriptor == 1 else "error"} is not complete: {error.strerror}')


def main(name, body):
    """Runs body(argv), and turns what stands in the way into a message and an exit status."""
    def guarded():
        try:
            return body(sys.argv[1:])
        except Failure as failure:
            say(name, failure)
            return Status.FAILED

    for number in (signal.SIGTERM, signal.SIGHUP):  # what was begun is put away, as at ^C
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    tool.run(name, guarded, Status.FAILED)
