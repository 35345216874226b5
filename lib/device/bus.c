/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finding devices: two questions about one scan.
 */
#include <chalk/device.h>
#include <chalk/error.h>
#include <string.h>

int chalk_bus_find(uint32_t class_code, struct chalk_bus_info *info)
{
    int error;

    memset(info, 0, sizeof *info);
    do {
        error = chalk_bus_next(info);
    } while (!error && info->class_code != class_code);
    return error;
}

int chalk_bus_lookup(const char *name, struct chalk_bus_info *info)
{
    size_t size = strlen(name) + 1;
    int error;

    if (size > sizeof info->name)
        return -ENOENT;
    memset(info, 0, sizeof *info);
    do {
        error = chalk_bus_next(info);
    } while (!error && memcmp(info->name, name, size) != 0);
    return error;
}
