/* SPDX-License-Identifier: BSD-2-Clause */
/* See nvme_model.h. Citations as in drivers/nvme/registers.h. */
#include "nvme_model.h"
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/nvme_command.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct nvme_model the_model;

__attribute__((format(printf, 2, 3))) static void fault(struct nvme_model *model, const char *format, ...)
{
    va_list list;

    if (model->faults++ != 0)
        return;
    va_start(list, format);
    fputs("# model: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
}

static uint64_t page_size(const struct nvme_model *model)
{
    return 4096ull << (model->cc >> 7 & 0xf);
}

static uint32_t stride(const struct nvme_model *model)
{
    return 4u << NVME_CAP_DSTRD(model->cap);
}

/* ---- data ------------------------------------------------------------------------------------------ */

/* As a device copies, and so not as AddressSanitizer watches: what is lent to it is poisoned for all others.
 */
static __attribute__((no_sanitize("address"))) void copy(void *to, const void *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((volatile unsigned char *)to)[i] = ((const volatile unsigned char *)from)[i];
}

/* Its own memory, in so far as the program has given that an address [Base 3.1.3.16]. */
static void *own_memory(struct nvme_model *model, uint64_t address, size_t size)
{
    uint64_t base = model->cmbmsc & ~0xfffull;

    if (model->cmb_deaf || (model->cmbmsc & NVME_CMBMSC_CMSE) == 0 || address < base ||
        address - base > MODEL_CMB - size)
        return NULL;
    model->fetched++;
    return model->cmb + (address - base);
}

/* Moves `size` bytes between `local` and one page's worth of the program's memory. */
static bool move(struct nvme_model *model, uint64_t address, void *local, size_t size, bool to_program)
{
    void *memory =
        fake_device_dma(model->device, address, size, to_program ? CHALK_DEVICE_WRITES : CHALK_DEVICE_READS);

    if (memory == NULL && !to_program)
        memory = own_memory(model, address, size);
    if (memory == NULL && model->cmb_deaf && address >= 1ull << 62) {
        model->csts |= NVME_CSTS_CFS;
        return false;
    }
    if (memory == NULL) {
        fault(model, "%zu bytes at 0x%llx cannot be reached", size, (unsigned long long)address);
        return false;
    }
    copy(to_program ? memory : local, to_program ? local : memory, size);
    return true;
}

/* The same, as descriptors say [Base 4.1.2]. */
static bool transfer_pieces(struct nvme_model *model, const struct nvme_command *command, uint8_t *local,
                            size_t size, bool to_program)
{
    uint64_t list = command->sgl.address, end = list + command->sgl.length;
    struct nvme_sgl piece = command->sgl;

    if (NVME_SGLS(model->controller.sgls) == 0)
        fault(model, "a scatter gather list, which it does not know");
    for (bool listed = piece.type == NVME_SGL_LAST; size != 0 || (listed && list != end);) {
        if (listed) {
            if (list == end || !move(model, list, &piece, sizeof piece, false))
                return false;
            list += sizeof piece;
        }
        if (piece.type != NVME_SGL_DATA || piece.length > size || piece.length == 0) {
            fault(model, "a piece of type 0x%02x and %u bytes, of %zu", piece.type, piece.length, size);
            return false;
        }
        if (NVME_SGLS(model->controller.sgls) == NVME_SGLS_DWORDS &&
            ((piece.address | piece.length) & 3) != 0)
            fault(model, "a piece of %u bytes at 0x%llx", piece.length, (unsigned long long)piece.address);
        if (!move(model, piece.address, local, piece.length, to_program))
            return false;
        local += piece.length;
        size -= piece.length;
        if (!listed && size != 0) {
            fault(model, "%zu bytes are nowhere", size);
            return false;
        }
    }
    return true;
}

/* Moves a command's data as PRPs say [Base 4.1.1]. */
static bool transfer(struct nvme_model *model, const struct nvme_command *command, uint8_t *local,
                     size_t size, bool to_program)
{
    uint64_t page = page_size(model), list = command->prp2, address = command->prp1;
    size_t piece = page - address % page;

    if ((command->cdw0 & NVME_DATA_SGL) != 0)
        return transfer_pieces(model, command, local, size, to_program);

    if (address % 4 != 0)
        fault(model, "PRP1 0x%llx is not a multiple of 4", (unsigned long long)address);
    if (piece > size)
        piece = size;
    if (!move(model, address, local, piece, to_program))
        return false;
    local += piece;
    size -= piece;
    if (size == 0)
        return true;
    if (size <= page) {
        if (list % page != 0)
            fault(model, "PRP2 0x%llx is not a page", (unsigned long long)list);
        return move(model, list, local, size, to_program);
    }
    if (list % 8 != 0)
        fault(model, "PRP list 0x%llx is not a multiple of 8", (unsigned long long)list);
    while (size != 0) {
        if (!move(model, list, &address, 8, false))
            return false;
        list += 8;
        if (list % page == 0 && size > page) { /* the last entry of a page, and not the last of the list */
            list = address;
            continue;
        }
        if (list % page == 0) /* controllers are known that take it for a pointer all the same */
            fault(model, "a page of data in the last entry of a page of list");
        if (address % page != 0)
            fault(model, "PRP entry 0x%llx is not a page", (unsigned long long)address);
        piece = size < page ? size : page;
        if (!move(model, address, local, piece, to_program))
            return false;
        local += piece;
        size -= piece;
    }
    return true;
}

bool model_transfer(struct nvme_model *model, const struct nvme_command *command, void *local, size_t size,
                    bool to_program)
{
    return transfer(model, command, local, size, to_program);
}

/* ---- completions ----------------------------------------------------------------------------------- */

static uint32_t next_completion(const struct nvme_model_queue *queue)
{
    return queue->posted + 1 == queue->entries ? 0 : queue->posted + 1;
}

void model_post(struct nvme_model *model, unsigned id, struct nvme_completion completion)
{
    struct nvme_model_queue *queue = &model->queues[id];
    uint32_t next = next_completion(queue);

    if (next == queue->taken)
        fault(model, "completion queue %u overflows", id);
    completion.outcome = (completion.outcome & ~(1u << 16)) | queue->phase << 16;
    move(model, queue->completions + queue->posted * sizeof completion, &completion, sizeof completion, true);
    queue->posted = next;
    if (next == 0)
        queue->phase ^= 1;
    if (queue->interrupts && (model->masks[queue->vector] & 1) != 0)
        model->pending[queue->vector] = true;
    else if (queue->interrupts)
        fake_interrupt(model->device, queue->vector);
}

static void complete(struct nvme_model *model, unsigned id, uint32_t cdw0, uint16_t status, uint64_t result)
{
    struct nvme_completion completion = {
        .result = (uint32_t)result,
        .dword1 = (uint32_t)(result >> 32),
        .origin = id << 16 | model->queues[id].head,
        .outcome = cdw0 >> 16 | (uint32_t)status << 17,
    };

    if (model->tamper == NULL || model->tamper(model, id, &completion))
        model_post(model, id, completion);
}

/* ---- commands -------------------------------------------------------------------------------------- */

static uint16_t identify(struct nvme_model *model, const struct nvme_command *command)
{
    uint8_t answer[4096] = {0};
    uint32_t nsid = command->nsid;

    switch (command->cdw10 & 0xff) {
    case CHALK_NVME_CNS_CONTROLLER:
        memcpy(answer, &model->controller, sizeof answer);
        break;
    case CHALK_NVME_CNS_NAMESPACE:
        if (nsid == 0 || nsid > model->controller.nn)
            return 0x00b;
        if (nsid <= 3)
            memcpy(answer, &model->namespaces[nsid - 1], sizeof answer);
        break;
    case CHALK_NVME_CNS_ACTIVE:
        if (model->no_active_list)
            return 0x002;
        for (uint32_t i = 1, n = 0; i <= 3; i++)
            if (i > nsid && model->namespaces[i - 1].lbaf[0] != 0)
                memcpy(answer + 4 * n++, &i, 4);
        if (model->lists != 0)
            memcpy(answer, &model->lists, 4);
        break;
    default:
        return 0x002;
    }
    if (!model->drops_identify)
        transfer(model, command, answer, sizeof answer, true);
    return 0;
}

static uint16_t create(struct nvme_model *model, const struct nvme_command *command, bool completions)
{
    unsigned id = command->cdw10 & 0xffff;
    uint32_t entries = (command->cdw10 >> 16) + 1;
    struct nvme_model_queue *queue = &model->queues[id];

    if (id == 0 || id >= MODEL_QUEUES)
        return 0x101;
    if (entries < 2 || entries - 1 > NVME_CAP_MQES(model->cap))
        return 0x102;
    if ((command->cdw11 & NVME_QUEUE_CONTIGUOUS) == 0 || command->prp1 % page_size(model) != 0)
        return 0x013;
    if (completions) {
        if (queue->entries != 0)
            return 0x101;
        *queue = (struct nvme_model_queue){
            .completions = command->prp1,
            .entries = entries,
            .phase = 1,
            .vector = (uint16_t)(command->cdw11 >> 16),
            .interrupts = (command->cdw11 & NVME_CQ_INTERRUPTS) != 0,
        };
        if (queue->interrupts && queue->vector >= model->device->vector_count)
            fault(model, "queue %u interrupts through vector %u", id, queue->vector);
        return 0;
    }
    if (queue->entries == 0 || command->cdw11 >> 16 != id)
        return 0x100;
    queue->commands = command->prp1;
    queue->has_commands = true;
    return 0;
}

static uint16_t delete (struct nvme_model *model, const struct nvme_command *command, bool completions)
{
    unsigned id = command->cdw10 & 0xffff;
    struct nvme_model_queue *queue = &model->queues[id];

    if (id == 0 || id >= MODEL_QUEUES || queue->entries == 0)
        return 0x101;
    if (!completions)
        queue->has_commands = false;
    else if (queue->has_commands)
        return 0x10c;
    else
        memset(queue, 0, sizeof *queue);
    return 0;
}

/* Dword 0 of the completion: 0 if the command was aborted [Base 5.1]. */
static uint32_t abort_command(struct nvme_model *model, uint32_t which)
{
    model->asked_to_abort++;
    for (unsigned i = 0; model->aborts && i < sizeof model->lost / sizeof *model->lost; i++) {
        if (model->lost[i] != which || which == 0)
            continue;
        model->lost[i] = 0;
        complete(model, which & 0xffff, which & 0xffff0000, 0x007, 0);
        return 0;
    }
    return 1;
}

/* A request for an event stays, unless there are too many. */
static uint16_t request_event(struct nvme_model *model, const struct nvme_command *command)
{
    if (model->event_count > model->controller.aerl ||
        model->event_count == sizeof model->event_requests / sizeof *model->event_requests)
        return 0x105;
    model->event_requests[model->event_count++] = (uint16_t)(command->cdw0 >> 16);
    return 0;
}

bool model_event(struct nvme_model *model, uint32_t told, uint32_t about)
{
    uint32_t cid = model->event_requests[0];

    if (model->event_count == 0)
        return false;
    memmove(model->event_requests, model->event_requests + 1,
            --model->event_count * sizeof *model->event_requests);
    complete(model, 0, cid << 16, 0, (uint64_t)about << 32 | told);
    return true;
}

static uint16_t set_features(struct nvme_model *model, const struct nvme_command *command, uint64_t *result)
{
    switch (command->cdw10) {
    case NVME_FEATURE_QUEUES:
        *result = model->granted;
        return 0;
    case NVME_FEATURE_BEHAVIOUR:
        transfer(model, command, model->behaviour, sizeof model->behaviour, false);
        return 0;
    case NVME_FEATURE_EVENTS:
        model->events_wanted = command->cdw11;
        return 0;
    default:
        return 0x002;
    }
}

static void admin(struct nvme_model *model, const struct nvme_command *command)
{
    uint8_t opcode = command->cdw0 & 0xff;
    uint16_t status = 0x001;
    uint64_t result = 0;

    if (model->execute != NULL && model->execute(model, 0, command, &status, &result)) {
        ;
    } else if (model->refuse_admin != 0 &&
               (opcode == model->refuse_opcode || (opcode == model->refuse_other && opcode != 0))) {
        status = model->refuse_admin;
    } else if (opcode == NVME_IDENTIFY) {
        status = identify(model, command);
    } else if (opcode == NVME_ABORT) {
        status = 0;
        result = abort_command(model, command->cdw10);
    } else if (opcode == NVME_SET_FEATURES) {
        status = set_features(model, command, &result);
    } else if (opcode == NVME_EVENT_REQUEST) {
        status = request_event(model, command);
        if (status == 0)
            return;
    } else if (opcode == NVME_DOORBELL_BUFFER) {
        status = 0;
        model->shadow = command->prp1;
        model->events = command->prp2;
    } else if (opcode == NVME_CREATE_CQ || opcode == NVME_CREATE_SQ) {
        status = create(model, command, opcode == NVME_CREATE_CQ);
    } else if (opcode == NVME_DELETE_CQ || opcode == NVME_DELETE_SQ) {
        status = delete (model, command, opcode == NVME_DELETE_CQ);
    }
    complete(model, 0, command->cdw0, status, result);
}

/*
 * Deallocated blocks read as zeros here. As some controllers do, this one fetches as much as the most ranges
 * take, of which only the first shall be there.
 */
static void discard(struct nvme_model *model, const struct nvme_command *command, unsigned shift)
{
    struct nvme_range ranges[256];
    const struct nvme_range nothing = {.blocks = 0}, *range = &ranges[0];

    if (command->cdw10 != 0 || command->cdw11 != NVME_DATASET_DEALLOCATE)
        fault(model, "dataset management 0x%x 0x%x", command->cdw10, command->cdw11);
    else if (transfer(model, command, (uint8_t *)ranges, sizeof ranges, false) &&
             range->slba + range->blocks <= MODEL_DISK >> shift)
        memset(model->disk + (range->slba << shift), 0, (size_t)range->blocks << shift);
    for (unsigned i = 1; i < sizeof ranges / sizeof *ranges; i++)
        if (memcmp(&ranges[i], &nothing, sizeof nothing) != 0) {
            fault(model, "range %u of one, with %u blocks", i, ranges[i].blocks);
            break;
        }
}

static void io(struct nvme_model *model, unsigned id, const struct nvme_command *command)
{
    uint8_t opcode = command->cdw0 & 0xff;
    const struct nvme_identify_namespace *ns = &model->namespaces[(command->nsid - 1) % 3];
    unsigned shift = NVME_LBAF_LBADS(ns->lbaf[ns->flbas & 0xf]);
    uint64_t first = command->slba, count = (command->cdw12 & 0xffff) + 1, result = 0;
    uint16_t status = 0;

    model->commands++;
    model->last = *command;
    if (model->lose != 0) {
        model->lose--;
        model->lost[model->lost_count++ % (sizeof model->lost / sizeof *model->lost)] =
            (command->cdw0 & 0xffff0000) | id;
        return;
    }
    if (model->refuse != 0) {
        complete(model, id, command->cdw0, model->refuse, 0);
        return;
    }
    if (model->execute != NULL && model->execute(model, id, command, &status, &result)) {
        ;
    } else if (opcode == NVME_DATASET) {
        discard(model, command, shift);
    } else if (opcode == MODEL_VENDOR) {
        uint8_t data[64] = "vendor";

        transfer(model, command, data, sizeof data, true);
        result = command->slba ^ (uint64_t)command->cdw15 << 32;
    } else if (opcode != NVME_FLUSH) {
        static uint8_t other[64 << 10]; /* not on the stack, of which a test gives little */
        uint8_t *disk = model->disk + (first << shift);
        size_t size = count << shift;

        if (model->controller.mdts != 0 && opcode != NVME_WRITE_ZEROES &&
            size > page_size(model) << model->controller.mdts)
            fault(model, "%zu bytes in one command", size);

        if (command->nsid == 0 || command->nsid > 3 || first >= ns->nsze || count > ns->nsze - first ||
            (first + count) << shift > MODEL_DISK) {
            complete(model, id, command->cdw0, 0x080, 0);
            return;
        }
        if (opcode == NVME_READ || opcode == NVME_WRITE) {
            transfer(model, command, disk, size, opcode == NVME_READ);
        } else if (opcode == NVME_COMPARE && size <= sizeof other) {
            transfer(model, command, other, size, false);
            status = memcmp(disk, other, size) != 0 ? 0x285 : 0;
        } else if (opcode == NVME_WRITE_ZEROES) {
            memset(disk, 0, size);
        } else if (opcode != NVME_VERIFY) {
            fault(model, "opcode 0x%02x", opcode);
        }
    }
    complete(model, id, command->cdw0, status, result);
}

/* Looks for the doorbells of an I/O queue where they are in memory [Base B.5]. */
static void look(struct nvme_model *model, unsigned id)
{
    struct nvme_model_queue *queue = &model->queues[id];
    uint64_t tail = model->shadow + 2 * id * stride(model);

    if (model->shadow != 0 && id != 0 && queue->entries != 0) {
        move(model, tail, &queue->tail, 4, false);
        move(model, tail + stride(model), &queue->taken, 4, false);
        if (queue->tail >= queue->entries || queue->taken >= queue->entries)
            fault(model, "doorbells in memory: %u, %u of %u", queue->tail, queue->taken, queue->entries);
    }
}

void model_wake_at(struct nvme_model *model, unsigned id, uint32_t tail)
{
    move(model, model->events + 2 * id * stride(model), &tail, 4, true);
}

unsigned model_run(struct nvme_model *model, unsigned id, unsigned limit)
{
    struct nvme_model_queue *queue = &model->queues[id];
    unsigned ran = 0;

    look(model, id);

    while (queue->head != queue->tail && (limit == 0 || ran < limit)) {
        struct nvme_command command;

        /* A command is not begun before there is room for its completion. */
        if (next_completion(queue) == queue->taken) {
            fault(model, "completion queue %u is full", id);
            break;
        }

        if (!move(model, queue->commands + queue->head * sizeof command, &command, sizeof command, false))
            break;
        queue->head = queue->head + 1 == queue->entries ? 0 : queue->head + 1;
        ran++;
        if (model->mute || model->mute_until_reset)
            continue;
        if (id == 0)
            admin(model, &command);
        else
            io(model, id, &command);
    }
    return ran;
}

/* ---- registers ------------------------------------------------------------------------------------- */

static void stop(struct nvme_model *model)
{
    memset(model->queues, 0, sizeof model->queues);
    model->mute_until_reset = false;
    model->shadow = 0;
    model->event_count = model->events_wanted = 0;
    if (!model->never_idle)
        model->csts = 0;
}

static void enable(struct nvme_model *model)
{
    uint32_t entries = (model->aqa & 0xfff) + 1;

    model->enables++;
    model->enabled_without_master |=
        (model->device->config[CHALK_PCI_COMMAND] & CHALK_PCI_COMMAND_MASTER) == 0;
    model->enabled_without_vectors |= model->device->vectors[0].counter == NULL;
    if (model->fatal || model->fatal_once)
        model->csts |= NVME_CSTS_CFS;
    if (model->never_ready || model->fatal || model->fatal_once) {
        model->fatal_once = false;
        return;
    }
    if (model->asq % page_size(model) != 0 || model->acq % page_size(model) != 0 ||
        model->aqa >> 16 != entries - 1)
        fault(model, "admin queues: AQA 0x%x ASQ 0x%llx ACQ 0x%llx", model->aqa,
              (unsigned long long)model->asq, (unsigned long long)model->acq);
    model->queues[0] = (struct nvme_model_queue){
        .commands = model->asq,
        .completions = model->acq,
        .entries = entries,
        .phase = 1,
        .interrupts = model->admin_interrupts,
        .has_commands = true,
    };
    model->csts = NVME_CSTS_RDY;
}

static void configure(struct nvme_model *model, uint32_t value)
{
    uint32_t before = model->cc;

    model->cc = value;
    if ((value & NVME_CC_SHN_MASK) != 0 && (before & NVME_CC_SHN_MASK) == 0) {
        model->shutdowns++;
        if (!model->never_shut_down)
            model->csts |= NVME_CSTS_SHST_DONE;
    }
    if ((before & NVME_CC_EN) != 0 && (value & NVME_CC_EN) == 0) {
        if ((model->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == 0)
            fault(model, "CC.EN cleared before the controller was ready");
        stop(model);
    }
    if ((before & NVME_CC_EN) == 0 && (value & NVME_CC_EN) != 0) {
        if ((model->csts & NVME_CSTS_RDY) != 0)
            fault(model, "CC.EN set while the controller was ready");
        enable(model);
    }
}

static void doorbell(struct nvme_model *model, size_t offset, uint32_t value)
{
    unsigned index = (unsigned)(offset / stride(model)), id = index / 2;
    struct nvme_model_queue *queue = &model->queues[id % MODEL_QUEUES];

    model->doorbells++;
    if (offset % stride(model) != 0 || id >= MODEL_QUEUES || value >= queue->entries) {
        if ((model->csts & NVME_CSTS_RDY) != 0 && model->enables > 1 && id < MODEL_QUEUES &&
            queue->entries == 0)
            model->stray_doorbells++;
        else if ((model->csts & NVME_CSTS_RDY) != 0)
            fault(model, "doorbell at 0x%zx: %u", offset, value);
        return;
    }
    if (index % 2 != 0) {
        if (value == queue->taken) /* [Base 5.2.1], "Invalid Doorbell Write Value" */
            fault(model, "completion queue %u is told %u twice", id, value);
        queue->taken = value;
    } else {
        if (!queue->has_commands)
            fault(model, "doorbell of submission queue %u, which is not there", id);
        queue->tail = value;
    }
    if (id == 0 ? !model->hold_admin : !model->hold)
        model_run(model, id, 0);
}

static uint32_t *control_word(struct nvme_model *model, uint64_t at)
{
    static uint32_t none;
    uint64_t entry = (at - MODEL_TABLE) / 16;

    if (at % 16 == 12 && entry < FAKE_VECTORS)
        return &model->masks[entry];
    fault(model, "the vectors' table is touched at 0x%llx", (unsigned long long)(at - MODEL_TABLE));
    return &none;
}

/* What came while it was masked comes when it is not. */
static void write_mask(struct nvme_model *model, uint64_t at, uint32_t value)
{
    uint32_t *control = control_word(model, at);
    uint64_t vector = (at - MODEL_TABLE) / 16;

    if (model->table_hidden)
        return;
    *control = value;
    if ((value & 1) != 0 || vector >= FAKE_VECTORS || !model->pending[vector])
        return;
    model->pending[vector] = false;
    fake_interrupt(model->device, (unsigned)vector);
}

static uint64_t read_register(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    struct nvme_model *model = window->owner;
    uint64_t at = window->origin + offset;

    model->register_reads++;
    if (model->access != NULL)
        model->access(model);
    if (width != 4 || at % 4 != 0 || offset + width > window->size)
        fault(model, "read of %u bytes at 0x%llx", width, (unsigned long long)at);
    if (model->device->gone)
        return model->gone_in_zeroes ? 0 : UINT32_MAX;
    if (at >= MODEL_TABLE)
        return model->table_hidden ? UINT32_MAX : *control_word(model, at);
    switch (at) {
    case NVME_CAP:
        return (uint32_t)model->cap;
    case NVME_CAP + 4:
        return model->cap >> 32;
    case NVME_VS:
        return model->version;
    case NVME_CMBLOC:
        return model->cmbloc;
    case NVME_CMBSZ:
        return model->cmbsz;
    case NVME_CMBSTS:
        return model->cmb_refused;
    case NVME_CRTO:
        return model->crto;
    case NVME_CC:
        return model->cc;
    case NVME_CSTS:
        return model->csts;
    default:
        fault(model, "read of 0x%llx", (unsigned long long)at);
        return 0;
    }
}

static void write_register(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    struct nvme_model *model = window->owner;
    uint64_t at = window->origin + offset;

    if (model->access != NULL)
        model->access(model);
    if (width != 4 || at % 4 != 0 || offset + width > window->size)
        fault(model, "write of %u bytes at 0x%llx", width, (unsigned long long)at);
    if (model->device->gone)
        return;
    if (at >= MODEL_TABLE) {
        write_mask(model, at, (uint32_t)value);
        return;
    }
    if (at >= NVME_REGISTERS_SIZE) {
        doorbell(model, at - NVME_REGISTERS_SIZE, (uint32_t)value);
        return;
    }
    switch (at) {
    case NVME_CC:
        configure(model, (uint32_t)value);
        break;
    case NVME_INTMS:
        model->intms |= (uint32_t)value;
        break;
    case NVME_CMBMSC:
        model->cmbmsc = (model->cmbmsc & ~0xffffffffull) | value;
        break;
    case NVME_CMBMSC + 4:
        model->cmbmsc = (uint32_t)model->cmbmsc | value << 32;
        break;
    case NVME_AQA:
        model->aqa = (uint32_t)value;
        break;
    case NVME_ASQ:
        model->asq = (model->asq & ~0xffffffffull) | value;
        break;
    case NVME_ASQ + 4:
        model->asq = (uint32_t)model->asq | value << 32;
        break;
    case NVME_ACQ:
        model->acq = (model->acq & ~0xffffffffull) | value;
        break;
    case NVME_ACQ + 4:
        model->acq = (uint32_t)model->acq | value << 32;
        break;
    default:
        fault(model, "write of 0x%llx", (unsigned long long)at);
    }
}

static const struct chalk_mmio_ops registers = {.read = read_register, .write = write_register};

static int function_reset(struct fake_device *device)
{
    struct nvme_model *model = device->model;

    stop(model);
    model->csts = 0;
    model->cc = 0;
    return 0;
}

void model_unplug(struct nvme_model *model)
{
    model->device->gone = true;
    model->device->lost = true;
    chalk_core_wake(0);
}

static void pad(char *field, size_t size, const char *text)
{
    memset(field, ' ', size);
    memcpy(field, text, strlen(text));
}

struct nvme_model *model_add(void)
{
    static const uint8_t msix[] = {CHALK_PCI_CAP_MSIX, 0, FAKE_VECTORS - 1, 0, 0, MODEL_TABLE >> 8, 0, 0};
    struct nvme_model *model = &the_model;
    struct nvme_identify_controller *id = &model->controller;

    memset(model, 0, offsetof(struct nvme_model, disk)); /* what is on the disk stays */
    model->device = fake_device_add(MODEL_NAME, 0x1b36, 0x0010, CHALK_CLASS_NVME);
    model->device->model = model;
    model->device->reset = function_reset;
    model->device->bars[0].size = 64 << 10;
    model->device->bars[0].ops = &registers;
    model->device->bars[2].size = MODEL_CMB;
    model->device->bars[2].memory = model->cmb;
    model->device->config[CHALK_PCI_STATUS] = CHALK_PCI_STATUS_CAPS;
    model->device->config[CHALK_PCI_CAPABILITIES] = 0x40;
    memcpy(model->device->config + 0x40, msix, sizeof msix);

    model->cap = 1023 | 2ull << 24 | NVME_CAP_CSS_NVM;
    model->version = 0x010400;
    model->granted = (MODEL_QUEUES - 2) << 16 | (MODEL_QUEUES - 2);
    id->vid = 0x1b36;
    id->ssvid = 0x1af4;
    pad(id->sn, sizeof id->sn, "S1");
    pad(id->mn, sizeof id->mn, "Model of a controller");
    pad(id->fr, sizeof id->fr, "1.0");
    id->mdts = 5; /* 128 KiB */
    id->cntlid = 7;
    id->sqes = 0x66;
    id->cqes = 0x44;
    id->nn = 3;
    id->vwc = 1;
    id->lpa = NVME_LPA_OFFSETS;
    id->elpe = 63;
    id->oncs = NVME_ONCS_COMPARE | NVME_ONCS_DATASET | NVME_ONCS_WRITE_ZEROES | NVME_ONCS_VERIFY;
    model->namespaces[0] = (struct nvme_identify_namespace){
        .nsze = MODEL_DISK / 512,
        .ncap = MODEL_DISK / 512,
        .nuse = 100,
        .lbaf[0] = 9 << 16,
    };
    return model;
}
