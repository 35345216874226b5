/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scan of the bus. It trusts the firmware, which has run before us on every way that we are started, to
 * have numbered the buses and given addresses to the devices; it checks that the numbers make sense.
 *
 * Buses are visited in the order of their numbers, and a bridge counts only if the bus behind it has a higher
 * number than its own, as firmware numbers them, and no other bridge leads there. So bridges that lie
 * cannot make a loop.
 */
#include "pci.h"
#include "machine.h"

#include <chalk/error.h>
#include <chalk/log.h>
#include <string.h>

enum { MAX_DEVICES = 256, PORT_ROOT = 4, PORT_DOWNSTREAM = 6 /* PCIe 7.5.3.2: device/port type */ };

static struct chalk_device devices[MAX_DEVICES];
static unsigned device_count;

/* One range of buses while it is scanned. */
struct scan {
    struct pci_range range;
    struct chalk_device *bridges[256]; /* that lead to each bus */
    bool below[256];                   /* some bridge */
};

struct chalk_device *pci_device(unsigned i)
{
    return i < device_count ? &devices[i] : NULL;
}

static struct chalk_device function_at(const struct scan *scan, unsigned bus, unsigned slot)
{
    struct chalk_device device = {.segment = scan->range.segment, .bus = (uint8_t)bus, .slot = (uint8_t)slot};

    if (scan->range.space != 0)
        device.space = (volatile uint8_t *)(scan->range.space + (bus << 20 | slot << 12));
    device.bridge = scan->bridges[bus];
    return device;
}

static bool present(const struct chalk_device *device)
{
    uint32_t vendor = pci_read(device, 0, 2);

    return vendor != 0xffff && vendor != 0;
}

/* A bridge without it passes nothing on for those behind it either (PCI-to-PCI Bridge 1.2, 3.2.4.3). */
static void master_off(const struct chalk_device *device)
{
    uint32_t command = pci_read(device, CHALK_PCI_COMMAND, 2);

    if (command & CHALK_PCI_COMMAND_MASTER)
        pci_write(device, CHALK_PCI_COMMAND, 2, command & ~(uint32_t)CHALK_PCI_COMMAND_MASTER);
}

static void found_bridge(struct scan *scan, struct chalk_device *bridge)
{
    uint32_t buses = pci_read(bridge, PCI_BRIDGE_BUSES, 4), secondary = buses >> 8 & 0xff,
             last = buses >> 16 & 0xff;

    if (secondary <= bridge->bus || last < secondary || last > scan->range.last ||
        scan->bridges[secondary] != NULL) {
        chalk_log(CHALK_WARNING,
                  "pci: bridge %s leads to buses %u-%u, which cannot be; devices behind it are not used",
                  bridge->name, secondary, last);
        master_off(bridge);
        return;
    }
    scan->bridges[secondary] = bridge;
    for (unsigned bus = secondary; bus <= last; bus++)
        scan->below[bus] = true;
}

/* Adds a function to the list. An endpoint loses its bus mastering at once: firmware leaves devices running.
 */
static void found_function(struct scan *scan, const struct chalk_device *function)
{
    static bool said;

    if (device_count == MAX_DEVICES) {
        if (!said)
            chalk_log(CHALK_WARNING, "pci: only the first %d functions are used", MAX_DEVICES);
        said = true;
    }
    struct chalk_device overflow, *device = device_count < MAX_DEVICES ? &devices[device_count++] : &overflow;
    *device = *function;
    device->vendor = (uint16_t)pci_read(device, 0, 2);
    device->device = (uint16_t)pci_read(device, 2, 2);
    device->header = pci_read(device, PCI_HEADER_TYPE, 1) & (PCI_HEADER_MULTIPLE - 1);
    device->class_code = pci_read(device, PCI_REVISION, 4) >> 8;
    device->revision = (uint8_t)pci_read(device, PCI_REVISION, 1);
    chalk_format(device->name, sizeof(device->name), "%04x:%02x:%02x.%u", device->segment, device->bus,
                 device->slot >> 3, device->slot & 7u);
    if (device->header == 1 && device != &overflow) {
        found_bridge(scan, device);
    } else if (device->header == 1) {
        master_off(device); /* nobody looks behind it */
    } else if (device->header == 0) {
        if (PCI_CLASS_BASE(device->class_code) != PCI_CLASS_BASE_BRIDGE)
            master_off(device);
        device->subsystem_vendor = (uint16_t)pci_read(device, PCI_SUBSYSTEM, 2);
        device->subsystem_device = (uint16_t)pci_read(device, PCI_SUBSYSTEM + 2, 2);
    }
}

/* Behind a PCI Express port there is device 0 and no other (PCIe 7.3.1); some cards answer to all 32 numbers.
 */
static bool is_port(const struct chalk_device *bridge)
{
    uint8_t express = bridge != NULL ? pci_capability(bridge, CHALK_PCI_CAP_EXPRESS) : 0;
    uint32_t type = express != 0 ? pci_read(bridge, express + 2u, 2) >> 4 & 15 : 0;

    return type == PORT_ROOT || type == PORT_DOWNSTREAM;
}

static void scan_bus(struct scan *scan, unsigned bus)
{
    unsigned slots = is_port(scan->bridges[bus]) ? 8 : 256;

    for (unsigned slot = 0; slot < slots; slot += 8) {
        struct chalk_device function = function_at(scan, bus, slot);

        if (!present(&function))
            continue;
        unsigned functions = pci_read(&function, PCI_HEADER_TYPE, 1) & PCI_HEADER_MULTIPLE ? 8 : 1;
        for (unsigned i = 0; i < functions; i++) {
            function = function_at(scan, bus, slot + i);
            if (present(&function))
                found_function(scan, &function);
        }
    }
}

/*
 * Machines with several root buses tell of the others in AML only. Their buses have a function at device 0 (a
 * host bridge or a root port), so one look at each number that no bridge leads to finds them.
 */
static bool is_root(const struct scan *scan, unsigned bus)
{
    struct chalk_device function = function_at(scan, bus, 0);

    return bus == scan->range.first || (!scan->below[bus] && present(&function));
}

int pci_start(void)
{
    static struct scan scan;
    struct pci_range ranges[PCI_MAX_RANGES];
    unsigned count = pci_ranges(ranges);

    device_count = 0;
    for (unsigned i = 0; i < count; i++) {
        memset(&scan, 0, sizeof(scan));
        scan.range = ranges[i];
        for (unsigned bus = scan.range.first; bus <= scan.range.last; bus++)
            if (scan.bridges[bus] != NULL || is_root(&scan, bus))
                scan_bus(&scan, bus);
    }
    if (device_count == 0)
        chalk_log(CHALK_INFO, "pci: this machine has no PCI bus, or hides it (QEMU: use -machine q35 or pc)");
    return 0;
}

int chalk_bus_next(struct chalk_bus_info *info)
{
    const struct chalk_device *device = pci_device(info->cursor);

    if (device == NULL)
        return -ENOENT;
    *info = (struct chalk_bus_info){
        .cursor = info->cursor + 1,
        .vendor = device->vendor,
        .device = device->device,
        .subsystem_vendor = device->subsystem_vendor,
        .subsystem_device = device->subsystem_device,
        .class_code = device->class_code,
        .revision = device->revision,
        .node = -1,
    };
    memcpy(info->name, device->name, sizeof(device->name));
    return 0;
}
