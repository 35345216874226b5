// SPDX-License-Identifier: BSD-2-Clause
// Lists the devices on the bus, in C++.
#include <chalk/device.h>
#include <chalk/main.h>
#include <chalk/version.h>

#include <cstdio>

int chalk_main(int, char *[])
{
    chalk_bus_info info{};
    int count = 0;

    while (chalk_bus_next(&info) == 0) {
        std::printf("%s %04x:%04x\n", info.name, info.vendor, info.device);
        count++;
    }
    std::printf("Chalk %s, devices: %d\n", chalk_version_text(), count);
    return 0;
}
