/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts of devices: a message that the device writes to the local APIC of a core (SDM vol. 3, 11.11),
 * from an entry of its MSI-X table (PCI 6.8.2) or, on simpler devices, from the one message of MSI (6.8.1).
 *
 * Whatever is changed is masked while it changes. Interrupt pins are not used: methods of the firmware's AML
 * alone say where they lead (_PRT, ACPI 6.5 6.2.13).
 */
#include "machine.h"
#include "pci.h"

#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/log.h>

/* The message: destination in address bits 19:12, fixed delivery; the data is the vector */
#define MESSAGE_ADDRESS  0xfee00000u
#define MESSAGE_MAX_APIC 254u /* 255 is all of them; more needs interrupt remapping */

enum { MAX_ATTACHMENTS = 256 };

struct attachment {
    struct chalk_device *device; /* NULL: free */
    unsigned vector, core;
    int cpu_vector;
};

static struct attachment attachments[MAX_ATTACHMENTS];
static struct chalk_lock lock;

static struct attachment *find(const struct chalk_device *device, unsigned vector)
{
    for (unsigned i = 0; i < MAX_ATTACHMENTS; i++)
        if (attachments[i].device == device && (device == NULL || attachments[i].vector == vector))
            return &attachments[i];
    return NULL;
}

/* ---- MSI-X ---------------------------------------------------------------------------------------- */

static volatile uint32_t *entry(const struct chalk_device *device, unsigned vector, unsigned field)
{
    return (volatile uint32_t *)(device->msix_table + vector * CHALK_PCI_MSIX_ENTRY_SIZE + field);
}

static void mask_entry(const struct chalk_device *device, unsigned vector)
{
    *entry(device, vector, CHALK_PCI_MSIX_ENTRY_CONTROL) |= CHALK_PCI_MSIX_ENTRY_MASKED;
    (void)*entry(device, vector,
                 CHALK_PCI_MSIX_ENTRY_CONTROL); /* the write has arrived when this is answered */
}

static void program_entry(const struct attachment *attachment)
{
    const struct chalk_device *device = attachment->device;
    unsigned vector = attachment->vector;

    mask_entry(device, vector);
    *entry(device, vector, CHALK_PCI_MSIX_ENTRY_ADDRESS) = MESSAGE_ADDRESS | cpu_apic_id(attachment->core)
                                                                                 << 12;
    *entry(device, vector, CHALK_PCI_MSIX_ENTRY_ADDRESS + 4) = 0;
    *entry(device, vector, CHALK_PCI_MSIX_ENTRY_DATA) = (uint32_t)attachment->cpu_vector;
    *entry(device, vector, CHALK_PCI_MSIX_ENTRY_CONTROL) &= ~CHALK_PCI_MSIX_ENTRY_MASKED;
}

/* Finds the table and maps it; it is in a BAR, at a place that the device tells. */
static int map_table(struct chalk_device *device)
{
    uint32_t where = pci_read(device, device->msix + CHALK_PCI_MSIX_TABLE, 4),
             offset = where & ~CHALK_PCI_MSIX_BAR;
    unsigned size = device->vector_count * CHALK_PCI_MSIX_ENTRY_SIZE, index = where & CHALK_PCI_MSIX_BAR;
    const struct pci_bar *bar = index < 6 ? &device->bars[index] : NULL;

    int error = -EINVAL;
    if (device->decodes && bar != NULL && bar->memory && bar->base != 0 && offset < bar->size &&
        size <= bar->size - offset)
        error = memory_map_device(bar->base + offset, size, CHALK_UNCACHED);
    if (error == 0)
        device->msix_table = (uintptr_t)(bar->base + offset);
    if (error != -EINVAL)
        return error;
    chalk_log(CHALK_ERROR,
              "pci: %s has its MSI-X table where there is nothing (BAR %u + 0x%x); use it polled",
              device->name, index, offset);
    return -ENOTSUP;
}

/* Turns MSI-X on with every entry masked. The function is masked until that is done. */
static void start_msix(struct chalk_device *device)
{
    uint32_t control = pci_read(device, device->msix + CHALK_PCI_MSIX_CONTROL, 2) &
                       ~(CHALK_PCI_MSIX_CONTROL_ON | CHALK_PCI_MSIX_CONTROL_MASK);

    pci_write(device, device->msix + CHALK_PCI_MSIX_CONTROL, 2,
              control | CHALK_PCI_MSIX_CONTROL_ON | CHALK_PCI_MSIX_CONTROL_MASK);
    for (unsigned i = 0; i < device->vector_count; i++)
        mask_entry(device, i);
    pci_write(device, device->msix + CHALK_PCI_MSIX_CONTROL, 2, control | CHALK_PCI_MSIX_CONTROL_ON);
    device->msix_on = true;
}

/* ---- MSI ------------------------------------------------------------------------------------------ */

static void stop_msi(const struct chalk_device *device)
{
    uint32_t control = pci_read(device, device->msi + CHALK_PCI_MSI_CONTROL, 2);

    pci_write(device, device->msi + CHALK_PCI_MSI_CONTROL, 2,
              control & ~(CHALK_PCI_MSI_CONTROL_ON | CHALK_PCI_MSI_CONTROL_COUNT));
}

static void program_msi(const struct attachment *attachment)
{
    const struct chalk_device *device = attachment->device;
    uint32_t control = pci_read(device, device->msi + CHALK_PCI_MSI_CONTROL, 2) &
                       ~(CHALK_PCI_MSI_CONTROL_ON | CHALK_PCI_MSI_CONTROL_COUNT);
    unsigned data = device->msi + (control & CHALK_PCI_MSI_CONTROL_64 ? 12u : 8u);

    stop_msi(device);
    pci_write(device, device->msi + CHALK_PCI_MSI_ADDRESS, 4,
              MESSAGE_ADDRESS | cpu_apic_id(attachment->core) << 12);
    if (control & CHALK_PCI_MSI_CONTROL_64)
        pci_write(device, device->msi + CHALK_PCI_MSI_ADDRESS + 4, 4, 0);
    pci_write(device, data, 2, (uint32_t)attachment->cpu_vector);
    if (control & CHALK_PCI_MSI_CONTROL_MASK)
        pci_write(device, data + 4, 4, 0);
    pci_write(device, device->msi + CHALK_PCI_MSI_CONTROL, 2, control | CHALK_PCI_MSI_CONTROL_ON);
}

/* ---- either --------------------------------------------------------------------------------------- */

static void program(const struct attachment *attachment)
{
    if (attachment->device->msix != 0)
        program_entry(attachment);
    else
        program_msi(attachment);
}

/* Called while the device is opened, and closed. */
void msi_reset(struct chalk_device *device)
{
    struct attachment *attachment;

    device->msi = pci_capability(device, CHALK_PCI_CAP_MSI);
    device->msix = pci_capability(device, CHALK_PCI_CAP_MSIX);
    device->msix_on = false;
    device->vector_count = device->msi != 0;
    if (device->msi != 0)
        stop_msi(device);
    if (device->msix != 0) {
        uint32_t control = pci_read(device, device->msix + CHALK_PCI_MSIX_CONTROL, 2);

        pci_write(device, device->msix + CHALK_PCI_MSIX_CONTROL, 2,
                  control & ~(CHALK_PCI_MSIX_CONTROL_ON | CHALK_PCI_MSIX_CONTROL_MASK));
        device->vector_count = (control & CHALK_PCI_MSIX_CONTROL_SIZE) + 1;
    }
    device->msix_table = 0;
    chalk_lock_take(&lock);
    for (attachment = attachments; attachment < attachments + MAX_ATTACHMENTS; attachment++) {
        if (attachment->device != device)
            continue;
        interrupt_detach(attachment->core, attachment->cpu_vector);
        attachment->device = NULL;
    }
    chalk_lock_release(&lock);
}

void msi_restore(struct chalk_device *device)
{
    chalk_lock_take(&lock);
    if (device->msix_on)
        start_msix(device);
    for (unsigned i = 0; i < MAX_ATTACHMENTS; i++)
        if (attachments[i].device == device)
            program(&attachments[i]);
    chalk_lock_release(&lock);
}

static void detach(struct chalk_device *device, unsigned vector)
{
    struct attachment *attachment = find(device, vector);

    if (attachment == NULL)
        return;
    if (device->msix != 0)
        mask_entry(device, vector);
    else
        stop_msi(device);
    interrupt_detach(attachment->core, attachment->cpu_vector);
    attachment->device = NULL;
}

static int attach(struct chalk_device *device, unsigned vector, unsigned core, _Atomic(uint32_t) *counter)
{
    struct attachment *attachment = find(device, vector), old = {0};

    if (attachment != NULL)
        old = *attachment;
    else if ((attachment = find(NULL, 0)) == NULL)
        return -ENOSPC;
    if (device->msix != 0 && device->msix_table == 0) {
        int error = map_table(device);

        if (error != 0)
            return error;
    }
    int cpu_vector = interrupt_attach(core, counter);
    if (cpu_vector < 0)
        return cpu_vector;
    if (device->msix != 0 && !device->msix_on)
        start_msix(device);
    *attachment = (struct attachment){device, vector, core, cpu_vector};
    program(attachment);
    if (old.device != NULL) /* now nothing more is sent there */
        interrupt_detach(old.core, old.cpu_vector);
    return 0;
}

/* Whether messages can be sent to the core; if not that is logged. */
static bool can_reach(unsigned core)
{
    if (chalk_core_check(core, "chalk_vector_attach") != 0)
        return false;
    if (cpu_apic_id(core) <= MESSAGE_MAX_APIC)
        return true;
    chalk_log(CHALK_ERROR,
              "chalk_vector_attach(): core %u has APIC %u, and devices reach none above %u without interrupt "
              "remapping; use another core",
              core, cpu_apic_id(core), MESSAGE_MAX_APIC);
    return false;
}

int chalk_vector_attach(struct chalk_device *device, unsigned vector, unsigned core,
                        _Atomic(uint32_t) *counter)
{
    int error = 0;

    device_check(device, "chalk_vector_attach");
    if (device->vector_count == 0) {
        chalk_log(CHALK_ERROR,
                  "pci: %s has no MSI-X and no MSI, and on bare metal interrupt pins are not used; poll it",
                  device->name);
        return -ENOTSUP;
    }
    if (vector >= device->vector_count) {
        chalk_log(CHALK_ERROR, "pci: %s has no interrupt vector %u: it has %u, numbered from 0", device->name,
                  vector, device->vector_count);
        return -ERANGE;
    }
    if (counter != NULL && !can_reach(core))
        return -EINVAL;
    chalk_lock_take(&lock);
    if (counter == NULL)
        detach(device, vector);
    else
        error = attach(device, vector, core, counter);
    chalk_lock_release(&lock);
    if (error == -ENOSPC)
        chalk_log(CHALK_ERROR, "pci: %s: no interrupt vectors are left on core %u; use another core",
                  device->name, core);
    return error;
}

int chalk_vector_rearm(struct chalk_device *device, unsigned vector)
{
    device_check(device, "chalk_vector_rearm");
    if (device->vector_count == 0)
        return -ENOTSUP;
    return vector < device->vector_count ? 0 : -ERANGE; /* messages are edges */
}
