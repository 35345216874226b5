#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What README shows is what there is: the program is examples/hello.c, the files that it names exist: readme_test.py ROOT"""
import os
import re
import sys

root = sys.argv[1]
readme = open(os.path.join(root, 'README.md')).read()
hello = open(os.path.join(root, 'examples/hello.c')).read()
listings = re.findall(r'```c\n(.*?)```', readme, re.S)
links = re.findall(r'\]\(([^)#:]+)\)', readme)
cases = [('the listing is examples/hello.c', listings == [hello[hello.index('#include'):]])]
cases += [(f'{link} is there', os.path.exists(os.path.join(root, link))) for link in links]
print(f'1..{len(cases)}')
for number, (name, holds) in enumerate(cases, 1):
    print(f'{"ok" if holds else "not ok"} {number} - {name}')
sys.exit(not all(holds for _, holds in cases))
