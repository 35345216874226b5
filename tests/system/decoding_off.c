/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * decoding-off ADDRESS: lets a device stop answering for its registers, which Linux turns into SIGBUS. The
 * next access has to find the device gone, and the one after it is opened again, the device.
 */
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/memory.h>
#include <chalk/mmio.h>

#include <stdio.h>

int chalk_main(int argc, char *argv[])
{
    for (unsigned round = 1; argc == 2 && round <= 2; round++) {
        struct chalk_domain *domain = NULL;
        struct chalk_device *device;
        struct chalk_mmio window;
        uint32_t before, after, identity;

        if (chalk_device_open(argv[1], &domain, &device) != 0 ||
            chalk_window_map(device, 0, 0, CHALK_PAGE, CHALK_UNCACHED, &window) != 0)
            return 1;
        before = chalk_mmio_read32(&window, 0);
        if (chalk_config_write(device, CHALK_PCI_COMMAND, 2, 0) != 0)
            return 1;
        after = chalk_mmio_read32(&window, 0);
        printf("round %u: %s before, %s after, and then %s\n", round, before != UINT32_MAX ? "there" : "gone",
               after != UINT32_MAX ? "there" : "gone",
               chalk_error_name(chalk_config_read(device, 0, 4, &identity)));
        chalk_device_close(device);
    }
    return 0;
}
