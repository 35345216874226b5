/* SPDX-License-Identifier: BSD-2-Clause */
/* A device whose configuration space is the input, and that may vanish: the walk along its list ends, inside.
 */
#include <chalk/device.h>
#include <chalk/error.h>
#include <stdlib.h>
#include <string.h>
#include <unit/platform_fake.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    unsigned offset = 0;

    if (size < 4 || size > 3 + 256)
        return 0;
    fake_reset();
    struct fake_device *model = fake_device_add("0000:00:01.0", 0x1234, 0x5678, 0);
    memcpy(model->config, data + 3, size - 3);
    model->config[CHALK_PCI_STATUS] |= CHALK_PCI_STATUS_CAPS;
    if (chalk_device_open(model->info.name, &domain, &device) != 0)
        abort();
    if (data[2])
        fake_fail("chalk_config_read", data[2], -EIO);
    int error = chalk_pci_capability(device, data[0], data[1], &offset);
    if (!error && (offset < 0x40 || offset > 0xfc || offset % 4 || model->config[offset] != data[0]))
        abort();
    if (error && error != -ENOENT && error != -EPROTO && error != -ENODEV && error != -EIO)
        abort();
    chalk_device_close(device);
    return 0;
}
