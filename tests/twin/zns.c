/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Zoned namespaces: what is reported, appended, written, opened and refused. The controller's first namespace
 * has 16 zones of 256 blocks of 4096 bytes, of which 192 can be written, at most 4 open and 6 active; its
 * second one has no zones.
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/nvme_zns.h>

#include <string.h>

#include "nvme_device.h"

#define ZONES    16u
#define ZONE     256u
#define CAPACITY 192u
#define BLOCK    4096u
#define DEPTH    8u

struct world {
    struct chalk_memory *memory;
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    struct chalk_block_queue *queue;
    struct chalk_nvme_zoned zoned;
    struct chalk_dma buffer; /* for reports, and for blocks */
    struct chalk_nvme_zone zones[ZONES];
};

static uint64_t soon(void)
{
    return chalk_deadline(20 * CHALK_S);
}

static struct chalk_dma piece(const struct world *w, size_t offset, size_t size)
{
    return (struct chalk_dma){(char *)w->buffer.va + offset, w->buffer.iova + offset, size};
}

static int report(struct world *w, uint64_t lba, size_t buffer, unsigned *count)
{
    const struct chalk_dma part = piece(w, 0, buffer);

    return chalk_nvme_report_zones(w->queue, &w->zoned, lba, &part, w->zones, count, soon());
}

/* Whether a zone is in this state, and has so many blocks written. */
static bool zone_is(struct world *w, unsigned zone, uint8_t state, uint64_t written)
{
    unsigned count = 1;

    return report(w, zone * ZONE, BLOCK, &count) == 0 && count == 1 && w->zones[0].start == zone * ZONE &&
           w->zones[0].state == state && w->zones[0].write_pointer - w->zones[0].start == written;
}

static int act(struct world *w, unsigned zone, enum chalk_nvme_zone_action action)
{
    return chalk_nvme_do_zone(w->queue, zone * ZONE, action, false, soon());
}

static int append(struct world *w, unsigned zone, uint32_t count, uint64_t *lba)
{
    const struct chalk_dma data = piece(w, 0, (size_t)count * BLOCK);

    return chalk_nvme_append(w->queue, &w->zoned, zone * ZONE, count, &data, 1, lba, soon());
}

static int transfer(struct world *w, enum chalk_block_op op, uint64_t lba, uint32_t count, size_t offset)
{
    const struct chalk_dma data = piece(w, offset, (size_t)count * BLOCK);
    struct chalk_block_request request = {
        .op = op, .lba = lba, .count = count, .segments = &data, .segment_count = 1};

    return chalk_block_do(w->queue, &request, soon());
}

static void geometry(struct world *w)
{
    struct chalk_nvme_zoned none;

    expect_result(chalk_nvme_identify_zoned(w->nvme, 1, &w->zoned), 0,
                  "what the first namespace says of its zones");
    expect(w->zoned.zone_size == ZONE && w->zoned.zone_count == ZONES, "it has 16 zones of 256 blocks");
    expect(w->zoned.max_open == 4 && w->zoned.max_active == 6, "of which 4 may be open, and 6 active");
    expect(w->zoned.max_append == 65536, "and takes appends of 64 KiB");
    expect_result(chalk_nvme_identify_zoned(w->nvme, 2, &none), -ENOTSUP, "the second one's");
    expect_result(chalk_nvme_identify_zoned(w->nvme, 3, &none), -ENOENT, "a third one's");
}

static void reports(struct world *w)
{
    unsigned count = ZONES;
    bool empty = true;

    expect_result(chalk_nvme_do_zone(w->queue, 0, CHALK_NVME_ZONE_RESET, true, soon()), 0,
                  "resetting all zones");
    expect_result(report(w, 0, w->buffer.size, &count), 0, "reporting all zones");
    for (unsigned i = 0; i < count; i++)
        empty &= w->zones[i].start == i * ZONE && w->zones[i].capacity == CAPACITY &&
                 w->zones[i].state == CHALK_NVME_ZONE_IS_EMPTY && w->zones[i].write_pointer == i * ZONE;
    expect(count == ZONES && empty, "they are all empty");
    count = ZONES;
    expect_result(report(w, 0, 128, &count), 0, "reporting them one at a time");
    expect(count == ZONES && w->zones[ZONES - 1].start == (ZONES - 1) * ZONE, "finds them all");
    count = ZONES;
    expect_result(report(w, 13 * ZONE + 5, BLOCK, &count), 0, "reporting from inside zone 13 on");
    expect(count == 3 && w->zones[0].start == 13 * ZONE, "begins with it, and finds three");
    count = 2;
    expect_result(report(w, 0, BLOCK, &count), 0, "reporting two");
    expect(count == 2, "finds two");
    count = 1;
    expect_result(report(w, ZONES * ZONE, BLOCK, &count), 0, "reporting behind the last one");
    expect(count == 0, "finds none");
    expect_result(report(w, 0, 127, &count), -EINVAL, "reporting into 127 bytes");
}

static void appends(struct world *w)
{
    unsigned char *blocks = w->buffer.va;
    uint64_t first = 0, second = 0;

    for (size_t i = 0; i < 4 * BLOCK; i++)
        blocks[i] = (unsigned char)(i * 13 + i / BLOCK);
    expect_result(append(w, 2, 3, &first), 0, "appending three blocks to zone 2");
    expect_result(append(w, 2, 1, &second), 0, "and one more");
    expect(first == 2 * ZONE && second == first + 3, "they are one behind the other");
    expect(zone_is(w, 2, CHALK_NVME_ZONE_IS_IMPLICITLY_OPEN, 4), "the zone is open, with four blocks");
    for (size_t i = 0; i < 4 * BLOCK; i++) /* the report was written over them */
        blocks[i] = (unsigned char)(i * 13 + i / BLOCK);
    expect_result(transfer(w, CHALK_BLOCK_READ, first, 3, 8 * BLOCK), 0, "reading the three back");
    expect(memcmp(blocks, blocks + 8 * BLOCK, 3 * BLOCK) == 0, "gives what was appended");
    expect_result(append(w, 2, 17, &first), -EINVAL, "appending more than is taken at once");
    expect_result(append(w, 2, 0, &first), -EINVAL, "appending nothing");
    expect(append(w, 2, 1, &first) == 0 && first == second + 1, "and the next one goes where it should");
}

struct flight {
    struct chalk_nvme_request request;
    struct chalk_dma data;
    int status;
    bool done;
};

static void landed(struct chalk_block_request *request, int status)
{
    struct flight *flight = request->context;

    flight->status = status;
    flight->done = true;
}

/* Several appends to one zone under way at once: the controller gives each a place of its own. */
static void parallel_appends(struct world *w)
{
    struct flight flights[DEPTH] = {0};
    struct chalk_block_request *batch[DEPTH];
    uint64_t deadline = soon();
    unsigned finished = 0, places = 0;
    bool good = true;

    for (unsigned i = 0; i < DEPTH; i++) {
        flights[i].data = piece(w, i * BLOCK, BLOCK);
        memset(flights[i].data.va, (int)i + 1, BLOCK);
        flights[i].request = (struct chalk_nvme_request){
            .block = {.op = CHALK_BLOCK_DRIVER,
                      .segments = &flights[i].data,
                      .segment_count = 1,
                      .done = landed,
                      .context = &flights[i]},
            .command = chalk_nvme_encode_zone_append(1, 5 * ZONE, 1),
        };
        batch[i] = &flights[i].request.block;
    }
    expect_result(chalk_block_submit(w->queue, batch, DEPTH), (int)DEPTH,
                  "submitting eight appends to zone 5");
    chalk_block_kick(w->queue);
    while (finished < DEPTH && !chalk_expired(deadline)) {
        chalk_block_poll(w->queue, 0);
        finished = 0;
        for (unsigned i = 0; i < DEPTH; i++)
            finished += flights[i].done;
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        uint64_t place = flights[i].request.result - 5 * ZONE;

        good &= flights[i].done && flights[i].status == 0 && place < DEPTH;
        if (place < DEPTH)
            places |= 1u << place;
        good &= transfer(w, CHALK_BLOCK_READ, flights[i].request.result, 1, 16 * BLOCK) == 0 &&
                ((unsigned char *)w->buffer.va)[16 * BLOCK] == i + 1;
    }
    expect(places == (1u << DEPTH) - 1, "each gets a place, and no two the same");
    expect(good, "and is found there");
}

static void writes(struct world *w)
{
    expect_result(transfer(w, CHALK_BLOCK_WRITE, 3 * ZONE, 2, 0), 0,
                  "writing the first two blocks of zone 3");
    expect_result(transfer(w, CHALK_BLOCK_WRITE, 3 * ZONE + 3, 1, 0), -EINVAL,
                  "writing the fourth, not at the write pointer");
    expect_result(transfer(w, CHALK_BLOCK_WRITE, 3 * ZONE, 1, 0), -EINVAL, "writing the first again");
    expect_result(transfer(w, CHALK_BLOCK_WRITE, 3 * ZONE + 2, 1, 0), 0, "writing the third");
    expect(zone_is(w, 3, CHALK_NVME_ZONE_IS_IMPLICITLY_OPEN, 3), "the zone is open, with three blocks");
    expect_result(act(w, 3, CHALK_NVME_ZONE_CLOSE), 0, "closing it");
    expect(zone_is(w, 3, CHALK_NVME_ZONE_IS_CLOSED, 3), "it is closed");
    expect_result(act(w, 3, CHALK_NVME_ZONE_OPEN), 0, "opening it");
    expect(zone_is(w, 3, CHALK_NVME_ZONE_IS_EXPLICITLY_OPEN, 3), "it is open");
    expect_result(act(w, 3, CHALK_NVME_ZONE_FINISH), 0, "finishing it");
    expect(zone_is(w, 3, CHALK_NVME_ZONE_IS_FULL, CAPACITY), "it is full");
    expect_result(transfer(w, CHALK_BLOCK_WRITE, 3 * ZONE + 3, 1, 0), -ENOSPC, "writing to it");
    expect_result(act(w, 3, CHALK_NVME_ZONE_CLOSE), -EINVAL, "closing it");
    expect_result(act(w, 3, CHALK_NVME_ZONE_RESET), 0, "resetting it");
    expect(zone_is(w, 3, CHALK_NVME_ZONE_IS_EMPTY, 0), "it is empty");
    expect_result(act(w, 3, CHALK_NVME_ZONE_OFFLINE), -EINVAL, "taking it off line");
    expect_result(chalk_nvme_do_zone(w->queue, 3 * ZONE + 1, CHALK_NVME_ZONE_OPEN, false, soon()), -EINVAL,
                  "opening a zone by its second block");
    expect_result(chalk_nvme_do_zone(w->queue, ZONES * ZONE, CHALK_NVME_ZONE_OPEN, false, soon()), -ERANGE,
                  "opening a zone behind the last one");
}

static void limits(struct world *w)
{
    uint64_t lba = 0;
    bool opened = true, filled = true;

    expect_result(chalk_nvme_do_zone(w->queue, 0, CHALK_NVME_ZONE_RESET, true, soon()), 0,
                  "resetting all zones");
    for (unsigned i = 0; i < 4; i++)
        opened &= act(w, i, CHALK_NVME_ZONE_OPEN) == 0;
    expect(opened, "opening four zones");
    expect_result(act(w, 4, CHALK_NVME_ZONE_OPEN), -EBUSY, "opening a fifth");
    expect_result(act(w, 0, CHALK_NVME_ZONE_CLOSE), 0, "closing the first, of which nothing is written");
    expect(zone_is(w, 0, CHALK_NVME_ZONE_IS_CLOSED, 0) || zone_is(w, 0, CHALK_NVME_ZONE_IS_EMPTY, 0),
           "it is not open any more");
    expect_result(act(w, 4, CHALK_NVME_ZONE_OPEN), 0, "opening the fifth");
    for (unsigned i = 0; i < CAPACITY / 16; i++)
        filled &= append(w, 4, 16, &lba) == 0;
    expect(filled && lba == 4 * ZONE + CAPACITY - 16, "filling it");
    expect(zone_is(w, 4, CHALK_NVME_ZONE_IS_FULL, CAPACITY), "it is full");
    expect_result(append(w, 4, 1, &lba), -ENOSPC, "appending one more");
    expect_result(chalk_nvme_do_zone(w->queue, 0, CHALK_NVME_ZONE_RESET, true, soon()), 0,
                  "resetting all zones");
}

static void on_controller(struct world *w)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = DEPTH};

    geometry(w);
    if (!expect_result(chalk_nvme_queue_open(w->nvme, &options, &w->queue), 0, "a queue on it"))
        return;
    reports(w);
    appends(w);
    parallel_appends(w);
    writes(w);
    limits(w);
    chalk_nvme_queue_close(w->queue);
}

int chalk_main(int argc, char *argv[])
{
    static struct world w;

    (void)argc;
    (void)argv;
    if (!open_nvme(4u << 20, &w.memory, &w.domain, &w.device))
        return 1;

    const struct chalk_nvme_options options = {.memory = w.memory, .domain = w.domain};

    if (expect_result(chalk_nvme_open(w.device, &options, &w.nvme), 0, "opening the controller")) {
        if (expect_result(chalk_dma_get(w.memory, 32 * BLOCK, CHALK_PAGE, &w.buffer), 0, "a buffer"))
            on_controller(&w);
        chalk_dma_put(w.memory, &w.buffer);
        chalk_nvme_close(w.nvme);
    }
    close_nvme(w.memory, w.domain, w.device);
    return twin_failures != 0;
}
