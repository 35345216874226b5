#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes a platform's archive, whose only global names are those of Chalk's interface.

    archive.py OUTPUT HEADERS [--also NAME] GROUP.a...

The files of a platform share functions and data with each other, under plain names that a program may have, too. So the
objects of each group are linked into one (ld -r), in which everything becomes local but what the headers of <chalk/...> name
and NAME. Local symbols stay in the symbol table, for debuggers and backtraces. Sections stay apart, for --gc-sections. A
program links those groups of which it needs a name.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile


def public_names(folder):
    """Each name in Chalk's own form that a header has: more than it declares, but nothing that it does not mention."""
    found = set()
    for path, _, files in os.walk(folder):
        for name in files:
            text = re.sub(r'/\*.*?\*/', '', open(os.path.join(path, name)).read(), flags=re.S)
            found.update(re.findall(r'\bchalk_\w+', text))
    return found


def run(*words):
    done = subprocess.run(words)
    if done.returncode:
        sys.exit(f'{" ".join(words)}: status {done.returncode}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('output')
    parser.add_argument('headers')
    parser.add_argument('--also', action='append', default=[], metavar='NAME')
    parser.add_argument('groups', nargs='+', metavar='GROUP')
    options = parser.parse_args()
    names = public_names(options.headers)
    if len(names) < 100:
        sys.exit(f'{options.headers}: only {len(names)} names; are these the headers?')
    with tempfile.TemporaryDirectory() as folder:
        keep = os.path.join(folder, 'keep')
        with open(keep, 'w') as file:
            file.write('\n'.join(sorted({*names, *options.also})) + '\n')
        objects = []
        for group in options.groups:
            name = os.path.basename(group).removeprefix('lib').removesuffix('.a') + '.o'
            objects.append(os.path.join(folder, name))
            run('ld', '-r', '--unique', '--whole-archive', group, '-o', objects[-1])
            run('objcopy', f'--keep-global-symbols={keep}', objects[-1])
        if os.path.exists(options.output):
            os.unlink(options.output)
        run('ar', 'crsD', options.output, *objects)


if __name__ == '__main__':
    main()
