#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What nvme-identify says is what nvme-cli says of the same device in the same boot, field by field: identify.py BUILD"""
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
import worlds  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
NVME = '0000:00:03.0'
NAMESPACES = (1, 2)
OWN = ('address', 'controller_memory', 'max_transfer', 'page_size', 'queue_entries')  # that nvme-cli does not report


def theirs(results):
    """nvme-cli's answers in the shape of ours. Its strings are padded, and its formats have powers of two."""
    controller = json.loads(results['id-ctrl'].output)
    seen = {key: controller[key] for key in ('vid', 'ssvid', 'cntlid', 'ver', 'oncs', 'nn')}
    seen |= {key: controller[key].strip() for key in ('sn', 'mn', 'fr')}
    seen['vwc'] = controller['vwc'] & 1
    for nsid in NAMESPACES:
        namespace = json.loads(results[f'id-ns {nsid}'].output)
        seen |= {f'{key} of namespace {nsid}': namespace[key] for key in ('nsze', 'ncap', 'nuse')}
        seen[f'format of namespace {nsid}'] = namespace['flbas'] & 15
        seen[f'formats of namespace {nsid}'] = [{'block_size': 1 << lbaf['ds'], 'metadata_size': lbaf['ms']}
                                                for lbaf in namespace['lbafs']]
    return seen


def ours(results):
    seen = json.loads(results['nvme-identify'].output)
    for namespace in seen.pop('namespaces'):
        nsid = namespace.pop('nsid')
        seen |= {f'{key} of namespace {nsid}': value for key, value in namespace.items()}
    for name in OWN:
        del seen[name]
    return seen


def main():
    with tap.Tap() as test, tempfile.TemporaryDirectory() as folder:
        first, second = worlds.disk(folder, 'first.img', 64), worlds.disk(folder, 'second.img', 32)
        results = worlds.guest({
            'rebind': f'rebind kernel {NVME}',
            'id-ctrl': 'nvme id-ctrl -o json /dev/nvme0',
            **{f'id-ns {nsid}': f'nvme id-ns -o json -n {nsid} /dev/nvme0' for nsid in NAMESPACES},
            'rebind back': f'rebind vfio-pci {NVME}',
            'nvme-identify': f'nvme-identify --json {NVME}',
        }, [f'nvme:{first}+{second},ns2.logical_block_size=4096,ns2.ms=8'], [os.path.join(BUILD, 'nvme-identify')],
            ['--with', 'nvme'])
        for name, result in results.items():
            worlds.passed(test, name, result)
        kernel, chalk = theirs(results), ours(results)
        test.equal(sorted(chalk), sorted(kernel), 'they tell of the same fields')
        for field in sorted(kernel):
            test.equal(chalk.get(field), kernel[field], f'{field} is what nvme-cli says')


if __name__ == '__main__':
    main()
