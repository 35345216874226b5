/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt vectors. Vector 0 is the admin queue's. A queue gets one of its own while there is one; after
 * that it shares one that goes to its core, with as few others as can be; and if none does it is polled. An
 * interrupt is a hint, so whoever shares a vector looks, and finds something or nothing.
 *
 * A vector that nobody listens to is turned off: by its mask bit, if that can be reached, since this costs a
 * register; otherwise it is detached.
 */
#include "nvme.h"
#include <chalk/device.h>
#include <chalk/nvme_admin.h>

/* Of an entry of the table of vectors [PCI 3.0 6.8.2]. */
#define PCI_ENTRY_SIZE    16
#define PCI_ENTRY_CONTROL 12
#define PCI_ENTRY_MASKED  0x1u

/* One that nobody has; else one to be shared on `core`; or NULL. */
static struct nvme_vector *pick(struct chalk_nvme *nvme, unsigned core)
{
    struct nvme_vector *shared = nvme->vectors[0].core == core ? &nvme->vectors[0] : NULL;

    for (unsigned i = 1; i < nvme->info.vectors; i++) {
        struct nvme_vector *vector = &nvme->vectors[i];

        if (vector->users == 0)
            return vector;
        if (vector->core == core && (shared == NULL || vector->users < shared->users))
            shared = vector;
    }
    return shared;
}

static unsigned index_of(const struct chalk_nvme *nvme, const struct nvme_vector *vector)
{
    return (unsigned)(vector - nvme->vectors);
}

static int attach(struct chalk_nvme *nvme, struct nvme_vector *vector, unsigned core)
{
    int error = chalk_vector_attach(nvme->device, index_of(nvme, vector), core, &vector->interrupts);

    vector->core = core;
    vector->quiet = false;
    if (error == -ERANGE)
        nvme->info.vectors = (uint16_t)index_of(nvme, vector); /* the platform has fewer than the device */
    return error;
}

static void detach(struct chalk_nvme *nvme, const struct nvme_vector *vector)
{
    (void)chalk_vector_attach(nvme->device, index_of(nvme, vector), vector->core, NULL);
}

/* ---- on and off ------------------------------------------------------------------------------------ */

/* Returns whether the device has taken it: it has before this is answered, so no interrupt comes later. */
static bool set_mask(struct chalk_nvme *nvme, const struct nvme_vector *vector, bool masked)
{
    size_t at = index_of(nvme, vector) * PCI_ENTRY_SIZE + PCI_ENTRY_CONTROL;
    uint32_t control = chalk_mmio_read32(&nvme->vector_table, at) & ~PCI_ENTRY_MASKED;

    chalk_mmio_write32(&nvme->vector_table, at, control | (masked ? PCI_ENTRY_MASKED : 0));
    return ((chalk_mmio_read32(&nvme->vector_table, at) & PCI_ENTRY_MASKED) != 0) == masked;
}

static int turn(struct chalk_nvme *nvme, struct nvme_vector *vector, bool on)
{
    int error = 0;

    if (nvme->vector_table.size != 0)
        (void)set_mask(nvme, vector, !on);
    else if (on)
        error = attach(nvme, vector, vector->core);
    else
        detach(nvme, vector);
    if (error == 0)
        vector->quiet = !on;
    return error;
}

/*
 * A platform that keeps the table for itself reads as ones, or takes no writes; so does a device that has
 * none. One that shares it (VFIO may, bare metal always does) may turn a vector on again when it writes the
 * entry anew: then there are interrupts that nobody needs, until the next time.
 */
void chalk_nvme_vector_try_mask(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct chalk_mmio *table = &nvme->vector_table;
    unsigned msix;
    uint32_t where;

    if (nvme->vector_table_tried)
        return;
    nvme->vector_table_tried = true;
    if (chalk_pci_capability(nvme->device, CHALK_PCI_CAP_MSIX, 0, &msix) != 0 ||
        chalk_config_read(nvme->device, msix + CHALK_PCI_MSIX_TABLE, 4, &where) != 0 ||
        chalk_window_map(nvme->device, where & CHALK_PCI_MSIX_BAR, where & ~CHALK_PCI_MSIX_BAR,
                         (size_t)nvme->info.vectors * PCI_ENTRY_SIZE, CHALK_UNCACHED, table) != 0 ||
        !set_mask(nvme, queue->vector, true) || !set_mask(nvme, queue->vector, false))
        table->size = 0;
}

int chalk_nvme_vector_listen(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct nvme_vector *vector = queue->vector;
    int error = 0;

    nvme_lock(&nvme->vectors_lock);
    if (vector->quiet)
        error = turn(nvme, vector, true);
    vector->listeners += error == 0;
    nvme_unlock(&nvme->vectors_lock);
    return error;
}

void chalk_nvme_vector_quiet(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;

    nvme_lock(&nvme->vectors_lock);
    if (--queue->vector->listeners == 0)
        (void)turn(nvme, queue->vector, false);
    nvme_unlock(&nvme->vectors_lock);
}

void chalk_nvme_vector_settle(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;

    nvme_lock(&nvme->vectors_lock);
    if (queue->vector != NULL && queue->vector->quiet)
        (void)turn(nvme, queue->vector, false);
    nvme_unlock(&nvme->vectors_lock);
}

/* ---- coalescing [Base 5.27.1.6, 5.27.1.7] ---------------------------------------------------------- */

int chalk_nvme_coalesce(struct chalk_nvme *nvme)
{
    const struct nvme_command command = {
        .cdw0 = NVME_SET_FEATURES,
        .cdw10 = CHALK_NVME_FEATURE_COALESCING,
        .cdw11 = CHALK_NVME_COALESCING(nvme->coalesce, (nvme->coalesce_us + 99) / 100),
    };
    struct nvme_admin_call call = {.mends = nvme->open};
    int error;

    if (nvme->coalesce == 0)
        return 0;
    error = chalk_nvme_admin_run(nvme, &call, &command);
    nvme->info.coalesces = error == 0;
    if (call.status == 0)
        return error;
    nvme->coalesce = 0;
    chalk_log(CHALK_WARNING, "NVMe %s: its interrupts are not coalesced (%s)", nvme->name,
              chalk_nvme_status_name(call.status));
    return 0;
}

/* If it fails, interrupts come later, or sooner; whatever is the reason, the next command finds it. */
void chalk_nvme_vector_configure(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct nvme_admin_call call = {
        .what = "Set Features (interrupt vector)", .epoch = queue->epoch, .awake = true};
    struct nvme_command command = {.cdw0 = NVME_SET_FEATURES, .cdw10 = CHALK_NVME_FEATURE_VECTOR};

    if (queue->vector == NULL || !nvme->info.coalesces)
        return;
    command.cdw11 = CHALK_NVME_VECTOR(index_of(nvme, queue->vector), queue->vector->prompt);
    (void)chalk_nvme_admin_run(nvme, &call, &command);
}

/* ---- theirs ---------------------------------------------------------------------------------------- */

int chalk_nvme_vector_get(struct nvme_queue *queue, const struct chalk_nvme_queue_options *options)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct nvme_vector *vector;
    int error;

    if (nvme->info.vectors == 0) {
        chalk_log(CHALK_ERROR, "NVMe %s: it has no MSI-X vectors; poll it", nvme->name);
        return -ENOTSUP;
    }
    do {
        error = 0;
        vector = pick(nvme, options->core);
        if (vector != NULL && vector != nvme->vectors && vector->users == 0)
            error = attach(nvme, vector, options->core);
        else if (!nvme->vectors_short) {
            nvme->vectors_short = true;
            chalk_log(
                CHALK_WARNING,
                "NVMe %s: no interrupt vector is left (it has %u): further queues share one of their core, "
                "or are polled",
                nvme->name, nvme->info.vectors);
        }
    } while (error == -ERANGE);
    if (error != 0 || vector == NULL)
        return error;
    vector->prompt = options->prompt || (vector->users != 0 && vector->prompt);
    vector->users++;
    queue->vector = vector;
    queue->block.interrupts = &vector->interrupts;
    error = chalk_nvme_vector_listen(queue);
    queue->block.may_wait = error == 0;
    return error;
}

void chalk_nvme_vector_put(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct nvme_vector *vector = queue->vector;

    if (vector == NULL)
        return;
    nvme_lock(&nvme->vectors_lock);
    vector->listeners -= queue->block.may_wait;
    if (--vector->users != 0 && vector->listeners == 0)
        (void)turn(nvme, vector, false);
    else if (vector->users == 0 && vector != nvme->vectors)
        detach(nvme, vector);
    nvme_unlock(&nvme->vectors_lock);
}
