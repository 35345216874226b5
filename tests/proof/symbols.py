#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Shows that an archive leaves a program all names but Chalk's: symbols.py HEADERS KIND=ARCHIVE...

Whatever is global in an archive collides with a function or variable of that name in a program. Of kind `portable` all
begin with chalk_ or nvme_: the archive is linked object by object, so what these share has such a name, too. Of kind
`platform` they are no more than the interface: each is a name that the headers of <chalk/...> have, or main() or the entry
of an image (lib/archive.py). So what is internal there can be called by nobody.
"""
import os
import re
import subprocess
import sys

PREFIXES = ('chalk_', 'nvme_')
ENTRIES = {'main', 'chalk_image_entry'}


def public_names(folder):
    found = set()
    for name in os.listdir(folder):
        text = re.sub(r'/\*.*?\*/', '', open(os.path.join(folder, name)).read(), flags=re.S)
        found.update(re.findall(r'\bchalk_\w+', text))
    return found


def global_names(archive):
    """{name} of all that it defines and others can refer to, weak ones included."""
    listing = subprocess.run(['nm', '-P', '--extern-only', '--defined-only', archive], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    return {line.split()[0] for line in listing.splitlines() if len(line.split()) >= 3}


def refused(kind, archive, public):
    """Its names that it must not have."""
    names = global_names(archive)
    if not names:
        sys.exit(f'{archive}: no names at all')
    if kind == 'portable':
        return names, {name for name in names if not name.startswith(PREFIXES)}
    return names, names - public - ENTRIES


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    public, failed = public_names(sys.argv[1]), False
    for word in sys.argv[2:]:
        kind, archive = word.split('=', 1)
        names, wrong = refused(kind, archive, public)
        for name in sorted(wrong):
            print(f'{archive}: {name} is global, and a program may have one of that name')
        if not wrong:
            print(f'{archive}: {len(names)} global names, {len(names & public)} of them public: all Chalk\'s')
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == '__main__':
    main()
