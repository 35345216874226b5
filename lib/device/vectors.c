/* SPDX-License-Identifier: BSD-2-Clause */
/* See chalk/vectors.h. */
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/vectors.h>
#include <string.h>

void chalk_vectors_init(struct chalk_vectors *vectors, struct chalk_device *device, const char *kind,
                        const char *name, bool listens)
{
    unsigned msix;
    uint32_t control;

    memset(vectors, 0, sizeof *vectors);
    vectors->device = device;
    vectors->kind = kind;
    vectors->name = name;
    vectors->vectors[0].listeners = listens;
    if (chalk_pci_capability(device, CHALK_PCI_CAP_MSIX, 0, &msix) == 0 &&
        chalk_config_read(device, msix + CHALK_PCI_MSIX_CONTROL, 2, &control) == 0) {
        unsigned size = (control & CHALK_PCI_MSIX_CONTROL_SIZE) + 1;

        vectors->count = size < CHALK_VECTORS_MAX ? size : CHALK_VECTORS_MAX;
    }
}

/* ---- attached -------------------------------------------------------------------------------------- */

static int attach(struct chalk_vectors *vectors, struct chalk_vector *vector, unsigned core)
{
    unsigned index = chalk_vector_index(vectors, vector);
    int error = chalk_vector_attach(vectors->device, index, core, &vector->interrupts);

    vector->core = core;
    vector->off = false;
    if (error == -ERANGE)
        vectors->count = index; /* the platform has fewer than the device */
    return error;
}

static void detach(struct chalk_vectors *vectors, const struct chalk_vector *vector)
{
    (void)chalk_vector_attach(vectors->device, chalk_vector_index(vectors, vector), vector->core, NULL);
}

/* It stays on or off, as its listeners want it: see chalk_vector_settle(). */
int chalk_vectors_attach_own(struct chalk_vectors *vectors, unsigned core)
{
    struct chalk_vector *own = &vectors->vectors[0];
    int error = -ENOTSUP;

    own->core = core;
    if (vectors->count != 0)
        error = chalk_vector_attach(vectors->device, 0, core, &own->interrupts);
    if (error != 0)
        vectors->count = 0;
    return error;
}

void chalk_vectors_detach_own(struct chalk_vectors *vectors)
{
    if (vectors->count != 0)
        detach(vectors, &vectors->vectors[0]);
}

/* ---- on and off ------------------------------------------------------------------------------------ */

/* Returns whether the device has taken it: it has before this is answered, so no interrupt comes later. */
static bool set_mask(struct chalk_vectors *vectors, const struct chalk_vector *vector, bool masked)
{
    size_t at = (size_t)chalk_vector_index(vectors, vector) * CHALK_PCI_MSIX_ENTRY_SIZE +
                CHALK_PCI_MSIX_ENTRY_CONTROL;
    uint32_t control = chalk_mmio_read32(&vectors->table, at) & ~CHALK_PCI_MSIX_ENTRY_MASKED;

    chalk_mmio_write32(&vectors->table, at, control | (masked ? CHALK_PCI_MSIX_ENTRY_MASKED : 0));
    return ((chalk_mmio_read32(&vectors->table, at) & CHALK_PCI_MSIX_ENTRY_MASKED) != 0) == masked;
}

static int turn(struct chalk_vectors *vectors, struct chalk_vector *vector, bool on)
{
    int error = 0;

    if (vectors->table.size != 0)
        (void)set_mask(vectors, vector, !on);
    else if (on)
        error = attach(vectors, vector, vector->core);
    else
        detach(vectors, vector);
    if (error == 0)
        vector->off = !on;
    return error;
}

/*
 * A platform that keeps the table for itself reads as ones, or takes no writes; so does a device that has
 * none. One that shares it (VFIO may, bare metal always does) may turn a vector on again when it writes the
 * entry anew: then there are interrupts that no queue needs, until the next time.
 */
bool chalk_vectors_can_mask(struct chalk_vectors *vectors, struct chalk_vector *vector)
{
    struct chalk_mmio *table = &vectors->table;
    unsigned msix;
    uint32_t where;

    if (vectors->table_tried)
        return table->size != 0;
    vectors->table_tried = true;
    if (chalk_pci_capability(vectors->device, CHALK_PCI_CAP_MSIX, 0, &msix) != 0 ||
        chalk_config_read(vectors->device, msix + CHALK_PCI_MSIX_TABLE, 4, &where) != 0 ||
        chalk_window_map(vectors->device, where & CHALK_PCI_MSIX_BAR, where & ~CHALK_PCI_MSIX_BAR,
                         (size_t)vectors->count * CHALK_PCI_MSIX_ENTRY_SIZE, CHALK_UNCACHED, table) != 0 ||
        !set_mask(vectors, vector, true) || !set_mask(vectors, vector, false))
        table->size = 0;
    return table->size != 0;
}

int chalk_vector_listen(struct chalk_vectors *vectors, struct chalk_vector *vector)
{
    int error = 0;

    chalk_lock_take(&vectors->lock);
    if (vector->off)
        error = turn(vectors, vector, true);
    vector->listeners += error == 0;
    chalk_lock_release(&vectors->lock);
    return error;
}

void chalk_vector_quiet(struct chalk_vectors *vectors, struct chalk_vector *vector)
{
    chalk_lock_take(&vectors->lock);
    if (--vector->listeners == 0)
        (void)turn(vectors, vector, false);
    chalk_lock_release(&vectors->lock);
}

void chalk_vector_settle(struct chalk_vectors *vectors, struct chalk_vector *vector)
{
    chalk_lock_take(&vectors->lock);
    if (vector->off)
        (void)turn(vectors, vector, false);
    chalk_lock_release(&vectors->lock);
}

/* ---- theirs ---------------------------------------------------------------------------------------- */

/* One that no queue uses; else one to be shared on `core`; or NULL. */
static struct chalk_vector *pick(struct chalk_vectors *vectors, unsigned core)
{
    struct chalk_vector *shared = vectors->vectors[0].core == core ? &vectors->vectors[0] : NULL;

    for (unsigned i = 1; i < vectors->count; i++) {
        struct chalk_vector *vector = &vectors->vectors[i];

        if (vector->users == 0)
            return vector;
        if (vector->core == core && (shared == NULL || vector->users < shared->users))
            shared = vector;
    }
    return shared;
}

static void log_once_that_they_ran_short(struct chalk_vectors *vectors)
{
    if (!vectors->ran_short)
        chalk_log(
            CHALK_WARNING,
            "%s %s: no interrupt vector is left (it has %u): further queues share one of their core, or "
            "are polled",
            vectors->kind, vectors->name, vectors->count);
    vectors->ran_short = true;
}

int chalk_vectors_get(struct chalk_vectors *vectors, unsigned core, struct chalk_vector **vector)
{
    struct chalk_vector *picked;
    int error;

    *vector = NULL;
    if (vectors->count == 0) {
        chalk_log(CHALK_ERROR, "%s %s: it has no MSI-X vectors; poll it", vectors->kind, vectors->name);
        return -ENOTSUP;
    }
    do {
        error = 0;
        picked = pick(vectors, core);
        if (picked != NULL && picked != vectors->vectors && picked->users == 0)
            error = attach(vectors, picked, core);
        else
            log_once_that_they_ran_short(vectors);
    } while (error == -ERANGE);
    if (error != 0 || picked == NULL)
        return error;
    picked->users++;
    *vector = picked;
    return chalk_vector_listen(vectors, picked);
}

void chalk_vectors_put(struct chalk_vectors *vectors, struct chalk_vector *vector, bool listens)
{
    chalk_lock_take(&vectors->lock);
    vector->listeners -= listens;
    if (--vector->users != 0 && vector->listeners == 0)
        (void)turn(vectors, vector, false);
    else if (vector->users == 0 && vector != vectors->vectors)
        detach(vectors, vector);
    chalk_lock_release(&vectors->lock);
}
