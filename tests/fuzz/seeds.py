#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the fuzz tests begin with: kept inputs (NAME.corpus, hexadecimal, one a line), and recordings as inputs.

    seeds.py NAME FOLDER     writes those of one fuzz test, a file each
"""
import hashlib
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

PATIENT_RAW = 16 << 3 | 1  # enum answer, in answers.h, with one answer; n << 3 more, with n more
MOST = 16  # answers
SMALL = 8  # bytes: longer answers are {zeroes, so many, that many bytes}
DATA = '512'  # bytes that nvme-verify observes, and no driver does

# The steps of driver_nvme_fuzz.c that are a program's.
OPEN_QUEUE, SUBMIT, DRAIN, LOOK = 0, 2, 4, 7
RECORDINGS = {  # fuzz test: recordings, and what comes before their answers
    'driver-edu': [('edu', [0])],
    'driver-nvme': [
        ('nvme-identify', [0, 0, 0, 1, LOOK, 7]),
        ('nvme-verify', [0, 0, 0, 8, LOOK, 0, OPEN_QUEUE, 0, SUBMIT, 9, DRAIN, 0, SUBMIT, 2, DRAIN, 0, SUBMIT, 8, DRAIN, 0]),
    ],
}


def parse(text):
    """The bytes of a recording's hexadecimal digits, where -n- are n zeroes."""
    return b''.join(bytes(int(zeroes)) if zeroes else bytes.fromhex(digits)
                    for zeroes, digits in re.findall(r'-(\d+)-|([0-9a-f]+)', text))


def encode(answer):
    """The bytes of one answer, as answers.c reads them."""
    if len(answer) <= SMALL:
        return answer
    begin = answer.rstrip(b'\0')
    coded = b''.join(bytes([len(zeroes), len(rest)]) + rest
                     for zeroes, rest in re.findall(rb'(\x00{0,255})([^\x00]{0,255})', begin) if zeroes or rest)
    return coded + (b'\0\0' if len(begin) < len(answer) else b'')


def recording(name):
    """
    What a recording's device answered, as an input. A step that was repeated, with the same answer, is in it once; so
    answers to one step are kept together, and what follows waits for another.
    """
    runs, last = [], None  # answers to the same step
    with open(os.path.join(HERE, '../record', name + '.recording'), encoding='ascii') as file:
        for line in file:
            match = re.match(r'((?:read \d|config read|observe) \w+/(\d+)) = (\S+)', line)
            if not match or match[2] == DATA:
                continue
            step, size, value = match[1], int(match[2]), match[3]
            answer = encode(int(value, 0).to_bytes(size, 'little') if size <= SMALL else parse(value))
            if step != last or len(runs[-1]) == MOST:
                runs.append([])
            runs[-1].append(answer)
            last = step
    return b''.join(bytes([PATIENT_RAW + (len(run) - 1 << 3)]) + b''.join(run) for run in runs)


def corpus_file(name):
    return os.path.join(HERE, name + '.corpus')


def seeds(name):
    inputs = [bytes(before) + recording(kept) for kept, before in RECORDINGS.get(name, [])]
    if os.path.exists(corpus_file(name)):
        with open(corpus_file(name), encoding='ascii') as file:
            inputs += [bytes.fromhex(line) for line in file if not line.startswith('#')]
    return inputs


def write(name, folder):
    os.makedirs(folder, exist_ok=True)
    for content in seeds(name):
        with open(os.path.join(folder, hashlib.sha1(content).hexdigest()), 'wb') as file:
            file.write(content)


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(sys.argv[1], sys.argv[2])
