# SPDX-License-Identifier: BSD-2-Clause
"""Puts bugs into sources, one at a time, to see that tests find them."""
import os
import sys


def main(bugs, finder):
    """
    Of {name: (source, what is right, what is not)}: NAME ROOT OUTPUT writes a source with one; --names lists them, each
    with what is to find it and its source.
    """
    if sys.argv[1] == '--names':
        print('\n'.join(f'{bug} {finder(bug)} {bugs[bug][0]}' for bug in bugs))
        return
    name, root, output = sys.argv[1:]
    source, right, wrong = bugs[name]
    with open(os.path.join(root, source), encoding='utf-8') as file:
        text = file.read()
    if text.count(right) != 1:
        sys.exit(f'bugs.py: {name}: {source} has not once:\n{right}')
    with open(output, 'w', encoding='utf-8') as file:
        file.write(text.replace(right, wrong))
