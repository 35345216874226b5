/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines on a disk, which is an array here: what lies in which block, and what happens when it is too small.
 */
#include "platform_fake.h"
#include <chalk/error.h>
#include <chalk/trace_disk.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK  16u
#define BLOCKS 64u

static struct {
    struct chalk_block_queue queue;
    struct chalk_block_request *held;
    unsigned writes, flushes;
    int status; /* of what comes next */
    char bytes[BLOCKS * BLOCK];
} model;

static char memory[4 * BLOCK];
static const struct chalk_dma buffer = {.va = memory, .iova = 0, .size = sizeof memory};

static int model_submit(struct chalk_block_queue *queue, struct chalk_block_request *const *requests,
                        unsigned count)
{
    (void)queue;
    assert_int_equal(count, 1);
    assert_null(model.held);
    model.held = requests[0];
    return 1;
}

static void model_kick(struct chalk_block_queue *queue)
{
    (void)queue;
}

static int model_poll(struct chalk_block_queue *queue, unsigned max)
{
    struct chalk_block_request *request = model.held;

    (void)queue, (void)max;
    assert_non_null(request);
    model.held = NULL;
    if (request->op == CHALK_BLOCK_WRITE) {
        assert_true(request->lba + request->count <= BLOCKS);
        assert_int_equal(request->segment_count, 1);
        assert_int_equal(request->segments->size, (size_t)request->count * BLOCK);
        assert_true(request->count <= model.queue.info.max_blocks);
        memcpy(model.bytes + request->lba * BLOCK, request->segments->va, request->segments->size);
        model.writes++;
    } else {
        assert_int_equal(request->op, CHALK_BLOCK_FLUSH);
        model.flushes++;
    }
    request->done(request, model.status);
    return 1;
}

static const struct chalk_block_ops ops = {.submit = model_submit, .kick = model_kick, .poll = model_poll};

static int setup(void **state)
{
    (void)state;
    fake_reset();
    memset(&model, 0, sizeof model);
    model.queue.ops = &ops;
    model.queue.info = (struct chalk_block_info){
        .block_count = BLOCKS, .block_size = BLOCK, .max_blocks = 8, .volatile_cache = true};
    memset(model.bytes, '#', sizeof model.bytes); /* an earlier trace, say */
    return 0;
}

static void expect_bytes(size_t start, size_t size, char byte)
{
    for (size_t i = start; i < start + size; i++)
        assert_int_equal(model.bytes[i], byte);
}

static void lines_lie_one_behind_the_other_and_then_zeroes(void **state)
{
    const char *line = "a line of 24 characters\n";
    struct chalk_trace_disk disk;
    const size_t start = 3 * BLOCK, size = 40 * BLOCK;

    (void)state;
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 3, 40), 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(chalk_trace_disk_line(&disk, line, 24), 0);
    assert_int_equal(chalk_trace_disk_end(&disk), 0);
    expect_bytes(0, start, '#');
    expect_bytes(start, 1, '\n');
    for (unsigned i = 0; i < 10; i++)
        assert_memory_equal(model.bytes + start + 1 + i * 24, line, 24);
    expect_bytes(start + 241, size - 241, 0);
    expect_bytes(start + size, sizeof model.bytes - start - size, '#');
    assert_int_equal(model.flushes, 1);
}

static void a_request_is_no_longer_than_the_device_takes(void **state)
{
    struct chalk_trace_disk disk;

    (void)state;
    model.queue.info.max_blocks = 1;
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 0, 4), 0);
    assert_int_equal(chalk_trace_disk_end(&disk), 0);
    assert_int_equal(model.writes, 4);
}

static void without_a_cache_nothing_is_flushed(void **state)
{
    struct chalk_trace_disk disk;

    (void)state;
    model.queue.info.volatile_cache = false;
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 0, 1), 0);
    assert_int_equal(chalk_trace_disk_end(&disk), 0);
    assert_int_equal(model.flushes, 0);
}

static void the_last_byte_is_used_and_no_more(void **state)
{
    char line[6 * BLOCK];
    struct chalk_trace_disk disk;

    (void)state;
    memset(line, 'x', sizeof line);
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 1, 6), 0);
    assert_int_equal(chalk_trace_disk_line(&disk, line, sizeof line - 1), 0);
    assert_int_equal(chalk_trace_disk_end(&disk), 0);
    expect_bytes(BLOCK + 1, sizeof line - 1, 'x');

    setup(NULL);
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 1, 6), 0);
    (void)chalk_trace_disk_line(&disk, line, sizeof line);
    assert_int_equal(chalk_trace_disk_end(&disk), -ENOSPC);
    assert_int_equal(chalk_trace_disk_line(&disk, line, 1), -ENOSPC);
    expect_bytes(0, BLOCK, '#');
    expect_bytes(7 * BLOCK, sizeof model.bytes - 7 * BLOCK, '#');
}

static void after_an_error_nothing_is_written(void **state)
{
    struct chalk_trace_disk disk;

    (void)state;
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 0, 8), 0);
    model.status = -EIO;
    assert_int_equal(chalk_trace_disk_end(&disk), -EIO);
    model.status = 0;
    assert_int_equal(chalk_trace_disk_line(&disk, "x", 1), -EIO);
    assert_int_equal(chalk_trace_disk_end(&disk), -EIO);
    assert_int_equal(model.writes, 1);
    assert_int_equal(model.flushes, 0);
}

static void what_is_not_on_the_disk_is_refused(void **state)
{
    const struct chalk_dma small = {.va = memory, .iova = 0, .size = BLOCK - 1};
    struct chalk_trace_disk disk;

    (void)state;
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &small, 0, 1), -EINVAL);
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 0, 0), -EINVAL);
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 0, BLOCKS + 1), -ERANGE);
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, BLOCKS, 1), -ERANGE);
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, UINT64_MAX, 2), -ERANGE);
    assert_int_equal(chalk_trace_disk_start(&disk, &model.queue, &buffer, 1, UINT64_MAX), -ERANGE);
    assert_int_equal(model.writes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines_lie_one_behind_the_other_and_then_zeroes, setup),
        cmocka_unit_test_setup(a_request_is_no_longer_than_the_device_takes, setup),
        cmocka_unit_test_setup(without_a_cache_nothing_is_flushed, setup),
        cmocka_unit_test_setup(the_last_byte_is_used_and_no_more, setup),
        cmocka_unit_test_setup(after_an_error_nothing_is_written, setup),
        cmocka_unit_test_setup(what_is_not_on_the_disk_is_refused, setup),
    };

    return cmocka_run_group_tests_name("trace on a disk", tests, NULL, NULL);
}
