#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Does what docs/first-driver.md says, in a copy of the sources, and sees what it shows: tutorial.py

A comment in front of a listing says where it goes: <!-- FILE -->, or <!-- FILE, PLACE: TEXT --> with `before` or `after`
the line that begins with TEXT (a statement that goes on over further lines is whole), or `instead of` the function that
begins with it. A block without a language behind a command has lines that the command prints, in that order.
"""
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

PAGE = 'docs/first-driver.md'
BLOCK = re.compile(r'(?:<!-- (?P<file>[^,\n]+?)(?:, (?P<place>before|after|instead of): (?P<text>.+?))? -->\n)?'
                   r'```(?P<language>\w*)\n(?P<body>.*?)^```$', re.M | re.S)
DEADLINE = 300  # seconds for a block of commands


class Shell:
    """One bash for the whole page, as a reader would have."""

    def __init__(self, folder):
        self.process = subprocess.Popen(['bash'], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, commands):
        """Runs lines until one fails. Returns the status and what was printed; one in the background prints a line."""
        output = ''
        for command in commands:
            self.process.stdin.write(command.encode() + b'\necho "@@ $?"\n')
            self.process.stdin.flush()
            text, status = self.read(rb'^@@ (\d+)\n')
            if command.endswith('&'):
                text = text or self.read(rb'()\n')[0]
            output += text
            if status != '0':
                return False, output
        return True, output

    def read(self, mark):
        """What is printed up to the mark, and what the mark says; nothing if it does not come."""
        end, output = time.monotonic() + DEADLINE, b''
        while not (found := re.search(mark, output, re.M)):
            ready = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]
            more = os.read(self.process.stdout.fileno(), 65536) if ready else b''
            if not more:
                return output.decode(errors='replace'), None
            output += more
        return output[:found.start()].decode(errors='replace').replace('\r', ''), found[1].decode()

    def close(self):
        self.process.stdin.write(b'kill $(jobs -p) 2>&-\n')
        self.process.stdin.close()
        self.process.wait(timeout=30)


def place(lines, where, text, body):
    """The lines of a file with a listing put in."""
    found = [number for number, line in enumerate(lines) if line.startswith(text)]
    if len(found) != 1:
        raise ValueError(f'{len(found)} lines begin with {text!r}')
    start, end = found[0], found[0]
    if where == 'instead of':
        while lines[end] != '}\n':
            end += 1
        return lines[:start] + body + lines[end + 1:]
    if where == 'before':
        return lines[:start] + body + lines[start:]
    while text.startswith(' ') and lines[end].rstrip()[-1] not in ';,{':
        end += 1
    return lines[:end + 1] + body + lines[end + 1:]


def put(folder, block):
    path = os.path.join(folder, block['file'])
    body = block['body'].splitlines(keepends=True)
    if block['place']:
        with open(path, encoding='utf-8') as file:
            body = place(file.readlines(), block['place'], block['text'], body)
    with open(path, 'w', encoding='utf-8') as file:
        file.writelines(body)


def missing(lines, output):
    """The first of the lines that the output does not have, in this order."""
    at = 0
    for line in lines:
        at = output.find(line, at)
        if at < 0:
            return line
        at += len(line)
    return None


def walk(test, folder):
    shell = Shell(folder)
    output, commands = '', []
    with open(os.path.join(folder, PAGE), encoding='utf-8') as file:
        blocks = [match.groupdict() for match in BLOCK.finditer(file.read())]
    try:
        for block in blocks:
            if block['language'] == 'sh':
                commands = block['body'].splitlines()
                passed, output = shell.run(commands)
                if not test.result(passed, commands[-1], output):
                    return
            elif block['file']:
                put(folder, block)
            elif not block['language']:
                lacks = missing(block['body'].splitlines(), output)
                test.result(lacks is None, f'{commands[-1]}: prints what is shown', f'no {lacks!r} in:\n{output}')
    finally:
        shell.close()


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, 'chalk')
        shutil.copytree(worlds.ROOT, copy, ignore=shutil.ignore_patterns('build*', '.git', '__pycache__'))
        walk(test, copy)


if __name__ == '__main__':
    main()
