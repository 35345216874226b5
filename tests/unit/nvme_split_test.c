/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that become several commands, and data in pieces of any size. */
#include "nvme_session.h"
#include <chalk/random.h>

#define MOST 600 /* segments of a request */

static struct chalk_dma data;
static struct chalk_block_queue *queue;
static struct chalk_dma segments[MOST];
static unsigned finished;
static int last_status;

static void done(struct chalk_block_request *request, int status)
{
    (void)request;
    finished++;
    last_status = status;
}

static int setup(void **state)
{
    int error = session_setup(state);

    finished = 0;
    if (error == 0)
        error = chalk_dma_get(memory, 3 << 20, CHALK_PAGE, &data);
    for (size_t i = 0; i < MODEL_DISK; i++)
        model->disk[i] = (uint8_t)(i * 7 + (i >> 8));
    return error;
}

static int teardown(void **state)
{
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    chalk_dma_put(memory, &data);
    return session_teardown(state);
}

static void open_with(uint32_t sgls, unsigned depth, bool pages_only)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = depth, .pages_only = pages_only};

    model->controller.sgls = sgls;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), 0);
}

static struct chalk_block_request request_for(enum chalk_block_op op, uint64_t lba, uint32_t count,
                                              unsigned segment_count)
{
    return (struct chalk_block_request){.op = op,
                                        .lba = lba,
                                        .count = count,
                                        .segments = segments,
                                        .segment_count = (uint16_t)segment_count,
                                        .done = done};
}

/* One request to its end, however many polls that takes. */
static int run(struct chalk_block_request *request)
{
    int taken = chalk_block_submit(queue, &request, 1);

    finished = 0;
    if (taken != 1)
        return taken;
    chalk_block_kick(queue);
    for (unsigned polls = 0; finished == 0; polls++) {
        assert_true(polls < 10000);
        assert_true(chalk_block_poll(queue, 0) >= 0);
    }
    assert_int_equal(finished, 1);
    assert_int_equal(queue->counters.submitted, queue->counters.completed);
    return last_status;
}

/* Cuts `size` bytes of the buffer, from `offset` on, into pieces of at most `most` bytes that are multiples
 * of `align`; in memory they stand in reverse. */
static unsigned scatter(size_t offset, size_t size, size_t most, size_t align, uint64_t *seed)
{
    size_t end = data.size - offset;
    unsigned count = 0;

    while (size != 0) {
        size_t piece = align * (1 + chalk_random_below(seed, most / align));

        if (piece > size || count == MOST - 1)
            piece = size;
        end -= piece;
        segments[count++] = (struct chalk_dma){(char *)data.va + end, data.iova + end, piece};
        size -= piece;
    }
    return count;
}

static bool data_is(const uint8_t *expected, unsigned count)
{
    for (unsigned i = 0; i < count; expected += segments[i++].size)
        if (memcmp(segments[i].va, expected, segments[i].size) != 0)
            return false;
    return true;
}

/* Reads `blocks` blocks into pieces, then writes them elsewhere. */
static void exchange(uint32_t blocks, unsigned count)
{
    struct chalk_block_request request = request_for(CHALK_BLOCK_READ, 3, blocks, count);
    uint8_t *behind = &model->disk[(4097 + blocks) * 512];

    *behind = 0x77;
    memset(data.va, 0xee, data.size);
    assert_int_equal(run(&request), 0);
    assert_true(data_is(model->disk + 3 * 512, count));
    request = request_for(CHALK_BLOCK_WRITE, 4097, blocks, count);
    assert_int_equal(run(&request), 0);
    assert_true(data_is(model->disk + 4097 * 512, count));
    assert_int_equal(*behind, 0x77);
}

static void pieces_may_lie_anywhere(void **state)
{
    static const uint32_t sizes[] = {1, 2, 8, 17, 64, 256};
    uint64_t seed = 11;

    (void)state;
    open_with(NVME_SGLS_ANY, 4, false);
    assert_int_equal(queue->info.boundary, 1);
    assert_int_equal(queue->info.segment_align, 1);
    for (unsigned round = 0; round < 40; round++)
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
            exchange(sizes[i], scatter(round, sizes[i] * 512, 40 + 400 * round, 1, &seed));
}

static void pieces_of_dwords(void **state)
{
    uint64_t seed = 12;

    (void)state;
    open_with(NVME_SGLS_DWORDS, 4, false);
    assert_int_equal(queue->info.segment_align, 4);
    for (uint32_t blocks = 1; blocks < 256; blocks += 1 + blocks / 4)
        exchange(blocks, scatter(4, blocks * 512, 4000, 4, &seed));
    segments[0] = (struct chalk_dma){data.va, data.iova + 2, 512};
    struct chalk_block_request request = request_for(CHALK_BLOCK_READ, 0, 1, 1);
    assert_int_equal(run(&request), -EINVAL);
}

static void what_is_shorter_is_chosen(void **state)
{
    struct chalk_block_request request;

    (void)state;
    open_with(NVME_SGLS_ANY, 4, false);
    segments[0] = (struct chalk_dma){data.va, data.iova, 8 * 512};
    request = request_for(CHALK_BLOCK_READ, 0, 8, 1);
    assert_int_equal(run(&request), 0);
    assert_int_equal(model->last.cdw0 & NVME_DATA_SGL, 0); /* one page */
    segments[0].size = 64 * 512;
    request = request_for(CHALK_BLOCK_READ, 0, 64, 1);
    assert_int_equal(run(&request), 0);
    assert_int_equal(model->last.cdw0 & NVME_DATA_SGL, NVME_DATA_SGL); /* eight pages, one piece */
    assert_int_equal(model->last.sgl.type, NVME_SGL_DATA);
    for (unsigned i = 0; i < 8; i++)
        segments[i] = (struct chalk_dma){(char *)data.va + 8192 * i, data.iova + 8192 * i, 4096};
    request = request_for(CHALK_BLOCK_READ, 0, 64, 8);
    assert_int_equal(run(&request), 0);
    assert_int_equal(model->last.cdw0 & NVME_DATA_SGL, 0); /* eight pages, eight pieces */
}

static void where_only_pages_are_wanted_only_pages_are_used(void **state)
{
    struct chalk_block_request request;

    (void)state;
    open_with(NVME_SGLS_ANY, 4, true);
    assert_int_equal(queue->info.boundary, 4096);
    segments[0] = (struct chalk_dma){data.va, data.iova, 256 * 512};
    request = request_for(CHALK_BLOCK_READ, 0, 256, 1);
    assert_int_equal(run(&request), 0);
    assert_int_equal(model->last.cdw0 & NVME_DATA_SGL, 0);
}

/* Several times what a command can have, with fewer slots than commands, with more, and with just one. */
static void long_requests_are_split_and_joined(void **state)
{
    static const unsigned depths[] = {1, 3, 64};
    uint64_t seed = 13;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        open_with(0, depths[i], false);
        for (uint32_t blocks = 250; blocks <= 4000; blocks += 625) {
            unsigned before = model->commands;

            segments[0] = (struct chalk_dma){(char *)data.va + 2048, data.iova + 2048, blocks * 512};
            exchange(blocks, 1);
            assert_int_equal(model->commands - before, 2 * ((blocks + 255) / 256));
        }
        chalk_nvme_queue_close(queue);
        chalk_nvme_close(nvme);
        open_with(NVME_SGLS_ANY, depths[i], false);
        for (uint32_t blocks = 250; blocks <= 4000; blocks += 625)
            exchange(blocks, scatter(i, blocks * 512, 9000, 1, &seed));
        exchange(100, scatter(i, 100 * 512, 170, 1, &seed)); /* more pieces than a list has room for */
        if (i != 2) {
            chalk_nvme_queue_close(queue);
            chalk_nvme_close(nvme);
        }
    }
}

/* Nothing can be cut where a block is in more pieces than one list has room for. */
static void one_block_has_so_many_pieces(void **state)
{
    uint64_t seed = 1;

    (void)state;
    open_with(NVME_SGLS_ANY, 4, false);
    exchange(2, scatter(0, 2 * 512, 2, 2, &seed)); /* 256 in each */
    assert_int_equal(scatter(0, 512, 1, 1, &seed), 512);
    assert_int_equal(
        run(&(struct chalk_block_request){
            .op = CHALK_BLOCK_READ, .count = 1, .segments = segments, .segment_count = 512, .done = done}),
        -EINVAL);
    assert_true(fake_console_has("its 512 segments are more pieces than fit into a list, which has 256"));
}

static void ranges_without_data_are_split_too(void **state)
{
    struct chalk_block_request request = {
        .op = CHALK_BLOCK_VERIFY, .lba = 5, .count = 2000, .done = done, .flags = CHALK_BLOCK_FUA};

    (void)state;
    open_with(0, 2, false);
    assert_int_equal(run(&request), 0);
    assert_int_equal(model->commands, 8);
    assert_int_equal(model->last.slba, 5 + 7 * 256);
    assert_int_equal(model->last.cdw12, (2000 - 7 * 256 - 1) | NVME_FORCE_UNIT);
}

static unsigned countdown;

static bool refuse_one(struct nvme_model *self, unsigned id, struct nvme_completion *completion)
{
    (void)self;
    if (id != 0 && countdown != 0 && --countdown == 0)
        completion->outcome |= 0x281u << 17;
    return true;
}

static void the_first_error_ends_it_once_all_parts_are_back(void **state)
{
    struct chalk_block_request request;

    (void)state;
    open_with(0, 4, false);
    segments[0] = (struct chalk_dma){data.va, data.iova, 4000 * 512};
    for (unsigned failing = 1; failing <= 16; failing++) {
        unsigned before = model->commands;

        model->tamper = refuse_one;
        countdown = failing;
        request = request_for(CHALK_BLOCK_READ, 0, 4000, 1);
        assert_int_equal(run(&request), -EIO);
        assert_true(model->commands - before <= failing + 4);
        model->tamper = NULL;
    }
    request = request_for(CHALK_BLOCK_READ, 0, 4000, 1);
    assert_int_equal(run(&request), 0); /* no slot was lost on the way */
}

static void wrong_data_of_long_requests_is_refused_at_once(void **state)
{
    struct chalk_block_request request;

    (void)state;
    open_with(0, 4, false);
    segments[0] = (struct chalk_dma){data.va, data.iova, 2000 * 512};
    segments[1] = (struct chalk_dma){data.va, data.iova + 512, 512};
    request = request_for(CHALK_BLOCK_READ, 0, 2001, 2);
    assert_int_equal(run(&request), -EINVAL); /* an inner edge that is no page's */
    request = request_for(CHALK_BLOCK_READ, 0, 2002, 2);
    assert_int_equal(run(&request), -EINVAL); /* too few bytes */
    request = request_for(CHALK_BLOCK_READ, 0, 1999, 1);
    assert_int_equal(run(&request), -EINVAL); /* too many */
    segments[1].size = 0;
    request = request_for(CHALK_BLOCK_READ, 0, 2000, 2);
    assert_int_equal(run(&request), -EINVAL);
    request = request_for(CHALK_BLOCK_READ, queue->info.block_count - 1999, 2000, 1);
    assert_int_equal(run(&request), -ERANGE);
    assert_int_equal(model->commands, 0);
}

/* Beside short ones, in a queue that is too small for all. */
static void long_and_short_requests_share_a_queue(void **state)
{
    struct chalk_block_request requests[6], *batch[6];
    struct chalk_dma whole = {data.va, data.iova, 3000 * 512}, one = {data.va, data.iova, 512};
    unsigned taken = 0;

    (void)state;
    open_with(0, 3, false);
    for (unsigned i = 0; i < 6; i++) {
        requests[i] = request_for(CHALK_BLOCK_WRITE, 0, i % 2 == 0 ? 3000 : 1, 1);
        requests[i].segments = i % 2 == 0 ? &whole : &one;
        batch[i] = &requests[i];
    }
    for (unsigned polls = 0; finished < 6; polls++) {
        int more = taken < 6 ? chalk_block_submit(queue, batch + taken, 6 - taken) : 0;

        assert_true(polls < 1000 && (more >= 0 || more == -EAGAIN));
        taken += more > 0 ? (unsigned)more : 0;
        chalk_block_kick(queue);
        assert_true(chalk_block_poll(queue, 0) >= 0);
        assert_int_equal(last_status, 0);
    }
    assert_int_equal(queue->counters.submitted, queue->counters.completed);
}

static void closing_ends_what_is_split(void **state)
{
    struct chalk_block_request request, *only = &request;

    (void)state;
    open_with(0, 4, false);
    model->hold = true;
    segments[0] = (struct chalk_dma){data.va, data.iova, 4000 * 512};
    request = request_for(CHALK_BLOCK_READ, 0, 4000, 1);
    assert_int_equal(chalk_block_submit(queue, &only, 1), 1);
    chalk_block_kick(queue);
    model_run(model, 1, 2);
    chalk_nvme_queue_close(queue);
    assert_int_equal(finished, 1);
    assert_true(last_status == -EIO || last_status == -ECANCELED);
    model->hold = false;
    assert_int_equal(
        chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4}, &queue), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pieces_may_lie_anywhere),
        TEST(pieces_of_dwords),
        TEST(what_is_shorter_is_chosen),
        TEST(where_only_pages_are_wanted_only_pages_are_used),
        TEST(long_requests_are_split_and_joined),
        TEST(one_block_has_so_many_pieces),
        TEST(ranges_without_data_are_split_too),
        TEST(the_first_error_ends_it_once_all_parts_are_back),
        TEST(wrong_data_of_long_requests_is_refused_at_once),
        TEST(long_and_short_requests_share_a_queue),
        TEST(closing_ends_what_is_split),
    };

    return cmocka_run_group_tests_name("nvme_split", tests, NULL, NULL);
}
