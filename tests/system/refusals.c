/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the platform refuses of a device, which it has to explain: windows that are not there, a pin where
 * there is only that. The device is left open on purpose; or closed twice. Usage: refusals ADDRESS [twice]
 */
#include <chalk/device.h>
#include <chalk/main.h>
#include <chalk/mmio.h>
#include <stdio.h>

static _Atomic(uint32_t) counter;

static void map(struct chalk_device *device, unsigned bar, uint64_t offset, size_t size)
{
    struct chalk_mmio window;

    printf("window of %u: %d\n", bar, chalk_window_map(device, bar, offset, size, CHALK_UNCACHED, &window));
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;

    if (argc < 2 || chalk_device_open(argv[1], &domain, &device) != 0)
        return 2;
    if (argc > 2) {
        chalk_device_close(device);
        chalk_device_close(device);
    }
    /* An RTL8139 has I/O ports, then 256 bytes of registers, and nothing else. */
    map(device, 0, 0, 4);
    map(device, 1, 0, 4);
    map(device, 1, 0, 1 << 20);
    map(device, 3, 0, 4);
    printf("vector 0: %d\n", chalk_vector_attach(device, 0, 0, &counter));
    printf("rearmed: %d\n", chalk_vector_rearm(device, 0));
    printf("vector 9: %d\n", chalk_vector_attach(device, 9, 0, &counter));
    return 0;
}
