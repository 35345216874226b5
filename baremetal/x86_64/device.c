/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices that somebody opened: their registers, their configuration space, and their reset.
 *
 * A function of the bus is its own handle. Opening leaves it decoding memory, with bus mastering off and no
 * interrupt armed, behind bridges that pass both on (firmware does not always turn that on).
 */
#include "machine.h"
#include "pci.h"

#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/mmio.h>
#include <string.h>

#define ROM_DECODES 0x1u /* PCI 6.2.5.2 */

static struct chalk_lock lock;
static struct chalk_lock opening; /* addresses are compared with those of other devices */

static void wait_ns(uint64_t ns)
{
    for (uint64_t deadline = chalk_deadline(ns); !chalk_expired(deadline);)
        chalk_pause();
}

static void change_command(const struct chalk_device *device, uint32_t clear, uint32_t set)
{
    uint32_t command = pci_read(device, CHALK_PCI_COMMAND, 2);

    pci_write(device, CHALK_PCI_COMMAND, 2, (command & ~clear) | set);
}

/* ---- opening -------------------------------------------------------------------------------------- */

static bool parse_hex(const char *text, unsigned digits, unsigned *value)
{
    *value = 0;
    for (unsigned i = 0; i < digits; i++) {
        unsigned c = (unsigned char)text[i], letter = c | 0x20;

        if (c >= '0' && c <= '9')
            *value = *value << 4 | (c - '0');
        else if (letter >= 'a' && letter <= 'f')
            *value = *value << 4 | (letter - 'a' + 10);
        else
            return false;
    }
    return true;
}

/* "0000:00:03.0", or "00:03.0" in segment 0. */
static bool parse_name(const char *name, unsigned *segment, unsigned *bus, unsigned *slot)
{
    unsigned device, function;
    size_t length = strlen(name);

    *segment = 0;
    if (length == 12) {
        if (!parse_hex(name, 4, segment) || name[4] != ':')
            return false;
        name += 5;
    } else if (length != 7) {
        return false;
    }
    if (!parse_hex(name, 2, bus) || name[2] != ':' || !parse_hex(name + 3, 2, &device) || name[5] != '.' ||
        !parse_hex(name + 6, 1, &function) || device > 31 || function > 7)
        return false;
    *slot = device << 3 | function;
    return true;
}

/* No such device: says which there are, bridges left out. */
static void list_bus(const char *name)
{
    char text[400] = "";
    size_t length = 0;
    unsigned left_out = 0;

    for (unsigned i = 0; pci_device(i) != NULL; i++) {
        const struct chalk_device *device = pci_device(i);

        if (PCI_CLASS_BASE(device->class_code) == PCI_CLASS_BASE_BRIDGE)
            continue;
        if (length + 40 > sizeof(text)) {
            left_out++;
            continue;
        }
        length += (size_t)chalk_format(text + length, sizeof(text) - length, "%s %s (%04x:%04x)",
                                       length ? "," : "", device->name, device->vendor, device->device);
    }
    if (left_out > 0)
        chalk_format(text + length, sizeof(text) - length, ", and %u more", left_out);
    chalk_log(CHALK_ERROR, "pci: no device %s; on the bus:%s", name, length ? text : " none");
}

static int claim(struct chalk_device *device, struct chalk_domain **domain)
{
    struct chalk_domain *joined = NULL;
    int error = -EBUSY;

    chalk_lock_take(&lock);
    if (device->domain == NULL) {
        joined = domain_join(*domain);
        error = joined != NULL ? 0 : -ENOMEM;
        if (error == 0)
            device->domain = *domain = joined;
    }
    chalk_lock_release(&lock);
    return error;
}

/*
 * From what the firmware left to a device that does nothing: awake, decoding memory (unless its addresses
 * cannot be believed), no DMA, no interrupts.
 */
static void quiet(struct chalk_device *device)
{
    change_command(device, CHALK_PCI_COMMAND_MASTER | CHALK_PCI_COMMAND_MEMORY, CHALK_PCI_COMMAND_NO_INTX);
    pci_write(device, CHALK_PCI_ROM, 4, pci_read(device, CHALK_PCI_ROM, 4) & ~ROM_DECODES);
    device->express = pci_capability(device, CHALK_PCI_CAP_EXPRESS);
    device->power = pci_capability(device, CHALK_PCI_CAP_POWER);
    device->advanced = pci_capability(device, CHALK_PCI_CAP_ADVANCED);
    if (device->power != 0) {
        uint32_t control = pci_read(device, device->power + CHALK_PCI_POWER_CONTROL, 2);

        if ((control & CHALK_PCI_POWER_STATE) != 0) {
            pci_write(device, device->power + CHALK_PCI_POWER_CONTROL, 2, control & ~CHALK_PCI_POWER_STATE);
            wait_ns(10 * CHALK_MS); /* PCIe 5.9 */
        }
    }
    msi_reset(device);
    pci_size_bars(device);
    device->decodes = pci_claim_addresses(device);
    change_command(device, CHALK_PCI_COMMAND_IO, device->decodes ? CHALK_PCI_COMMAND_MEMORY : 0);
    for (const struct chalk_device *bridge = device->bridge; bridge != NULL; bridge = bridge->bridge)
        change_command(bridge, 0, CHALK_PCI_COMMAND_MEMORY | CHALK_PCI_COMMAND_MASTER);
}

void device_check(const struct chalk_device *device, const char *call)
{
    if (device->domain == NULL)
        chalk_misuse("%s(): %s is not open: it was closed already", call, device->name);
}

static bool gone(const struct chalk_device *device)
{
    return pci_read(device, 0, 2) == 0xffff;
}

int chalk_device_open(const char *name, struct chalk_domain **domain, struct chalk_device **opened)
{
    unsigned segment, bus, slot;
    struct chalk_device *device;
    int error;

    if (!parse_name(name, &segment, &bus, &slot)) {
        chalk_log(CHALK_ERROR, "pci: '%s' is not a PCI address; write it like 0000:00:03.0", name);
        return -EINVAL;
    }
    device = pci_find(segment, bus, slot);
    if (device == NULL) {
        list_bus(name);
        return -ENODEV;
    }
    if (device->header != 0) {
        chalk_log(CHALK_ERROR, "pci: %s is a bridge, which the platform keeps; open a device behind it",
                  name);
        return -EBUSY;
    }
    if (gone(device)) {
        chalk_log(CHALK_ERROR, "pci: %s was there at the start and is gone now; plug it in and start again",
                  name);
        return -ENODEV;
    }
    error = claim(device, domain);
    if (error == -EBUSY)
        chalk_log(CHALK_ERROR, "pci: %s is open already; close it first", name);
    else if (error != 0)
        chalk_log(CHALK_ERROR, "pci: %s: no memory for a record of another domain; leave some unclaimed",
                  name);
    if (error != 0)
        return error;
    chalk_lock_take(&opening);
    quiet(device);
    chalk_lock_release(&opening);
    *opened = device;
    return 0;
}

void chalk_device_close(struct chalk_device *device)
{
    struct chalk_domain *domain = device->domain;

    device_check(device, "chalk_device_close");
    change_command(device, CHALK_PCI_COMMAND_MASTER, 0);
    msi_reset(device);
    chalk_lock_take(&lock);
    device->domain = NULL;
    chalk_lock_release(&lock);
    domain_leave(domain);
}

/* Other cores may still use the device, so it is not closed under them: only its DMA ends. */
void devices_stop(void)
{
    struct chalk_device *device;

    for (unsigned i = 0; (device = pci_device(i)) != NULL; i++)
        if (device->domain != NULL) {
            chalk_log(CHALK_WARNING, "pci: %s was still open", device->name);
            change_command(device, CHALK_PCI_COMMAND_MASTER, 0);
        }
}

/* ---- reset ---------------------------------------------------------------------------------------- */

/* Registers that a reset clears and that belong to whoever set the machine up. */
struct saved {
    uint32_t dwords[6 + 3]; /* base addresses, then cache line and latency, ROM, interrupt line */
    uint32_t command, control, control_2, link_control;
};

static const uint8_t saved_dwords[6 + 3] = {CHALK_PCI_BAR,      CHALK_PCI_BAR + 4,    CHALK_PCI_BAR + 8,
                                            CHALK_PCI_BAR + 12, CHALK_PCI_BAR + 16,   CHALK_PCI_BAR + 20,
                                            CHALK_PCI_ROM,      CHALK_PCI_CACHE_LINE, CHALK_PCI_INTERRUPT};

/* The second half of the Express capability is there from its version 2 on (PCIe 7.5.3.2). */
static bool has_control_2(const struct chalk_device *device)
{
    return device->express != 0 && (pci_read(device, device->express + CHALK_PCI_EXPRESS_FLAGS, 2) & 15) >= 2;
}

static void save(const struct chalk_device *device, struct saved *saved)
{
    memset(saved, 0, sizeof(*saved));
    saved->command = pci_read(device, CHALK_PCI_COMMAND, 2);
    for (unsigned i = 0; i < sizeof(saved_dwords); i++)
        saved->dwords[i] = pci_read(device, saved_dwords[i], 4);
    if (device->express != 0)
        saved->control = pci_read(device, device->express + CHALK_PCI_EXPRESS_CONTROL, 2);
    if (has_control_2(device)) {
        saved->link_control = pci_read(device, device->express + CHALK_PCI_EXPRESS_LINK_CONTROL, 2);
        saved->control_2 = pci_read(device, device->express + CHALK_PCI_EXPRESS_CONTROL_2, 2);
    }
}

static void restore(const struct chalk_device *device, const struct saved *saved)
{
    if (device->express != 0) /* payload sizes first: the whole path agreed on them */
        pci_write(device, device->express + CHALK_PCI_EXPRESS_CONTROL, 2, saved->control);
    if (has_control_2(device)) {
        pci_write(device, device->express + CHALK_PCI_EXPRESS_LINK_CONTROL, 2, saved->link_control);
        pci_write(device, device->express + CHALK_PCI_EXPRESS_CONTROL_2, 2, saved->control_2);
    }
    for (unsigned i = 0; i < sizeof(saved_dwords); i++)
        pci_write(device, saved_dwords[i], 4, saved->dwords[i]);
    pci_write(device, CHALK_PCI_COMMAND, 2, saved->command & ~(uint32_t)CHALK_PCI_COMMAND_MASTER);
}

/* Waits until the function has had its answers: an answer that came after a reset would be for nobody
 * (PCIe 6.6.2). */
static void drain(const struct chalk_device *device, unsigned offset, unsigned width, uint32_t pending)
{
    for (uint64_t deadline = chalk_deadline(500 * CHALK_MS); pci_read(device, offset, width) & pending;) {
        if (chalk_expired(deadline)) {
            chalk_log(CHALK_WARNING, "pci: %s still has transactions pending; resetting it anyway",
                      device->name);
            return;
        }
        chalk_pause();
    }
}

static bool reset_by_express(const struct chalk_device *device)
{
    unsigned control = device->express + CHALK_PCI_EXPRESS_CONTROL;

    if (device->express == 0 || !(pci_read(device, device->express + CHALK_PCI_EXPRESS_CAPABILITIES, 4) &
                                  CHALK_PCI_EXPRESS_HAS_RESET))
        return false;
    drain(device, device->express + CHALK_PCI_EXPRESS_STATUS, 2, CHALK_PCI_EXPRESS_PENDING);
    pci_write(device, control, 2, pci_read(device, control, 2) | CHALK_PCI_EXPRESS_RESET);
    return true;
}

static bool reset_by_advanced(const struct chalk_device *device)
{
    if (device->advanced == 0 || (~pci_read(device, device->advanced + CHALK_PCI_ADVANCED_CAPABILITIES, 1) &
                                  CHALK_PCI_ADVANCED_HAS_RESET))
        return false;
    drain(device, device->advanced + CHALK_PCI_ADVANCED_STATUS, 1, CHALK_PCI_ADVANCED_PENDING);
    pci_write(device, device->advanced + CHALK_PCI_ADVANCED_CONTROL, 1, CHALK_PCI_ADVANCED_RESET);
    return true;
}

/* To sleep and back, where waking up is a reset (PCIe 7.5.2.2 and 5.9: 10 ms each way). */
static bool reset_by_power(const struct chalk_device *device)
{
    unsigned offset = device->power + CHALK_PCI_POWER_CONTROL;
    uint32_t control;

    if (device->power == 0 || ((control = pci_read(device, offset, 2)) & CHALK_PCI_POWER_NO_SOFT_RESET))
        return false;
    control &= ~CHALK_PCI_POWER_STATE;
    pci_write(device, offset, 2, control | CHALK_PCI_POWER_D3HOT);
    wait_ns(10 * CHALK_MS);
    pci_write(device, offset, 2, control);
    return true;
}

int chalk_device_reset(struct chalk_device *device, uint64_t deadline)
{
    struct saved saved;

    device_check(device, "chalk_device_reset");
    if (gone(device))
        return -ENODEV;
    save(device, &saved);
    change_command(device, CHALK_PCI_COMMAND_MASTER, 0);
    if (!reset_by_express(device) && !reset_by_advanced(device) && !reset_by_power(device)) {
        pci_write(device, CHALK_PCI_COMMAND, 2, saved.command);
        return -ENOTSUP;
    }
    wait_ns(100 * CHALK_MS); /* PCIe 6.6.2: nothing may touch the function before */
    /* Not ready is told as vendor 0x0001 (PCIe 2.3.2, software visibility on) or as ones (off, or gone). */
    while (pci_read(device, 0, 2) != device->vendor) {
        if (chalk_expired(deadline)) {
            chalk_log(CHALK_ERROR, "pci: %s did not come back from its reset; switch the machine off and on",
                      device->name);
            return -ETIMEDOUT;
        }
        wait_ns(CHALK_MS);
    }
    restore(device, &saved);
    msi_restore(device);
    return 0;
}

/* ---- configuration space -------------------------------------------------------------------------- */

static bool misplaced(unsigned offset, unsigned width)
{
    return (width != 1 && width != 2 && width != 4) || offset % width != 0 ||
           offset >= CHALK_PCI_EXTENDED_SIZE;
}

int chalk_config_read(struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value)
{
    device_check(device, "chalk_config_read");
    if (misplaced(offset, width))
        return -EINVAL;
    *value = pci_read(device, offset, width);
    return *value == UINT32_MAX >> (32 - 8 * width) && gone(device) ? -ENODEV : 0;
}

static bool within(unsigned offset, unsigned start, unsigned size)
{
    return offset >= start && offset - start < size;
}

int chalk_config_write(struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    device_check(device, "chalk_config_write");
    if (misplaced(offset, width))
        return -EINVAL;
    /* The platform's own: addresses, and interrupt capabilities at their longest (PCI 6.8.1, 6.8.2). */
    if (within(offset, CHALK_PCI_BAR, 24) || within(offset, CHALK_PCI_ROM, 4) ||
        (device->msi != 0 && within(offset, device->msi, 24)) ||
        (device->msix != 0 && within(offset, device->msix, 12)))
        return -EPERM;
    if (gone(device))
        return -ENODEV;
    if (offset == CHALK_PCI_COMMAND && !device->decodes)
        value &= ~(uint32_t)CHALK_PCI_COMMAND_MEMORY;
    pci_write(device, offset, width, value);
    return 0;
}

/* ---- windows -------------------------------------------------------------------------------------- */

int chalk_window_map(struct chalk_device *device, unsigned index, uint64_t offset, size_t size,
                     enum chalk_attribute attribute, struct chalk_mmio *window)
{
    device_check(device, "chalk_window_map");
    const struct pci_bar *bar = index < 6 ? &device->bars[index] : NULL;
    if (bar == NULL || bar->size == 0) {
        chalk_log(CHALK_ERROR, "pci: %s has nothing at base address register %u", device->name, index);
        return -ENODEV;
    }
    if (!bar->memory) {
        chalk_log(CHALK_ERROR, "pci: %s has I/O ports at base address register %u, not memory", device->name,
                  index);
        return -ENODEV;
    }
    if (!device->decodes) {
        chalk_log(CHALK_ERROR, "pci: the registers of %s are not used: its opening said why", device->name);
        return -ENODEV;
    }
    if (size == 0 || offset >= bar->size || size > bar->size - offset) {
        chalk_log(CHALK_ERROR,
                  "pci: %s: base address register %u has 0x%lx bytes, not 0x%lx of them at 0x%lx",
                  device->name, index, (unsigned long)bar->size, (unsigned long)size, (unsigned long)offset);
        return -ERANGE;
    }
    uint64_t start = bar->base + offset;
    int error = bar->base != 0 ? memory_map_device(start, size, attribute) : -EINVAL;
    if (error == -EINVAL) { /* RAM is there, or nothing can be */
        chalk_log(CHALK_ERROR,
                  "pci: %s: the firmware gave base address register %u no usable address (0x%lx); in its "
                  "set-up, turn 'above 4G decoding' on and 'plug and play OS' off",
                  device->name, index, (unsigned long)bar->base);
        return -ENODEV;
    }
    if (error != 0) {
        chalk_log(CHALK_ERROR,
                  "pci: %s: 0x%lx bytes at 0x%lx of base address register %u cannot be mapped: %s",
                  device->name, (unsigned long)size, (unsigned long)offset, index, chalk_error_name(error));
        return error;
    }
    *window = (struct chalk_mmio){.base = (uintptr_t)start, .size = size};
    return 0;
}
