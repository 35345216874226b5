/* SPDX-License-Identifier: BSD-2-Clause */
/* The disk behind the plugin for nbdkit, on a queue of this test's own. */
#include "tools/nbd/disk.h"
#include "tools/nvme/options.h"
#include "tools/nvme/session.h"
#include <chalk/error.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#define BLOCK   512
#define PLACES  8 /* in the queue */
#define EACH    4 /* that a request takes, as one does that is split into as many */
#define CALLERS PLACES

/* ---- the queue ------------------------------------------------------------------------------------- */

static struct {
    struct chalk_block_queue block;
    struct chalk_block_request *under_way[PLACES / EACH];
    unsigned count;
    bool was_full;
} queue;

static int submit(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                  unsigned count)
{
    (void)count;
    if (queue.count == PLACES / EACH) {
        queue.was_full = true;
        return -EAGAIN;
    }
    queue.under_way[queue.count++] = requests[0];
    block->counters.submitted++;
    return 1;
}

static void kick(struct chalk_block_queue *block)
{
    (void)block;
}

/* Nothing ends before somebody has found the queue full. */
static int poll(struct chalk_block_queue *block, unsigned max)
{
    struct chalk_block_request *request;

    (void)max;
    if (!queue.was_full || queue.count == 0)
        return 0;
    request = queue.under_way[--queue.count];
    block->counters.completed++;
    request->done(request, 0);
    return 1;
}

static const struct chalk_block_ops ops = {.submit = submit, .kick = kick, .poll = poll};

/* ---- what the disk asks for ------------------------------------------------------------------------ */

bool session_open(struct session *session, const struct session_options *options)
{
    const struct chalk_memory_options memory = {.private_size = 1 << 20, .shared_size = 16 << 20};

    (void)options;
    queue.block = (struct chalk_block_queue){
        .ops = &ops,
        .info = {.block_count = 1 << 20,
                 .block_size = BLOCK,
                 .max_blocks = 1 << 20,
                 .depth = PLACES,
                 .operations = 1 << CHALK_BLOCK_READ | 1 << CHALK_BLOCK_WRITE},
    };
    session->queue = &queue.block;
    return chalk_memory_create(&memory, &session->memory) == 0;
}

int session_get_buffers(struct session *session, size_t size, size_t align, struct chalk_dma *buffers)
{
    return chalk_dma_get(session->memory, size, align, buffers);
}

void session_close(struct session *session)
{
    chalk_memory_destroy(session->memory);
}

void complain(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vprint_error(format, list);
    va_end(list);
}

int __wrap_chalk_config_read(struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value);
int __wrap_chalk_config_read(struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value)
{
    (void)device;
    (void)offset;
    (void)width;
    *value = 0x00101b36;
    return 0;
}

/* ---- its callers ----------------------------------------------------------------------------------- */

static struct disk *disk;

static void *write_a_block(void *status)
{
    static const char data[BLOCK];

    *(int *)status = disk_do(disk, CHALK_BLOCK_WRITE, 0, (void *)(uintptr_t)data, sizeof data, 0);
    return NULL;
}

static void who_finds_the_queue_full_waits(void **state)
{
    const struct disk_options options = {.address = "of this test", .poll = true};
    pthread_t threads[CALLERS];
    int statuses[CALLERS];

    (void)state;
    disk = disk_open(&options);
    assert_non_null(disk);
    for (unsigned i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_a_block, &statuses[i]), 0);
    for (unsigned i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    disk_close(disk);
    assert_true(queue.was_full);
    for (unsigned i = 0; i < CALLERS; i++)
        assert_int_equal(statuses[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(who_finds_the_queue_full_waits)};

    return cmocka_run_group_tests_name("nbd_disk", tests, NULL, NULL);
}
