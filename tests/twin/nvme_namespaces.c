/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Namespaces that are created, attached, used, detached and deleted, with the statuses and events that come
 * of it: on the NVMe model, since QEMU's controller has no namespace management. The model has two namespaces
 * of 8 MiB, of which the second is not attached, and 4 MiB to spare. With the argument "doorbells", which has
 * to be a model that sees each write to a register: doorbells that are written wrongly.
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/mmio.h>
#include <chalk/nvme_admin.h>

#include <string.h>

#include "nvme_device.h"
#include "nvme_event.h"

#define MIB      (1u << 20)
#define PATIENCE (20 * CHALK_S)
#define NSIDS    8

struct world {
    struct chalk_memory *memory;
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
};

static struct chalk_nvme_event event;

/* ---- what there is --------------------------------------------------------------------------------- */

/* Whether the controller says that namespaces have so many bytes, and so many are left [Base 5.17.2.1]. */
static void capacity_is(struct world *w, uint64_t total, uint64_t left, const char *what)
{
    const struct chalk_nvme_command identify =
        chalk_nvme_encode_identify(CHALK_NVME_CNS_CONTROLLER, 0, 0, CHALK_NVME_CSI_NVM);
    static unsigned char id[CHALK_NVME_IDENTIFY_SIZE];
    uint64_t has[2] = {0};

    if (chalk_nvme_run(w->nvme, &identify, id, sizeof id, NULL) == 0) {
        memcpy(&has[0], id + 280, sizeof has[0]);
        memcpy(&has[1], id + 296, sizeof has[1]);
    }
    expect(has[0] == total && has[1] == left, what);
}

/* Whether these namespaces, a bit each, are there. */
static bool are_listed(struct world *w, bool allocated, uint32_t wanted)
{
    static uint32_t nsids[1024];
    unsigned count;
    uint32_t found = 0;

    if (chalk_nvme_list_namespaces(w->nvme, allocated, 0, nsids, &count) != 0)
        return false;
    for (unsigned i = 0; i < count; i++)
        found |= 1u << nsids[i];
    return found == wanted;
}

static int attach(struct world *w, uint32_t nsid, bool attached)
{
    return attach_here(w->nvme, nsid, attached);
}

static int create(struct world *w, uint64_t blocks, uint64_t capacity, uint8_t format, uint32_t *nsid)
{
    return chalk_nvme_create_namespace(
        w->nvme, &(struct chalk_nvme_new_namespace){.size = blocks, .capacity = capacity, .format = format},
        nsid);
}

/* ---- events ---------------------------------------------------------------------------------------- */

static int next(struct world *w, uint64_t patience)
{
    return next_event(w->nvme, patience, &event);
}

static void changed(struct world *w, uint32_t nsid, const char *what)
{
    int error = next(w, PATIENCE);

    expect(error == 0 && event.type == CHALK_NVME_EVENT_NOTICE && event.log == CHALK_NVME_LOG_CHANGED &&
               event.count == 1 && event.changed[0] == nsid,
           what);
}

static void quiet(struct world *w, const char *what)
{
    expect_result(next(w, 50 * CHALK_MS), -EAGAIN, what);
}

/* The watch has sent as many requests as the controller takes, and keeps account of them. */
static void one_request_more(struct world *w)
{
    const struct chalk_nvme_command request = {.opcode = 0x0c};

    expect_result(chalk_nvme_run(w->nvme, &request, NULL, 0, NULL), -EINVAL,
                  "a request for events that the watch does not know of");
}

/* ---- namespaces ------------------------------------------------------------------------------------ */

static int transfer(struct chalk_block_queue *queue, enum chalk_block_op op, uint64_t lba,
                    const struct chalk_dma *data, uint32_t count)
{
    struct chalk_block_request request = {
        .op = op, .lba = lba, .count = count, .segments = data, .segment_count = 1};

    return chalk_block_do(queue, &request, chalk_deadline(PATIENCE));
}

/* Its last block, of 4 KiB. */
static void use(struct world *w, uint32_t nsid, uint64_t blocks)
{
    struct chalk_block_queue *queue;
    struct chalk_dma data;
    bool same = true;

    if (!expect_result(chalk_dma_get(w->memory, CHALK_PAGE, CHALK_PAGE, &data), 0, "a buffer"))
        return;
    if (expect_result(chalk_nvme_queue_open(
                          w->nvme, &(struct chalk_nvme_queue_options){.nsid = nsid, .depth = 2}, &queue),
                      0, "a queue on it")) {
        memset(data.va, 1, CHALK_PAGE);
        expect_result(transfer(queue, CHALK_BLOCK_READ, blocks - 1, &data, 1), 0, "reading a block");
        for (unsigned i = 0; i < CHALK_PAGE; i++)
            same &= ((char *)data.va)[i] == 0;
        expect(same, "that has only zeroes");
        memset(data.va, 7, CHALK_PAGE);
        expect_result(transfer(queue, CHALK_BLOCK_WRITE, blocks - 1, &data, 1), 0, "writing it");
        memset(data.va, 1, CHALK_PAGE);
        expect_result(transfer(queue, CHALK_BLOCK_READ, blocks - 1, &data, 1), 0, "reading it again");
        for (unsigned i = 0; i < CHALK_PAGE; i++)
            same &= ((char *)data.va)[i] == 7;
        expect(same, "that has what was written");
        expect_result(transfer(queue, CHALK_BLOCK_READ, blocks, &data, 1), -ERANGE, "and one behind it");
        chalk_nvme_queue_close(queue);
    }
    chalk_dma_put(w->memory, &data);
}

static void refused(struct world *w)
{
    const uint16_t nobody = 77, twice[] = {1, 1};
    uint32_t nsid;

    expect_result(create(w, 0, 0, 0, &nsid), -EINVAL, "creating one without blocks");
    expect_result(create(w, 8, 4, 0, &nsid), -ENOTSUP, "one with fewer than it says");
    expect_result(create(w, 8, 8, 9, &nsid), -EINVAL, "one of a format that there is not");
    expect_result(create(w, 4 * MIB / 512 + 1, 4 * MIB / 512 + 1, 0, &nsid), -ENOSPC,
                  "one that is a block too large");
    expect_result(create(w, UINT64_MAX, UINT64_MAX, 1, &nsid), -ENOSPC, "one that is far too large");
    expect_result(chalk_nvme_delete_namespace(w->nvme, 5), -ENOENT, "deleting one that there is not");
    expect_result(attach(w, 5, true), -ENOENT, "attaching it");
    expect_result(attach(w, NSIDS + 1, true), -ENOENT, "one of no possible number");
    expect_result(chalk_nvme_attach_namespace(w->nvme, 2, true, &nobody, 1), -EINVAL,
                  "attaching one to a controller that there is not");
    expect_result(chalk_nvme_attach_namespace(w->nvme, 2, true, twice, 2), -EINVAL, "to the same one twice");
    expect_result(chalk_nvme_attach_namespace(w->nvme, 2, true, twice, 0), -EINVAL, "to none");
    expect_result(attach(w, 2, false), -ENOENT, "detaching one that is not attached");
    expect_result(attach(w, 1, true), -EEXIST, "attaching one that is");
}

static void life(struct world *w)
{
    static uint16_t controllers[2047];
    const uint64_t blocks = 3 * MIB / 4096;
    unsigned count;
    uint32_t nsid;

    expect_result(create(w, blocks, blocks, 1, &nsid), 0, "creating a namespace of 3 MiB");
    expect(nsid == 3, "it is the third");
    capacity_is(w, 20 * MIB, MIB, "1 MiB is left");
    quiet(w, "an event, of what is not attached");
    expect(are_listed(w, true, 0xe) && are_listed(w, false, 0x2), "it is listed as not attached");
    expect_result(attach(w, nsid, true), 0, "attaching it");
    changed(w, nsid, "is told");
    expect(are_listed(w, false, 0xa), "it is listed as attached");
    expect_result(chalk_nvme_list_controllers(w->nvme, nsid, 0, controllers, &count), 0, "its controllers");
    expect(count == 1 && controllers[0] == chalk_nvme_get_info(w->nvme)->controller_id, "there is this one");
    use(w, nsid, blocks);
    expect_result(attach(w, nsid, true), -EEXIST, "attaching it again");
    expect_result(attach(w, nsid, false), 0, "detaching it");
    changed(w, nsid, "is told");
    expect_result(attach(w, nsid, false), -ENOENT, "detaching it again");
    quiet(w, "an event, of what was refused");
    expect_result(chalk_nvme_list_controllers(w->nvme, nsid, 0, controllers, &count), 0, "its controllers");
    expect(count == 0, "there are none");
    expect_result(attach(w, nsid, true), 0, "attaching it");
    changed(w, nsid, "is told");
    expect_result(chalk_nvme_delete_namespace(w->nvme, nsid), 0, "deleting it");
    changed(w, nsid, "is told");
    expect(are_listed(w, true, 0x6), "it is not listed any more");
    capacity_is(w, 20 * MIB, 4 * MIB, "and its bytes are there again");
}

static void many(struct world *w)
{
    uint32_t nsid;
    bool good = true;

    expect_result(chalk_nvme_delete_namespace(w->nvme, 1), 0, "deleting the first one");
    changed(w, 1, "is told");
    capacity_is(w, 20 * MIB, 12 * MIB, "and its bytes can be had");
    for (unsigned i = 0; i < NSIDS - 1; i++) /* the second is there */
        good &= create(w, MIB / 512, MIB / 512, 0, &nsid) == 0;
    expect(good && are_listed(w, true, 0x1fe), "creating as many as there are numbers");
    expect_result(create(w, 8, 8, 0, &nsid), -ENOSPC, "and one more");
    expect_result(chalk_nvme_delete_namespace(w->nvme, CHALK_NVME_ALL), 0, "deleting all");
    expect(are_listed(w, true, 0), "there are none");
    capacity_is(w, 20 * MIB, 20 * MIB, "and all bytes are left");
    expect_result(chalk_nvme_delete_namespace(w->nvme, CHALK_NVME_ALL), 0, "deleting all of none");
    quiet(w, "an event, of what was not attached");
}

static void format(struct world *w)
{
    const struct chalk_nvme_command command =
        chalk_nvme_encode_format(1, &(struct chalk_nvme_format){.format = 1});
    struct chalk_nvme_namespace ns;
    uint32_t nsid;

    expect_result(create(w, MIB / 512, MIB / 512, 0, &nsid), 0, "creating one");
    expect_result(attach(w, nsid, true), 0, "attaching it");
    changed(w, nsid, "is told");
    expect_result(chalk_nvme_run(w->nvme, &command, NULL, 0, NULL), 0, "formatting it");
    changed(w, nsid, "is told");
    expect(chalk_nvme_next_namespace(w->nvme, 0, &ns) == 0 && ns.nsid == nsid && ns.block_size == 4096 &&
               ns.size == MIB / 4096,
           "its blocks are larger");
}

/* ---- doorbells ------------------------------------------------------------------------------------- */

static void error_is(struct world *w, uint8_t what, uint16_t status, const char *text)
{
    int error = next(w, PATIENCE);

    expect(error == 0 && event.type == CHALK_NVME_EVENT_ERROR && event.what == what && event.count != 0 &&
               (event.errors[0].status & 0x7ff) == status && event.errors[0].queue == 0xffff,
           text);
}

static void doorbells(struct world *w)
{
    struct chalk_block_queue *queue;
    struct chalk_mmio window;

    if (!expect_result(chalk_window_map(w->device, 0, 0x1000, 0x1000, CHALK_UNCACHED, &window), 0,
                       "the doorbells"))
        return;
    chalk_mmio_write32(&window, 8 * 60, 1);
    error_is(w, 0x00, 0x101, "a doorbell of no queue");
    quiet(w, "another event");
    if (!expect_result(
            chalk_nvme_queue_open(w->nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 2}, &queue),
            0, "a queue"))
        return;
    chalk_mmio_write32(&window, 8, 0x7fff);
    error_is(w, 0x01, 0x002, "a doorbell with no possible value");
    quiet(w, "another event");
    chalk_mmio_write32(&window, 8, 0);
    chalk_nvme_queue_close(queue);
}

int chalk_main(int argc, char *argv[])
{
    struct world w = {0};

    if (!open_nvme(4u << 20, &w.memory, &w.domain, &w.device))
        return 1;

    const struct chalk_nvme_options options = {.memory = w.memory, .domain = w.domain};

    if (expect_result(chalk_nvme_open(w.device, &options, &w.nvme), 0, "opening the controller")) {
        expect_result(chalk_nvme_watch(w.nvme, CHALK_NVME_WATCH_ALL), 0, "asking for all events");
        one_request_more(&w);
        if (argc > 1 && strcmp(argv[1], "doorbells") == 0) {
            doorbells(&w);
        } else {
            capacity_is(&w, 20 * MIB, 4 * MIB, "20 MiB for namespaces, 4 of them in none");
            refused(&w);
            life(&w);
            many(&w);
            format(&w);
        }
        chalk_nvme_close(w.nvme);
    }
    close_nvme(w.memory, w.domain, w.device);
    return twin_failures != 0;
}
