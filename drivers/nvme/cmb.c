/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that the controller has itself [Base 8.5]: a submission queue there is written by the program and
 * found by the controller at once, instead of being fetched over the bus after the doorbell.
 *
 * The memory is a window, so stores to it are combined on their way and may arrive late: before the doorbell
 * they are flushed. As with shadow doorbells, a queue does not know; its doorbell is served by calls, and one
 * is here.
 *
 * In the controller's addresses the memory begins where we say [Base 3.1.3.16]. Nothing that is shared with a
 * device is there: above all addresses of memory.
 */
#include "nvme.h"

#define CMB_ADDRESS (1ull << 62)
#define CMB_MAPPED  (16u << 20) /* at most: more than all queues need */
#define CMB_ALIGN   4096u       /* of a queue, at least: pages are no smaller */

void chalk_nvme_cmb_configure(struct chalk_nvme *nvme)
{
    const uint64_t control = CMB_ADDRESS | NVME_CMBMSC_CRE | NVME_CMBMSC_CMSE;

    if ((nvme->cap & NVME_CAP_CMBS) == 0)
        return;
    /* The lower half, which enables it, is last: then the address is complete. */
    chalk_mmio_write32(&nvme->registers, NVME_CMBMSC + 4, (uint32_t)(control >> 32));
    chalk_mmio_write32(&nvme->registers, NVME_CMBMSC, (uint32_t)control);
}

/*
 * Where it is, how much, and for what; and the persistent memory region, which this driver only knows of.
 * What controllers before NVMe 1.4 have is left alone: it is where firmware has put it, which only firmware
 * knows.
 */
void chalk_nvme_cmb_detect(struct chalk_nvme *nvme)
{
    struct chalk_nvme_info *info = &nvme->info;
    uint32_t location, size;
    unsigned unit;

    info->persistent_memory = (nvme->cap & NVME_CAP_PMRS) != 0;
    if ((nvme->cap & NVME_CAP_CMBS) == 0)
        return;
    chalk_nvme_cmb_configure(nvme);
    size = chalk_mmio_read32(&nvme->registers, NVME_CMBSZ);
    location = chalk_mmio_read32(&nvme->registers, NVME_CMBLOC);
    unit = 12 + 4 * NVME_CMBSZ_SZU(size);
    if (size == NVME_GONE || unit > 36)
        return;
    info->controller_memory.size = (uint64_t)NVME_CMBSZ_SZ(size) << unit;
    info->controller_memory.uses = (uint8_t)NVME_CMBSZ_USES(size);
    nvme->cmb.bar = NVME_CMBLOC_BIR(location);
    nvme->cmb.offset = (uint64_t)NVME_CMBLOC_OFST(location) << unit;
}

/* Maps it, the first time that it is wanted. False: it cannot be used. */
static bool map(struct chalk_nvme *nvme)
{
    struct nvme_cmb *cmb = &nvme->cmb;
    uint64_t size = nvme->info.controller_memory.size;
    const char *why = NULL;
    int error;

    if (!cmb->wanted || cmb->window.base != 0)
        return cmb->wanted;
    cmb->wanted = false;
    if ((nvme->info.controller_memory.uses & CHALK_NVME_CMB_SUBMISSIONS) == 0) {
        why = "it has none, or none for that";
    } else if ((chalk_mmio_read32(&nvme->registers, NVME_CMBSTS) & NVME_CMBSTS_CBAI) != 0) {
        why = "it does not take its address";
    } else {
        error = chalk_window_map(nvme->device, cmb->bar, cmb->offset, size < CMB_MAPPED ? size : CMB_MAPPED,
                                 CHALK_WRITE_COMBINE, &cmb->window);
        if (error != 0)
            why = chalk_error_name(error);
        else if (cmb->window.ops != NULL)
            why = "it can only be reached by calls";
    }
    if (why != NULL)
        chalk_log(CHALK_WARNING, "NVMe %s: no submission queues in its own memory: %s", nvme->name, why);
    cmb->wanted = why == NULL;
    return cmb->wanted;
}

/* Memory of the controller for queue `id`'s commands. Returns false if there is none to be had. */
static bool get(struct chalk_nvme *nvme, unsigned id, size_t size, struct chalk_dma *memory)
{
    struct nvme_cmb *cmb = &nvme->cmb;
    uint32_t align = nvme->info.page_size > CMB_ALIGN ? nvme->info.page_size : CMB_ALIGN, at = 0;

    if (!map(nvme))
        return false;
    size = (size + align - 1) & -(size_t)align;
    /* First fit: past every piece that is in the way, until none is. */
    for (unsigned i = 1; i < NVME_QUEUES; i++)
        if (cmb->pieces[i].size != 0 && at < cmb->pieces[i].at + cmb->pieces[i].size &&
            cmb->pieces[i].at < at + size) {
            at = cmb->pieces[i].at + cmb->pieces[i].size;
            i = 0;
        }
    if (size > cmb->window.size || at > cmb->window.size - size)
        return false;
    cmb->pieces[id] = (struct nvme_cmb_piece){.at = at, .size = (uint32_t)size};
    nvme->info.controller_memory.used += (uint32_t)size;
    *memory =
        (struct chalk_dma){.va = (void *)(cmb->window.base + at), .iova = CMB_ADDRESS + at, .size = size};
    return true;
}

void chalk_nvme_cmb_put(struct chalk_nvme *nvme, unsigned id)
{
    struct nvme_cmb_piece *piece = &nvme->cmb.pieces[id];

    nvme->info.controller_memory.used -= piece->size;
    piece->size = 0;
}

/* ---- doorbells ------------------------------------------------------------------------------------- */

static void ring(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    const struct chalk_mmio *doorbell = window->owner;

    (void)width;
    chalk_wc_flush();
    chalk_mmio_write32(doorbell, offset, (uint32_t)value);
}

static uint64_t never(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    (void)window;
    (void)offset;
    (void)width;
    return 0; /* doorbells are not read */
}

void chalk_nvme_cmb_use(struct nvme_queue *queue)
{
    static const struct chalk_mmio_ops ops = {.read = never, .write = ring};
    struct chalk_dma memory;

    if (!get(queue->nvme, queue->id, queue->entries * sizeof(struct nvme_command), &memory))
        return;
    queue->commands = memory.va;
    queue->commands_iova = memory.iova;
    queue->cmb_doorbell = queue->tail_doorbell;
    queue->tail_doorbell = (struct chalk_mmio){.size = 4, .ops = &ops, .owner = &queue->cmb_doorbell};
}

/* The piece stays the queue's: pieces are given out and taken back by the core that opens and closes queues.
 */
void chalk_nvme_cmb_doubt(struct nvme_queue *queue)
{
    if (queue->cmb_doorbell.size == 0 || queue->in_flight == 0 || nvme_succeeded(queue) != queue->succeeded)
        return;
    chalk_log(
        CHALK_WARNING,
        "NVMe %s: queue %u: no command in the controller's own memory has succeeded; the program's is used",
        queue->nvme->name, queue->id);
    queue->nvme->cmb.wanted = false;
    queue->tail_doorbell = queue->cmb_doorbell;
    queue->cmb_doorbell.size = 0;
    queue->commands = queue->command_memory.va;
    queue->commands_iova = queue->command_memory.iova;
}
