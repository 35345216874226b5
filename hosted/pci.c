/* SPDX-License-Identifier: BSD-2-Clause */
/* The bus: a scan by libpci, or the devices that the program was given, kept from the first chalk_bus_next()
 * of a walk to that of the next one: others may still be on their way. */
#include "pci.h"
#include "device.h"
#include "reason.h"
#include "state.h"
#include "sysfs.h"

#include <errno.h>
#include <pci/pci.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chalk/log.h>

static struct chalk_bus_info *found;
static unsigned found_count;

/* libpci would end the program; it must not return either. Under hosted_lock(), so one is enough. */
static jmp_buf failed;
static char failure[320];

static void on_error(char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void on_error(char *format, ...)
{
    const char *limit = errno == EMFILE || errno == ENFILE ? hosted_reason(errno) : NULL;
    va_list list;
    int size;

    va_start(list, format);
    size = vsnprintf(failure, sizeof failure, format, list);
    va_end(list);
    if (limit != NULL && size >= 0 && (size_t)size < sizeof failure)
        snprintf(failure + size, sizeof failure - (size_t)size, ": %s", limit);
    longjmp(failed, 1);
}

static void on_warning(char *format, ...) __attribute__((format(printf, 1, 2)));
static void on_warning(char *format, ...)
{
    char text[160];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    chalk_log(CHALK_TRACE, "libpci: %s", text);
}

static void describe(struct pci_dev *device, struct chalk_bus_info *info)
{
    pci_fill_info(device, PCI_FILL_IDENT | PCI_FILL_CLASS | PCI_FILL_CLASS_EXT | PCI_FILL_SUBSYS |
                              PCI_FILL_NUMA_NODE);
    *info = (struct chalk_bus_info){
        .vendor = device->vendor_id,
        .device = device->device_id,
        .subsystem_vendor = device->subsys_vendor_id,
        .subsystem_device = device->subsys_id,
        .class_code = (uint32_t)device->device_class << 8 | device->prog_if,
        .revision = device->rev_id,
        .node = CHALK_NODE(device->numa_node), /* -1 of libpci: unknown */
    };
    snprintf(info->name, sizeof info->name, "%04x:%02x:%02x.%x", (unsigned)device->domain, device->bus,
             device->dev, device->func);
    hosted_sysfs_link(info->bound_to, sizeof info->bound_to, "/sys/bus/pci/devices/%s/driver", info->name);
}

/* The order of lspci: a longer domain is a greater one. */
static int by_name(const void *left, const void *right)
{
    const char *a = ((const struct chalk_bus_info *)left)->name,
               *b = ((const struct chalk_bus_info *)right)->name;
    size_t a_length = strlen(a), b_length = strlen(b);

    return a_length != b_length ? (a_length < b_length ? -1 : 1) : strcmp(a, b);
}

/* The registers of a header of type 0 (PCI 3.0 6.1). */
static void describe_header(const uint8_t *header, struct chalk_bus_info *info)
{
    memcpy(&info->vendor, header, 2);
    memcpy(&info->device, header + 2, 2);
    info->revision = header[8];
    info->class_code = (uint32_t)header[11] << 16 | (uint32_t)header[10] << 8 | header[9];
    memcpy(&info->subsystem_vendor, header + 0x2c, 2);
    memcpy(&info->subsystem_device, header + 0x2e, 2);
}

/* Names, separated by commas. A device that does not answer has said why, and is not on the bus. */
static int list(const char *names)
{
    unsigned count = 1;

    hosted_pci_stop();
    for (const char *at = names; *at != '\0'; at++)
        count += *at == ',';
    found = calloc(count, sizeof *found);
    if (found == NULL)
        return -ENOMEM;
    for (const char *at = names, *end; *at != '\0'; at = *end == ',' ? end + 1 : end) {
        struct chalk_bus_info *info = &found[found_count];
        uint8_t header[64];

        end = at + strcspn(at, ",");
        *info = (struct chalk_bus_info){0};
        snprintf(info->name, sizeof info->name, "%.*s", (int)(end - at), at);
        if (hosted_device_peek(info->name, header, sizeof header) != 0)
            continue;
        describe_header(header, info);
        found_count++;
    }
    return 0;
}

static int scan(void)
{
    struct pci_access *access = pci_alloc();
    unsigned count = 0;

    hosted_pci_stop();
    access->method = PCI_ACCESS_SYS_BUS_PCI; /* never by ports */
    access->error = on_error;
    access->warning = on_warning;
    if (setjmp(failed) != 0) {
        chalk_log(CHALK_ERROR, "the PCI bus cannot be scanned: %s", failure);
        hosted_pci_stop();
        pci_cleanup(access);
        return -ENXIO;
    }
    pci_init(access);
    pci_scan_bus(access);
    for (struct pci_dev *device = access->devices; device != NULL; device = device->next)
        count++;
    found = calloc(count + 1, sizeof *found);
    for (struct pci_dev *device = access->devices; found != NULL && device != NULL; device = device->next)
        describe(device, &found[found_count++]);
    pci_cleanup(access);
    if (found == NULL)
        return -ENOMEM;
    qsort(found, found_count, sizeof *found, by_name);
    return 0;
}

int chalk_bus_next(struct chalk_bus_info *info)
{
    unsigned next = info->cursor;
    int error = 0;

    hosted_lock();
    if (next == 0)
        error = hosted_options()->bus != NULL ? list(hosted_options()->bus) : scan();
    if (error == 0 && next >= found_count)
        error = -ENOENT;
    if (error == 0) {
        *info = found[next];
        info->cursor = next + 1;
    }
    hosted_unlock();
    return error;
}

void hosted_pci_stop(void)
{
    free(found);
    found = NULL;
    found_count = 0;
}
