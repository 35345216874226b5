/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A few tasks and a few requests, one after the other, and what their trace says: which events came in which
 * order, and whose they were, is the same in both worlds. When they came is not, only that time did not go
 * back.
 */
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/loop.h>
#include <chalk/main.h>
#include <chalk/nvme.h>
#include <chalk/trace.h>

#include <string.h>

#include "twin.h"

#define RECORDS 16 /* the ring holds one less */

static const char *kind_name(unsigned kind)
{
    switch (kind) {
    case CHALK_TRACE_MARK:
        return "mark";
    case CHALK_TRACE_BEGIN:
        return "begin";
    case CHALK_TRACE_END:
        return "end";
    case CHALK_TRACE_READ:
        return "read";
    case CHALK_TRACE_WRITE:
        return "write";
    case CHALK_TRACE_FLUSH:
        return "flush";
    case CHALK_TRACE_COMPLETE:
        return "complete";
    default:
        return "something else";
    }
}

/* Prints what is new in the ring. */
static void show(const struct chalk_trace *trace, uint64_t *position)
{
    struct chalk_trace_record record;
    uint64_t last = 0, request = 0, expected = *position;
    bool ordered = true, paired = true;

    for (; chalk_trace_next(trace, position, &record); last = record.ticks, expected = *position) {
        if (*position != expected + 1)
            printf("  %llu lost\n", (unsigned long long)(*position - expected - 1));
        printf("  core %u: %s %d", record.core, kind_name(record.kind), (int)record.number);
        if (record.kind == CHALK_TRACE_READ || record.kind == CHALK_TRACE_WRITE)
            printf(" at %llu", (unsigned long long)record.other);
        printf("\n");
        ordered &= record.ticks >= last;
        if (record.kind == CHALK_TRACE_COMPLETE && request != 0) /* else its submission is lost */
            paired &= record.value == request;
        request = record.value;
    }
    expect(ordered, "time goes forward");
    expect(paired, "a request's completion has its address");
}

static int request(struct chalk_block_queue *queue, enum chalk_block_op op, uint64_t lba, uint32_t count,
                   const struct chalk_dma *buffer)
{
    struct chalk_dma segment = {buffer->va, buffer->iova, (size_t)count * queue->info.block_size};
    struct chalk_block_request request = {
        .op = op, .lba = lba, .count = count, .segments = &segment, .segment_count = count != 0};

    return chalk_block_do(queue, &request, chalk_deadline(20 * CHALK_S));
}

static int count_line(void *context, const char *line, size_t size)
{
    static const char prefix[] = "chalk-trace: ";
    unsigned *lines = context;

    *lines +=
        size > sizeof(prefix) && memcmp(line, prefix, sizeof(prefix) - 1) == 0 && line[size - 1] == '\n';
    return 0;
}

static void trace_requests(struct chalk_block_queue *queue, struct chalk_memory *memory,
                           const struct chalk_dma *buffer)
{
    const size_t size = RECORDS * CHALK_TRACE_RECORD;
    void *records = chalk_memory_get(memory, size);
    struct chalk_trace trace;
    uint64_t position = 0;
    unsigned lines = 0;

    if (!expect_result(chalk_trace_init(&trace, 0, records, RECORDS), 0, "a ring"))
        return;
    request(queue, CHALK_BLOCK_READ, 1, 1, buffer);
    queue->trace = &trace;
    chalk_trace_emit(&trace, CHALK_TRACE_BEGIN, 1, 0, 0);
    expect_result(request(queue, CHALK_BLOCK_WRITE, 7, 2, buffer), 0, "writing two blocks from block 7");
    expect_result(request(queue, CHALK_BLOCK_FLUSH, 0, 0, buffer), 0, "flushing");
    expect_result(request(queue, CHALK_BLOCK_READ, 7, 1, buffer), 0, "reading block 7");
    expect_result(request(queue, CHALK_BLOCK_READ, UINT64_MAX, 1, buffer), -ERANGE,
                  "reading what is not there");
    chalk_trace_emit(&trace, CHALK_TRACE_END, 1, 0, 0);
    show(&trace, &position);

    for (unsigned i = 0; i < RECORDS; i++)
        request(queue, CHALK_BLOCK_READ, i, 1, buffer);
    queue->trace = NULL;
    request(queue, CHALK_BLOCK_READ, 1, 1, buffer);
    chalk_trace_emit(queue->trace, CHALK_TRACE_MARK, 2, 0, 0);
    expect_result(chalk_trace_write(&trace, count_line, &lines), 0, "writing the trace");
    expect(lines == 2 + (RECORDS - 1) / 3, "gives a ring, three records a line, and an end");
    show(&trace, &position);
    chalk_memory_put(memory, records, size);
}

/* ---- tasks ---- */

static struct chalk_loop *loop;
static struct chalk_task *first;

static void waits(struct chalk_task *self, void *argument)
{
    (void)argument;
    first = self;
    chalk_task_yield(self);
    chalk_task_wait(self, CHALK_FOREVER);
    chalk_task_sleep(self, chalk_deadline(20 * CHALK_MS));
    chalk_loop_stop(loop);
}

static void wakes(struct chalk_task *self, void *argument)
{
    (void)argument;
    chalk_task_yield(self);
    chalk_task_wake(first);
}

/* How often a sleep is broken, and begun again, is not the same. */
static void show_tasks(const struct chalk_trace *trace)
{
    static const char *const states[] = {"ready", "waiting", "ended"};
    struct chalk_trace_record record;
    unsigned last = 0;
    char name[17] = "";

    for (uint64_t position = 0; chalk_trace_next(trace, &position, &record); last = record.kind) {
        memcpy(name, &record.value, 8);
        memcpy(name + 8, &record.other, 8);
        if (record.kind == CHALK_TRACE_RUN)
            printf("  task %u, %s, runs\n", record.number, name);
        else if (record.kind == CHALK_TRACE_PARK)
            printf("  task %u is %s\n", record.number, record.value < 3 ? states[record.value] : "lost");
        else if (record.kind == CHALK_TRACE_SLEEP && last != CHALK_TRACE_WAKE)
            printf("  the core sleeps\n");
    }
}

static void trace_tasks(struct chalk_memory *memory)
{
    const size_t size = 1024 * CHALK_TRACE_RECORD;
    void *records = chalk_memory_get(memory, size);
    struct chalk_trace trace;

    if (!expect(records != NULL, "memory for a trace of tasks") ||
        !expect_result(chalk_trace_init(&trace, 0, records, 1024), 0, "the trace") ||
        !expect_result(
            chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .idle = CHALK_IDLE_WAIT}, &loop),
            0, "a loop"))
        return;
    chalk_loop_trace(loop, &trace);
    expect_result(chalk_task_start(loop, &(struct chalk_task_options){.name = "waiter"}, waits, NULL, NULL),
                  0, "a task that waits");
    expect_result(chalk_task_start(loop, &(struct chalk_task_options){.name = "waker"}, wakes, NULL, NULL), 0,
                  "one that wakes it");
    expect_result(chalk_loop_run(loop), 0, "running both");
    show_tasks(&trace);
    chalk_loop_destroy(loop);
    chalk_memory_put(memory, records, size);
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_bus_info found = {0};
    struct chalk_memory *memory;
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    struct chalk_block_queue *queue;
    struct chalk_nvme *nvme;
    struct chalk_dma buffer;

    (void)argc;
    (void)argv;
    if (!expect_result(chalk_bus_find(CHALK_CLASS_NVME, &found), 0, "finding the controller") ||
        !expect_result(chalk_memory_create(NULL, &memory), 0, "claiming memory"))
        return 1;
    trace_tasks(memory);
    if (!expect_result(chalk_device_open(found.name, &domain, &device), 0, "opening the device"))
        goto destroy;
    if (!expect_result(chalk_memory_share(memory, domain), 0, "sharing memory with it") ||
        !expect_result(
            chalk_nvme_open(device, &(struct chalk_nvme_options){.memory = memory, .domain = domain}, &nvme),
            0, "opening the controller"))
        goto close_device;
    if (expect_result(chalk_dma_get(memory, 2 * CHALK_PAGE, CHALK_PAGE, &buffer), 0, "a buffer") &&
        expect_result(
            chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4}, &queue), 0,
            "a queue")) {
        trace_requests(queue, memory, &buffer);
        chalk_nvme_queue_close(queue);
        chalk_dma_put(memory, &buffer);
    }
    chalk_nvme_close(nvme);
    chalk_memory_unshare(memory, domain);
close_device:
    chalk_device_close(device);
destroy:
    chalk_memory_destroy(memory);
    return twin_failures != 0;
}
