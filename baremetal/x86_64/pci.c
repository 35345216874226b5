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

enum {
    HEADER_BRIDGE = 1, /* PCI-to-PCI */
    HEADER_CARDBUS = 2,
    SUBCLASS_MCA = 3, /* the last of host, ISA, EISA and MCA */
    SUBCLASS_PCI = 4,
    SUBCLASS_PCI_SEMITRANSPARENT = 9,
};

/* PCIe 7.5.3.2: the device/port types that have a link below them, on which there is one device */
enum { PORT_ROOT = 4, PORT_DOWNSTREAM = 6, PORT_FROM_PCI = 8 };
#define CHALK_PCI_EXPRESS_FLAGS     0x02
#define CHALK_PCI_EXPRESS_CONTROL_2 0x28
#define EXPRESS_ARI_FORWARDING      0x20u

#define SRIOV_CONTROL   0x08
#define SRIOV_VF_ENABLE 0x01u
#define SRIOV_VF_MEMORY 0x08u

/*
 * The list grows by blocks, of memory that is taken off RAM before any of it is given away. A block never
 * moves: drivers hold pointers into it.
 */
#define BLOCK_SIZE 0x10000u
enum { PER_BLOCK = BLOCK_SIZE / sizeof(struct chalk_device), ALL_FUNCTIONS = PCI_MAX_RANGES * 256 * 256 };

static struct chalk_device *blocks[ALL_FUNCTIONS / PER_BLOCK + 1];
static unsigned device_count;
static struct chalk_ranges positions; /* of all functions in the list */

/* One range of buses while it is scanned. */
struct scan {
    struct pci_range range;
    struct chalk_device *bridges[256]; /* that lead to each bus */
    uint8_t last_behind[256]; /* up to which bus requests are passed on from each: beyond it, what is there
                                 runs unseen */
    bool below[256];          /* some bridge */
};

struct chalk_device *pci_device(unsigned i)
{
    return i < device_count ? &blocks[i / PER_BLOCK][i % PER_BLOCK] : NULL;
}

static uint64_t position_of(unsigned segment, unsigned bus, unsigned slot)
{
    return (uint64_t)segment << 16 | bus << 8 | slot;
}

struct chalk_device *pci_find(unsigned segment, unsigned bus, unsigned slot)
{
    uint64_t position = position_of(segment, bus, slot);

    return (struct chalk_device *)chalk_range_find(&positions, position, position);
}

/* A place at the end of the list, or NULL if there is no memory for it (logged once). */
static struct chalk_device *add_device(void)
{
    static bool said;
    struct chalk_device **block = &blocks[device_count / PER_BLOCK];

    if (*block == NULL)
        *block = memory_take(BLOCK_SIZE);
    if (*block != NULL)
        return &(*block)[device_count++ % PER_BLOCK];
    if (!said)
        chalk_log(
            CHALK_WARNING,
            "pci: only the first %u functions are used: there is no memory for more; give the machine more",
            device_count);
    said = true;
    return NULL;
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

/* ---- what firmware left running ---- */

/* A bridge without it passes nothing on for those behind it either (PCI-to-PCI Bridge 1.2, 3.2.4.3). */
static void master_off(const struct chalk_device *device)
{
    uint32_t command = pci_read(device, CHALK_PCI_COMMAND, 2);

    if (command & CHALK_PCI_COMMAND_MASTER)
        pci_write(device, CHALK_PCI_COMMAND, 2, command & ~(uint32_t)CHALK_PCI_COMMAND_MASTER);
}

/*
 * Virtual functions cannot be seen in a scan (their vendor reads as ones, PCIe 9.3.4.1.1), and each has a bus
 * mastering bit of its own. Without VF Enable they are not there.
 */
static void stop_virtual_functions(struct chalk_device *device)
{
    unsigned at = pci_extended_capability(device, CHALK_PCI_EXTENDED_SRIOV);
    uint32_t control = at != 0 ? pci_read(device, at + SRIOV_CONTROL, 2) : 0;

    if (control & SRIOV_VF_ENABLE)
        pci_write(device, at + SRIOV_CONTROL, 2, control & ~(SRIOV_VF_ENABLE | SRIOV_VF_MEMORY));
}

/*
 * Bridges to the host and to ISA, EISA and MCA belong to the chipset, and are on a root bus. Of any other
 * function the class is no more than its own word: a device that calls itself a bridge loses bus mastering as
 * any other.
 */
bool pci_is_chipset(const struct chalk_device *device)
{
    return device->bridge == NULL && device->header == 0 &&
           PCI_CLASS_BASE(device->class_code) == PCI_CLASS_BASE_BRIDGE &&
           (device->class_code >> 8 & 0xff) <= SUBCLASS_MCA;
}

/* ---- bridges ---- */

static bool is_bridge(const struct chalk_device *device)
{
    unsigned subclass = device->class_code >> 8 & 0xff;

    return device->header == HEADER_BRIDGE && PCI_CLASS_BASE(device->class_code) == PCI_CLASS_BASE_BRIDGE &&
           (subclass == SUBCLASS_PCI || subclass == SUBCLASS_PCI_SEMITRANSPARENT);
}

/* The buses behind a bridge: registers of PCI-to-PCI and of CardBus bridges are in the same place. */
static void hide_buses(struct scan *scan, const struct chalk_device *bridge)
{
    uint32_t buses = pci_read(bridge, CHALK_PCI_BRIDGE_BUSES, 4), secondary = buses >> 8 & 0xff,
             last = buses >> 16 & 0xff;

    if (secondary <= bridge->bus || scan->bridges[secondary] != NULL)
        return;
    for (unsigned bus = secondary; bus <= last; bus++)
        scan->below[bus] = true;
}

static void found_bridge(struct scan *scan, struct chalk_device *bridge)
{
    uint32_t buses = pci_read(bridge, CHALK_PCI_BRIDGE_BUSES, 4), secondary = buses >> 8 & 0xff,
             last = buses >> 16 & 0xff;
    uint8_t passed_on = scan->last_behind[bridge->bus];
    bool sound = secondary > bridge->bus && last >= secondary && secondary <= passed_on &&
                 scan->bridges[secondary] == NULL;

    hide_buses(scan, bridge);
    if (sound) {
        scan->bridges[secondary] = bridge;
        scan->last_behind[secondary] = last < passed_on ? (uint8_t)last : passed_on;
        return;
    }
    chalk_log(CHALK_WARNING,
              "pci: bridge %s leads to buses %u-%u, which cannot be; devices behind it are not used",
              bridge->name, secondary, last);
    master_off(bridge);
}

/* ---- functions ---- */

static void read_identity(struct chalk_device *device)
{
    device->vendor = (uint16_t)pci_read(device, 0, 2);
    device->device = (uint16_t)pci_read(device, 2, 2);
    device->header = pci_read(device, CHALK_PCI_HEADER_TYPE, 1) & (CHALK_PCI_HEADER_MULTIPLE - 1);
    device->class_code = pci_read(device, CHALK_PCI_REVISION, 4) >> 8;
    device->revision = (uint8_t)pci_read(device, CHALK_PCI_REVISION, 1);
    chalk_format(device->name, sizeof(device->name), "%04x:%02x:%02x.%u", device->segment, device->bus,
                 device->slot >> 3, device->slot & 7u);
    if (device->header == 0) {
        device->subsystem_vendor = (uint16_t)pci_read(device, CHALK_PCI_SUBSYSTEM, 2);
        device->subsystem_device = (uint16_t)pci_read(device, CHALK_PCI_SUBSYSTEM + 2, 2);
    }
}

/*
 * Adds a function to the list. All but the chipset's own and bridges that lead somewhere lose bus mastering
 * at once: firmware leaves devices running. That is so, too, if it is not to be listed, or there is no room
 * in the list.
 */
static void found_function(struct scan *scan, const struct chalk_device *function, bool listed)
{
    struct chalk_device unlisted, *place = listed ? add_device() : NULL;
    struct chalk_device *device = place != NULL ? place : &unlisted;

    *device = *function;
    read_identity(device);
    if (place != NULL) {
        place->position.first = place->position.last = position_of(place->segment, place->bus, place->slot);
        chalk_range_add(&positions, &place->position); /* of two at one place, the first is found */
    }
    if (is_bridge(device) && place != NULL)
        found_bridge(scan, device);
    else if (!pci_is_chipset(device))
        master_off(device);
    if (device->header == HEADER_CARDBUS || (is_bridge(device) && place == NULL))
        hide_buses(scan, device); /* it passes on nothing, so nothing behind it is used */
    if (device->header == 0)
        stop_virtual_functions(device);
}

static bool leads_to_link(struct chalk_device *bridge)
{
    uint8_t express = bridge != NULL ? pci_capability(bridge, CHALK_PCI_CAP_EXPRESS) : 0;
    uint32_t type = express != 0 ? pci_read(bridge, express + CHALK_PCI_EXPRESS_FLAGS, 2) >> 4 & 15 : 0;

    return type == PORT_ROOT || type == PORT_DOWNSTREAM || type == PORT_FROM_PCI;
}

/*
 * On a link there may be one device with 256 functions, in the place of 32 devices with 8, if the port and
 * the device both say so (PCIe 6.13).
 */
static bool has_many_functions(struct chalk_device *function)
{
    struct chalk_device *port = function->bridge;
    uint8_t express = pci_capability(port, CHALK_PCI_CAP_EXPRESS);

    return (pci_read(port, express + CHALK_PCI_EXPRESS_FLAGS, 2) & 15) >= 2 &&
           (pci_read(port, express + CHALK_PCI_EXPRESS_CONTROL_2, 2) & EXPRESS_ARI_FORWARDING) &&
           pci_extended_capability(function, CHALK_PCI_EXTENDED_ARI) != 0;
}

/*
 * A bus that a bridge has behind it, as it says, but that no bridge leads to is nobody's, or a root bus that
 * the bridge lies about. What is there stops, and is not listed: it could not be reached, or not be told from
 * what is elsewhere.
 */
static void scan_bus(struct scan *scan, unsigned bus)
{
    const bool listed = scan->bridges[bus] != NULL || !scan->below[bus] || bus == scan->range.first;
    /* On a link there is device 0 and no other (PCIe 7.3.1); some cards answer to all 32 numbers. */
    const bool link = leads_to_link(scan->bridges[bus]);
    const unsigned slots = link ? 8 : 256;

    for (unsigned slot = 0; slot < slots; slot += 8) {
        struct chalk_device function = function_at(scan, bus, slot);

        if (!present(&function))
            continue;
        unsigned functions =
            pci_read(&function, CHALK_PCI_HEADER_TYPE, 1) & CHALK_PCI_HEADER_MULTIPLE ? 8 : 1;
        if (link && has_many_functions(&function))
            functions = 256;
        for (unsigned i = 0; i < functions; i++) {
            function = function_at(scan, bus, slot + i);
            if (present(&function))
                found_function(scan, &function, listed);
        }
    }
}

/*
 * Machines with several root buses tell of the others in AML only, and such a bus may have its first device
 * anywhere. So every number is looked at: 32 reads where there is no bus, about 10 ms for 255 of them in a
 * virtual machine, where each read leaves it.
 */
int pci_start(void)
{
    static struct scan scan;
    struct pci_range ranges[PCI_MAX_RANGES];
    unsigned count = pci_ranges(ranges);

    device_count = 0;
    positions.root = NULL;
    pci_forget_addresses();
    for (unsigned i = 0; i < count; i++) {
        memset(&scan, 0, sizeof(scan));
        scan.range = ranges[i];
        memset(scan.last_behind, scan.range.last, sizeof(scan.last_behind));
        for (unsigned bus = scan.range.first; bus <= scan.range.last; bus++)
            scan_bus(&scan, bus);
    }
    return 0;
}

/* Tells why there is nothing, once, to who looks for a device. */
static int no_bus(void)
{
    static atomic_bool said;

    if (!atomic_exchange(&said, true))
        chalk_log(CHALK_ERROR,
                  "pci: this machine has no PCI bus, or hides it (QEMU: use -machine q35 or pc)");
    return -ENXIO;
}

int chalk_bus_next(struct chalk_bus_info *info)
{
    const struct chalk_device *device = pci_device(info->cursor);

    if (device_count == 0)
        return no_bus();
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
    };
    memcpy(info->name, device->name, sizeof(device->name));
    return 0;
}
