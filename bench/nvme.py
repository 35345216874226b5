# SPDX-License-Identifier: BSD-2-Clause
"""tools/bench nvme: random 4 KiB reads by Chalk and by Linux: one emulated device, one guest of one processor, all in turn.

The contenders are Chalk (nvme-perf, polled, by interrupt and adaptive) and the kernel's driver (fio with io_uring, by
interrupt and with poll queues). Prints a table for each queue depth, of medians; writes them, with every round, and a
chart beside them where gnuplot is installed. Figures are of an emulated device: compare them with each other only.

On a busy machine any round may be disturbed, so that it is far off. A target is met or missed, therefore, if enough rounds
say so (a sign test): each compares runs a few seconds apart, and it does not matter by how much it is off. What the driver
executes for a request is counted besides, by valgrind where that is installed, and does not depend on anything.
"""
import json
import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

from bench import progress

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = 'bench/nvme/bench-nvme'
TARGETS = ['nvme-perf', 'nvme-perf.elf', PROGRAM]
ADDRESS = '0000:00:03.0'
DEPTHS = [1, 32]
ROUNDS = 11  # at most: each takes more than a minute
DISK_MIB = 64
SECONDS = 5   # a run
WINDOW = 2    # seconds of it in which the processor is watched
COUNTED = 4000  # requests of the runs in which doorbells, interrupts and instructions are counted
TARGET = 1.3  # Chalk's IOPS over the kernel's
DOUBT = 0.05  # how often rounds that know nothing may seem to agree

# In the guest: `measure NAME DEPTH COMMAND...` prints what the command prints, between lines that begin with @@. Before
# them stands how long the processor was busy and idle. It is watched once requests are under way, and the run has to
# outlast that: starting fio alone takes a second, and many on a machine that does other things as well. A run that was
# starved, and has ended by then, is made again.
SCRIPT = r"""
modprobe nvme poll_queues=1
processor() { awk '/^cpu /{print $2 + $3 + $4 + $7 + $8, $5 + $6}' /proc/stat; }
interrupts() { awk '/nvme[0-9]+q[1-9]/{n += $2} END {print n + 0}' /proc/interrupts; }
reads() { awk '{print $1}' /sys/block/nvme0n1/stat; }
under_way() {
    case $name in
    chalk*) grep -q measuring /tmp/err ;;
    *) [ "$(reads)" -gt $((first + 10)) ] && sleep 1 ;; # fio's ramp
    esac
}
attempt() {
    name=$1 depth=$2 first=$(reads 2>/dev/null) i=$(interrupts); shift 2
    "$@" >/tmp/out 2>/tmp/err & p=$!
    if [ -n "$watch" ]; then
        until under_way; do kill -0 $p || return; usleep 50000; done
        a=$(processor); sleep %d; b=$(processor)
        kill -0 $p || return
    fi
    wait $p || { cat /tmp/err; echo "$*: failed"; exit 1; }
    echo "@@ run $name $depth $a $b $i $(interrupts)"; cat /tmp/out; echo "@@ end"
}
measure() {
    attempt "$@" || attempt "$@" || attempt "$@" || { cat /tmp/err; echo "$*: ended three times before it had been watched"; exit 1; }
}
""" % WINDOW


def chalk(depth, *options):
    return ['nvme-perf', '--json', '--pattern', 'random', '--op', 'read', '--size', '4096', '--depth', str(depth), *options, ADDRESS]


def fio(depth, *options):
    """With what makes io_uring fast: registered file and buffers, and as many requests a system call as there are."""
    return ['fio', '--name=read', '--filename=/dev/nvme0n1', '--ioengine=io_uring', '--direct=1', '--rw=randread', '--bs=4k',
            f'--iodepth={depth}', f'--iodepth_batch_submit={depth}', f'--iodepth_batch_complete_max={depth}',
            '--registerfiles=1', '--fixedbufs=1', '--norandommap', '--lat_percentiles=1', '--output-format=json', *options]


CONTENDERS = {  # name: (driver, command of a depth and options)
    'chalk-polled': ('vfio-pci', chalk),
    'chalk-interrupt': ('vfio-pci', lambda depth, *options: chalk(depth, '--mode', 'interrupt', *options)),
    'chalk-adaptive': ('vfio-pci', lambda depth, *options: chalk(depth, '--mode', 'adaptive', *options)),
    'io_uring': ('kernel', fio),
    'io_uring-polled': ('kernel', lambda depth, *options: fio(depth, '--hipri', *options)),
}
OURS = [name for name in CONTENDERS if name.startswith('chalk')]
PEERS = [name for name in CONTENDERS if name not in OURS]


def say(text):
    print(text, flush=True)


def run(command, what, **steps):
    done = progress.run(command, what, **steps)
    if done.returncode:
        sys.exit(f'{shlex.join(command)}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return done.stdout


class Bench:
    def __init__(self, build, folder, depths):
        self.build = build
        self.folder = folder
        self.depths = depths
        self.device = f'nvme:{os.path.join(folder, "disk.img")}'
        with open(os.path.join(folder, 'disk.img'), 'wb') as disk:
            for _ in range(DISK_MIB):  # nothing is read from a hole
                disk.write(os.urandom(1 << 20))

    def guest(self, what, lines, *options):
        lines = list(lines)
        path = os.path.join(self.folder, 'script')
        with open(path, 'w') as file:
            file.write(SCRIPT + '\n'.join(lines) + '\n')
        return run([os.path.join(ROOT, 'tools/vm'), '--timeout', str(120 + 30 * len(lines)), '--cores', '1',
                    '--device', self.device, '--with', 'fio', '--file', os.path.join(self.build, 'nvme-perf'),
                    '--script', path, *options], what, mark='@@ run ', total=sum(line.startswith('measure ') for line in lines))

    def lines(self, rounds, ours, theirs):
        """The script of `rounds` rounds; the arguments are the options that end a run."""
        for _ in range(rounds):
            for depth in self.depths:
                for name, (driver, command) in CONTENDERS.items():
                    yield f'rebind {driver} {ADDRESS} || exit'
                    yield shlex.join(['measure', name, str(depth), *command(depth, *(ours if name in OURS else theirs))])

    @staticmethod
    def runs(text):
        """(name, depth), what was watched, and what the program told, of each run."""
        for name, depth, watched, output in re.findall(r'@@ run (\S+) (\d+) ([^\n]*)\n(.*?)@@ end', text, re.S):
            yield (name, int(depth)), [float(number) for number in watched.split()], json.loads(output)

    def measure(self, rounds):
        """{(name, depth): [figures of a round]}"""
        seen = {}
        for key, (*processor, _, _), told in self.runs(self.guest('measuring in a guest', ['watch=1', *self.lines(
                rounds, ['--warmup', '--seconds', str(SECONDS)], ['--time_based', '--ramp_time=500ms', f'--runtime={SECONDS}'])])):
            seen.setdefault(key, []).append(figures(key[0], processor, told))
        return seen

    def count(self):
        """
        {(name, depth): doorbells and interrupts a request}. Doorbells are counted by the device, which also says when it is
        started: by the firmware, then by each run.
        """
        path = os.path.join(self.folder, 'trace')
        text = self.guest('counting doorbells and interrupts in a guest', self.lines(1, ['--count', str(COUNTED)], [f'--number_ios={COUNTED}']),
                          '--qemu', f'-trace pci_nvme_mmio_start_success -trace pci_nvme_mmio_doorbell_* -D {path}')
        with open(path) as file:
            _, _, *starts = re.split(r'^.*pci_nvme_mmio_start_success.*$', file.read(), flags=re.M)
        runs = list(self.runs(text))
        if len(starts) != len(runs):
            sys.exit(f'{len(runs)} runs started the device {len(starts)} times')
        return {key: {'doorbells': len(re.findall(r'doorbell_[sc]q [sc]qid [1-9]', start)) / COUNTED,
                      'interrupts': told['interrupts_per_io'] if key[0] in OURS else (after - before) / COUNTED}
                for start, (key, (before, after), told) in zip(starts, runs)}

    def instructions(self):
        """What submitting and reaping one request of 32 takes, in both worlds."""
        command = chalk(32, '--count', str(COUNTED), '--ticks-are-instructions')
        found = {}
        for world, tool, program in (('hosted', 'vm', command[0]), ('bare', 'metal', command[0] + '.elf')):
            text = run([os.path.join(ROOT, 'tools', tool), '--timeout', '300', '--icount', '--device', self.device, '--',
                        os.path.join(self.build, program), *command[1:]], f'counting instructions, {world}')
            told = json.loads(text[text.index('{'):])
            found[world] = {'submit': told['submit_ticks']['median'], 'reap': told['reap_ticks']['median']}
        return found


def figures(name, processor, told):
    busy_before, idle_before, busy_after, idle_after = processor
    busy = (busy_after - busy_before) / (busy_after - busy_before + idle_after - idle_before)
    if name in OURS:
        iops, p50, p99 = told['iops'], told['latency_ns']['p50'], told['latency_ns']['p99']
    else:
        read = told['jobs'][0]['read']
        iops, p50, p99 = read['iops'], read['lat_ns']['percentile']['50.000000'], read['lat_ns']['percentile']['99.000000']
    return {'iops': iops, 'p50_us': p50 / 1000, 'p99_us': p99 / 1000, 'cpu_us': busy / iops * 1e6}


def summarize(depths, seen, counts):
    """A row for each contender and depth: medians, and what Chalk's IOPS are of each peer's in the same round."""
    for depth in depths:
        for name in CONTENDERS:
            rounds = seen[name, depth]
            row = {'contender': name, 'depth': depth, **counts[name, depth], 'rounds': rounds}
            row |= {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
            if name in OURS:
                row['over'] = {peer: over(rounds, seen[peer, depth]) for peer in PEERS}
            yield row


def over(ours, theirs):
    ratios = [our['iops'] / their['iops'] for our, their in zip(ours, theirs)]
    return {'median': statistics.median(ratios), 'least': min(ratios), 'most': max(ratios), **verdict(ratios)}


def certain(agree, rounds):
    """Whether it is no accident that so many agree: a coin would seldom fall so often on one side."""
    return sum(math.comb(rounds, k) for k in range(agree, rounds + 1)) <= DOUBT * 2 ** rounds


def verdict(ratios):
    """`met` is None while the rounds disagree; `wanted` rounds would do, if no more of them did."""
    rounds, above = len(ratios), sum(ratio >= TARGET for ratio in ratios)
    dissent = min(above, rounds - above)
    met = above > dissent if certain(rounds - dissent, rounds) else None
    wanted = next(n for n in range(rounds, 1000) if certain(n - dissent, n))
    return {'target': TARGET, 'met': met, 'agree': above, 'rounds': rounds, 'wanted': wanted}


def say_verdict(ratio):
    word = {True: 'met', False: 'NOT met', None: 'undecided'}[ratio['met']]
    more = f'; {ratio["wanted"]} rounds might tell' if ratio['met'] is None else ''
    return f', target {ratio["target"]}: {word}, by {ratio["agree"]} of {ratio["rounds"]} rounds{more}'


def show(rows, depths, instructions):
    for depth in depths:
        say(f'\nrandom 4 KiB reads, depth {depth}, emulated device')
        say(f'{"":16}{"IOPS":>8}{"p50, us":>9}{"p99, us":>9}{"CPU, us":>9}{"doorbells":>11}{"interrupts":>12}')
        shown = [row for row in rows if row['depth'] == depth]
        for row in shown:
            say(f'{row["contender"]:16}{row["iops"]:8.0f}{row["p50_us"]:9.1f}{row["p99_us"]:9.1f}{row["cpu_us"]:9.1f}'
                f'{row["doorbells"]:11.3f}{row["interrupts"]:12.3f}')
        for row in shown:
            for peer, ratio in row.get('over', {}).items():
                say(f'IOPS of {row["contender"]} over {peer}: {ratio["median"]:.2f} '
                    f'({ratio["least"]:.2f} to {ratio["most"]:.2f}){say_verdict(ratio) if peer == PEERS[0] else ""}')
    say('\nCPU, doorbells and interrupts are a request\'s; in brackets, the rounds that were the farthest off')
    for world, count in instructions.items():
        say(f'instructions a request, {world}: {count["submit"]} to submit, {count["reap"]} to reap')


def count_executed(build, folder):
    """The rows of bench/nvme/count.py, which prints them; none without valgrind."""
    if not shutil.which('valgrind'):
        say("not counted without valgrind: 'apt install valgrind'")
        return []
    path = os.path.join(folder, 'count.json')
    say('\n' + run([sys.executable, os.path.join(ROOT, 'bench/nvme/count.py'), os.path.join(build, PROGRAM), '--json', path],
                   'counting what the hot path executes, by valgrind').rstrip())
    with open(path) as file:
        return json.load(file)


def conclude(rows, executed):
    met = [row['over'][PEERS[0]]['met'] for row in rows if 'over' in row] + [met for row in executed for met in row['met'].values()]
    say(f'\n{met.count(False)} of {len(met)} targets missed, {met.count(None)} undecided')


def draw(rows, depths, path):
    if not shutil.which('gnuplot'):
        say("no chart: 'apt install gnuplot-nox' draws one")
        return
    data = '\n'.join(' '.join([f'"{name}"', *(str(row['iops']) for row in rows if row['contender'] == name)])
                     for name in CONTENDERS)
    titles = ', '.join(f'$data using {column}:xtic(1) title "depth {depth}"' for column, depth in enumerate(depths, 2))
    script = (f'set terminal svg noenhanced size 720,400\nset output "{path}"\n$data << EOD\n{data}\nEOD\nset style data histogram\n'
              'set style fill solid 0.8\nset yrange [0:*]\nset ylabel "IOPS"\nset key top left\n'
              f'set title "Random 4 KiB reads of an emulated device"\nplot {titles}\n')
    subprocess.run(['gnuplot'], input=script, text=True, check=True)
    say(f'chart: {path}')


def measure(options):
    rounds = min(options.repetitions, ROUNDS)
    with tempfile.TemporaryDirectory(prefix='chalk-bench-') as folder:
        bench = Bench(options.build, folder, DEPTHS)
        say(f'{rounds * len(DEPTHS) * len(CONTENDERS)} runs of {SECONDS} s in one guest, then two that count')
        seen = bench.measure(rounds)
        rows = list(summarize(DEPTHS, seen, bench.count()))
        instructions = bench.instructions()
        show(rows, DEPTHS, instructions)
        executed = count_executed(options.build, folder)
    conclude(rows, executed)
    with open(options.json, 'w') as file:
        json.dump({'device': 'emulated', 'rows': rows, 'instructions': instructions, 'executed': executed}, file, indent=1)
    draw(rows, DEPTHS, os.path.splitext(options.json)[0] + '.svg')
