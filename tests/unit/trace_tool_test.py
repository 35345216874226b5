#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""tools/trace: what it makes of logs, good, damaged and hostile.

    trace_tool_test.py TOOLS_TRACE
"""
import base64
import json
import os
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests'))
import worlds  # noqa: E402
from tap import Tap  # noqa: E402

MARK, BEGIN, END, RUN, PARK, SLEEP, WAKE, INTERRUPT, READ, WRITE, FLUSH, COMPLETE = \
    1, 2, 3, 16, 17, 18, 19, 32, 48, 49, 50, 51

# What chalk_trace_write() wrote in trace_test.c: the same text is there.
FIVE = '''\
chalk-trace: ring 3 1000000000 0 0
chalk-trace: 8gMAAAAAAAABAAMABwAAAAAAAAAAAAAAAAAAAAAAAAD8AwAAAAAAADAAAwAIAAAAABAAAAAAAABAAAAAAAAAAAYEAAAAAAAAMwADAPv///8AEAAAAAAAAIECAAAAAAAA
chalk-trace: EAQAAAAAAAASAAMAAAAAAAAAAAAAAAAAAAAAAAAAAAAaBAAAAAAAABMAAwAAAAAAAAAAAAAAAAAAAAAAAAAAAA==
chalk-trace: end 3 5 0 966e0bd3
'''


def crc(data):
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return worlds.crc32c(file.name)


def ring(core, records, clock='1000000000 0 0', lost=0):
    """The lines of one ring; a record is (ticks, kind, number, value, other)."""
    packed = [struct.pack('<QHHIQQ', ticks, kind, core, number, value, other)
              for ticks, kind, number, value, other in records]
    lines = [f'ring {core} {clock}']
    lines += [base64.b64encode(b''.join(packed[i:i + 3])).decode() for i in range(0, len(packed), 3)]
    lines += [f'end {core} {len(packed)} {lost} {crc(b"".join(packed)):08x}']
    return ''.join(f'chalk-trace: {line}\n' for line in lines)


def text(name):
    """The two words of a record that have a task's name."""
    return struct.unpack('<QQ', name.encode().ljust(16, b'\0'))


class Tool:
    def __init__(self, tap, folder):
        self.tap, self.folder = tap, folder

    def run(self, *logs, options=()):
        """Converts logs, given as text or bytes: (status, JSON or None, what it said)."""
        paths = []
        for i, log in enumerate(logs):
            paths.append(os.path.join(self.folder, f'log{i}'))
            with open(paths[-1], 'wb') as file:
                file.write(log if isinstance(log, bytes) else log.encode())
        run = subprocess.run([sys.argv[1], *options, *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, timeout=60)
        return run.returncode, json.loads(run.stdout) if run.stdout else None, run.stderr

    def good(self, name, *logs, options=()):
        """A conversion that succeeds, and gives what a viewer needs: its events, without names of tracks."""
        status, trace, said = self.run(*logs, options=options)
        wrong = list(faults(trace)) if status == 0 and trace else [f'status {status}: {said}']
        self.tap.result(not wrong, f'{name}: a valid trace', '\n'.join(wrong))
        return [event for event in (trace or {}).get('traceEvents', []) if event['ph'] != 'M']

    def bad(self, name, log, message):
        """A log that is refused, in plain words that have `message` in them."""
        status, trace, said = self.run(log)
        self.tap.result(status == 1 and trace is None and message in said and 'Traceback' not in said,
                        f'{name}: refused', f'status {status}, no {message!r} in:\n{said}')


def faults(trace):
    """What is wrong with a trace, by the rules of the Trace Event Format."""
    begun = {}
    for event in trace['traceEvents']:
        for field, kind in (('ph', str), ('name', str), ('pid', int), ('tid', int), ('ts', (int, float))):
            if not isinstance(event.get(field), kind):
                yield f'no {field} in {event}'
        if event['ts'] < 0 or event['ph'] not in 'MXibe':
            yield f'wrong: {event}'
        if event['ph'] == 'X' and not event.get('dur', -1) >= 0:
            yield f'no duration: {event}'
        if event['ph'] == 'i' and event.get('s') != 't':
            yield f'no scope: {event}'
        if event['ph'] == 'b':
            if event['id'] in begun:
                yield f'begins twice: {event}'
            begun[event['id']] = event
        if event['ph'] == 'e':
            begin = begun.pop(event['id'], None)
            if begin is None or any(begin[key] != event[key] for key in ('cat', 'name', 'pid')):
                yield f'ends what has not begun: {event}'
    for event in begun.values():
        yield f'never ends: {event}'


def good_logs(tool):
    tap = tool.tap
    events = tool.good('what the library wrote', FIVE)
    tap.equal([(event['ph'], event['name'], event['ts']) for event in events],
              [('i', 'mark 7', 0), ('b', 'read', 0.01), ('e', 'read', 0.02), ('X', 'sleep', 0.03)],
              'it has a mark, a request and a sleep')
    tap.equal([events[1].get('args'), events[2].get('args')],
              [{'lba': 64, 'blocks': 8}, {'error': -5, 'status': 0x281}], 'with the request and its error')
    tap.equal(events[3].get('dur'), 0.01, 'and the time slept')

    lines = FIVE.splitlines()
    noisy = '\r\n'.join([b'\xff\x00\x1b[2J'.decode('latin1'), 'boot', '[  1.0] ' + lines[0], 'hello', *lines[1:3],
                         'chalk: a message', 'prompt> ' + lines[3], '{}'])
    tap.equal(tool.good('among other output', noisy), events, 'it is the same trace')

    two = ring(0, [(5, MARK, 1, 0, 0)]) + ring(1, [(9, MARK, 2, 0, 0)])
    tap.equal([(e['tid'], e['pid'], e['ts']) for e in tool.good('two cores', two)], [(0, 1, 0), (1, 1, 0.004)],
              'are threads of one process')
    mixed = [line for pair in zip(ring(0, [(5, MARK, 1, 0, 0)]).splitlines(),
                                  ring(1, [(9, MARK, 2, 0, 0)]).splitlines()) for line in pair]
    tap.equal(len(tool.good('two cores that write at once', '\n'.join(mixed))), 2, 'both are there')
    tap.equal([(e['pid'], e['ts']) for e in tool.good('two runs in a log', two + two)],
              [(1, 0), (1, 0.004), (2, 0), (2, 0.004)], 'are two processes, each from 0')
    tap.equal([e['pid'] for e in tool.good('two logs', two, FIVE)], [1, 1, 2, 2, 2, 2], 'are two processes')

    early = ring(0, [(2000, MARK, 1, 0, 0)], '1000000000 1700000000000000000 1000')
    late = ring(0, [(10, MARK, 1, 0, 0)], '1000000 1700000000000001000 8')
    tap.equal([e['ts'] for e in tool.good('runs that know the time', early, late)], [0, 2], 'lie beside each other')

    tap.equal([e['name'] for e in tool.good('names', ring(0, [(1, MARK, 7, 0, 0), (2, BEGIN, 8, 0, 0), (3, END, 8, 0, 0),
                                                            (4, MARK, 9, 0, 0)]),
                                            options=['--name', '7=seven', '--name', '8=a=b "quoted"'])],
              ['seven', 'a=b "quoted"', 'mark 9'], 'are as given')
    events = tool.good('tasks', ring(0, [(1, RUN, 1, *text('reader')), (2, PARK, 1, 1, 0), (2, RUN, 2, *text('x' * 16)),
                                         (4, PARK, 2, 2, 0)]))
    tap.equal([(e['name'], e['dur'], e['args']) for e in events],
              [('task reader', 0.001, {'number': 1, 'then': 'waiting'}),
               ('task ' + 'x' * 16, 0.002, {'number': 2, 'then': 'ended'})], 'have names, and an end')
    tap.equal(tool.good('an empty ring', ring(0, [])), [], 'is an empty trace')

    status, trace, _ = tool.run(ring(0, [(1, MARK, 1, 0, 0)], lost=12))
    tap.contains(json.dumps(trace), 'core 0, 12 records lost before', 'what was lost is told')


def what_has_no_partner(tool):
    records = [(1, COMPLETE, 0, 0x10, 0), (2, END, 4, 0, 0), (3, WAKE, 0, 0, 0), (4, READ, 1, 0x20, 0),
               (5, READ, 1, 0x20, 1), (6, BEGIN, 1, 0, 0), (7, BEGIN, 2, 0, 0), (8, END, 1, 0, 0),
               (9, COMPLETE, 0, 0x20, 0), (10, WRITE, 1, 0x30, 0), (11, RUN, 1, 0x9941, 0), (12, 777, 1, 2, 3),
               (13, INTERRUPT, 2, 5, 0), (14, PARK, 9, 0, 0)]
    events = tool.good('ends without begins, begins without ends', ring(0, records))
    tool.tap.equal([(e['ph'], e['name']) for e in events], [
        ('i', 'complete'), ('i', 'end of section 4'), ('i', 'end of sleep'), ('i', 'read, not complete'),
        ('b', 'read'), ('X', 'section 1'), ('X', 'section 2'), ('e', 'read'), ('i', 'write, not complete'),
        ('i', r'task A\x99'), ('i', 'kind 777'), ('i', 'interrupt'), ('i', 'end of task 9')], 'are instants')


def bad_logs(tool):
    lines = FIVE.splitlines(keepends=True)
    one = ring(0, [(1, MARK, 1, 0, 0)])
    tool.bad('an empty log', '', 'no trace in it')
    tool.bad('a log without a trace', 'hello\n' * 1000, 'was the program run with --trace?')
    tool.bad('a log that stops', ''.join(lines[:3]), 'log0:1: the ring of core 3 has no end')
    tool.bad('a log that stops in a line', FIVE[:120], 'log0:2: not a line of a trace')
    tool.bad('a line that is missing', lines[0] + ''.join(lines[2:]), 'has 2 records here, and had 5')
    tool.bad('no ring line', ''.join(lines[1:]), 'log0:1: a record of core 3, whose ring has not begun')
    tool.bad('an end alone', lines[3], 'the end of core 3, whose ring has not begun')
    tool.bad('a byte that changed', FIVE.replace('ABwAAAA', 'ABwAAAB'), 'are not those that were written')
    tool.bad('other output in a line', FIVE.replace('ABwAAAA', 'ABwA chalk: hello AAA'), 'mixed with other output')
    tool.bad('time that goes back', ring(0, [(5, MARK, 1, 0, 0), (4, MARK, 1, 0, 0)]), 'time goes back')
    tool.bad('a ring that begins twice', one.splitlines()[0] + '\n' + one, 'begins again at')
    for what, line in {
            'no such core': 'ring 99999 1000 0 0', 'a clock of 0 Hz': 'ring 0 0 0 0', 'a number of 20 digits':
            'ring 0 99999999999999999999 0 0', 'a negative number': 'ring 0 -1 0 0', 'a count in letters':
            'end 0 x 0 00000000', 'half of a record': 'AAAA', 'a long line': 'A' * 5000, 'nothing': '',
            'bytes that are no text': '\xe9\x00', 'digits of another script': 'ring \u0663 1000 0 0'}.items():
        tool.bad(what, f'chalk-trace: {line}\n', 'log0:1: ')
    tool.bad('a line of 10 MB', 'x' * 10_000_000, 'no trace in it')
    tool.bad('a thousand bad lines', 'chalk-trace: ?\n' * 1000, 'complaints: 1001')

    tap = tool.tap
    events = tool.good('what is whole of a log that stops', ''.join(lines[:2]), options=['--partial'])
    tap.equal(len(events), 3, 'is converted when asked')
    status, trace, said = tool.run('hello\n', options=['--partial'])
    tap.result(status == 1 and trace is None, 'nothing at all is refused all the same', said)
    for name in ('x=1', '1', '=', '1='):
        status, _, said = tool.run(FIVE, options=['--name', name])
        tap.result(status == 2 and 'NUMBER=TEXT' in said, f'--name {name}: refused', said)
    for arguments, message in ((['/nowhere/log'], 'No such file'), (['/'], 'directory'),
                               (['-o', '/nowhere/out', os.path.join(tool.folder, 'log0')], '/nowhere/out: No such')):
        run = subprocess.run([sys.argv[1], *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        tap.result(run.returncode == 1 and message in run.stdout and 'Traceback' not in run.stdout,
                   f'{arguments[-1] if arguments[0] != "-o" else "-o"}: said plainly', run.stdout)


def main():
    with Tap() as tap, tempfile.TemporaryDirectory() as folder:
        tool = Tool(tap, folder)
        good_logs(tool)
        what_has_no_partner(tool)
        bad_logs(tool)


if __name__ == '__main__':
    main()
