/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that are not a plain read or write: what command each becomes, and what is refused. */
#include "nvme_session.h"

static struct chalk_dma data; /* the requests' memory */
static struct chalk_block_queue *queue;
static unsigned finished;
static int last_status;

static void done(struct chalk_block_request *request, int status)
{
    (void)request;
    finished++;
    last_status = status;
}

static int open_queue(unsigned depth)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = depth};

    return chalk_nvme_queue_open(nvme, &options, &queue);
}

static int setup(void **state)
{
    int error = session_setup(state);

    finished = 0;
    if (error == 0)
        error = chalk_dma_get(memory, 1 << 20, CHALK_PAGE, &data);
    if (error == 0)
        error = open_controller();
    if (error == 0)
        error = open_queue(4);
    memset(model->disk, 0x5a, sizeof model->disk);
    return error;
}

static int teardown(void **state)
{
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    chalk_dma_put(memory, &data);
    return session_teardown(state);
}

static struct chalk_dma piece(size_t offset, size_t size)
{
    return (struct chalk_dma){(char *)data.va + offset, data.iova + offset, size};
}

/* One request to its end: what submission says, or its status. */
static int run(struct chalk_block_request *request)
{
    unsigned before = finished;
    int taken;

    request->done = done;
    taken = chalk_block_submit(queue, &request, 1);
    if (taken != 1)
        return taken;
    chalk_block_kick(queue);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(finished, before + 1);
    return last_status;
}

/* One without data. */
static int run_range(enum chalk_block_op op, uint64_t lba, uint32_t count)
{
    struct chalk_block_request request = {.op = op, .lba = lba, .count = count};

    return run(&request);
}

static int run_data(enum chalk_block_op op, unsigned flags, uint64_t lba, uint32_t count)
{
    struct chalk_dma segment = piece(0, (size_t)count * 512);
    struct chalk_block_request request = {.op = op,
                                          .flags = (uint8_t)flags,
                                          .lba = lba,
                                          .count = count,
                                          .segments = &segment,
                                          .segment_count = 1};

    return run(&request);
}

static bool disk_is(uint64_t lba, uint32_t count, int byte)
{
    for (size_t i = lba * 512; i < (lba + count) * 512; i++)
        if (model->disk[i] != byte)
            return false;
    return true;
}

static void ranges_are_emptied_and_no_more(void **state)
{
    static const enum chalk_block_op ops[] = {CHALK_BLOCK_DISCARD, CHALK_BLOCK_WRITE_ZEROES};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t lba = 100 + 1000 * i;

        assert_int_equal(run_range(ops[i], lba, 700), 0);
        assert_true(disk_is(lba, 700, 0));
        assert_true(disk_is(lba - 1, 1, 0x5a));
        assert_true(disk_is(lba + 700, 1, 0x5a));
    }
}

static void verify_moves_nothing(void **state)
{
    (void)state;
    assert_int_equal(run_range(CHALK_BLOCK_VERIFY, 9, 30), 0);
    assert_int_equal(model->last.cdw0 & 0xff, NVME_VERIFY);
    assert_int_equal(model->last.slba, 9);
    assert_int_equal(model->last.cdw12, 29);
    assert_int_equal(model->last.prp1, 0);
}

static void compare_tells_a_difference(void **state)
{
    (void)state;
    memset(data.va, 0x5a, 64 << 10);
    assert_int_equal(run_data(CHALK_BLOCK_COMPARE, 0, 3, 1), 0);
    assert_int_equal(run_data(CHALK_BLOCK_COMPARE, 0, 3, 100), 0);
    ((char *)data.va)[99 * 512 + 511] = 0;
    assert_int_equal(run_data(CHALK_BLOCK_COMPARE, 0, 3, 100), -EILSEQ);
    assert_int_equal(run_data(CHALK_BLOCK_COMPARE, 0, 3, 99), 0);
}

static void flags_reach_the_command(void **state)
{
    (void)state;
    assert_int_equal(run_data(CHALK_BLOCK_WRITE, 0, 0, 8), 0);
    assert_int_equal(model->last.cdw12, 7);
    assert_int_equal(run_data(CHALK_BLOCK_WRITE, CHALK_BLOCK_REPEATABLE, 0, 8), 0);
    assert_int_equal(model->last.cdw12, 7);
    for (unsigned op = CHALK_BLOCK_READ; op <= CHALK_BLOCK_WRITE; op++) {
        assert_int_equal(run_data(op, CHALK_BLOCK_FUA, 0, 8), 0);
        assert_int_equal(model->last.cdw12, 7 | NVME_FORCE_UNIT);
        assert_int_equal(run_data(op, CHALK_BLOCK_FUA | CHALK_BLOCK_REPEATABLE, 0, 8), 0);
        assert_int_equal(model->last.cdw12, 7 | NVME_FORCE_UNIT);
    }
    assert_int_equal(run_data(CHALK_BLOCK_WRITE, 0x80, 0, 8), -ENOTSUP);
}

static void limits_are_those_of_each_operation(void **state)
{
    const struct chalk_block_info *info = &queue->info;
    uint64_t blocks = info->block_count;

    (void)state;
    assert_int_equal(info->max_discard, blocks);
    assert_int_equal(run_range(CHALK_BLOCK_DISCARD, 0, (uint32_t)blocks), 0);
    assert_int_equal(run_range(CHALK_BLOCK_DISCARD, 1, (uint32_t)blocks), -ERANGE);
    assert_int_equal(run_range(CHALK_BLOCK_DISCARD, 0, (uint32_t)blocks + 1), -EINVAL);
    assert_int_equal(run_range(CHALK_BLOCK_WRITE_ZEROES, blocks - 1, 2), -ERANGE);
    assert_int_equal(run_range(CHALK_BLOCK_WRITE_ZEROES, UINT64_MAX, 2), -ERANGE);
    assert_int_equal(run_range(CHALK_BLOCK_WRITE_ZEROES, 0, 0), -EINVAL);
    assert_int_equal(run_range(CHALK_BLOCK_VERIFY, 0, info->command_blocks), 0);
    assert_int_equal(run_range(CHALK_BLOCK_VERIFY, 0, (uint32_t)blocks + 1), -EINVAL);
    assert_int_equal(run_range(CHALK_BLOCK_COMPARE, 0, 1), -EINVAL); /* no segments */
}

/* Of a controller of NVMe 2.0: 2 pages in a verify, 4 in a write of zeroes, 100 blocks in a discard. */
static bool insist_on_limits(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                             uint16_t *status, uint64_t *result)
{
    const struct nvme_identify_limits limits = {.vsl = 1, .wzsl = 2, .dmrsl = 100, .dmsl = 200};
    uint8_t opcode = command->cdw0 & 0xff;
    uint32_t count = (command->cdw12 & 0xffff) + 1;
    struct nvme_range range;

    (void)result;
    if (id == 0 && opcode == NVME_IDENTIFY && command->cdw10 == CHALK_NVME_CNS_CSI_CONTROLLER) {
        *status = 0;
        return model_transfer(m, command, (void *)(uintptr_t)&limits, sizeof limits, true);
    }
    if (id != 0 && ((opcode == NVME_VERIFY && count > 16) || (opcode == NVME_WRITE_ZEROES && count > 32)))
        *status = 0x002;
    if (id != 0 && opcode == NVME_DATASET && model_transfer(m, command, &range, sizeof range, false) &&
        range.blocks > 100)
        *status = 0x183;
    return *status == 0x002 || *status == 0x183;
}

static int run_in_parts(enum chalk_block_op op, uint32_t count)
{
    struct chalk_block_request request = {.op = op, .lba = 3, .count = count, .done = done};
    struct chalk_block_request *requests = &request;
    unsigned before = finished;

    assert_int_equal(chalk_block_submit(queue, &requests, 1), 1);
    chalk_block_kick(queue);
    for (unsigned i = 0; i < 1000 && finished == before; i++)
        (void)chalk_block_poll(queue, 0);
    assert_int_equal(finished, before + 1);
    return last_status;
}

static void what_moves_no_data_has_limits_too(void **state)
{
    (void)state;
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    model->version = 0x020000;
    model->execute = insist_on_limits;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(4), 0);
    assert_int_equal(run_in_parts(CHALK_BLOCK_VERIFY, 700), 0);
    assert_int_equal(run_in_parts(CHALK_BLOCK_WRITE_ZEROES, 700), 0);
    assert_true(disk_is(3, 700, 0));
    assert_true(disk_is(703, 1, 0x5a));
    assert_int_equal(queue->info.max_discard, 100);
    assert_int_equal(run_range(CHALK_BLOCK_DISCARD, 1000, 100), 0);
    assert_int_equal(run_range(CHALK_BLOCK_DISCARD, 1000, 101), -EINVAL);
}

static void a_controller_has_only_what_it_says(void **state)
{
    static const struct {
        uint16_t command;
        enum chalk_block_op op;
    } cases[] = {
        {NVME_ONCS_COMPARE, CHALK_BLOCK_COMPARE},
        {NVME_ONCS_DATASET, CHALK_BLOCK_DISCARD},
        {NVME_ONCS_WRITE_ZEROES, CHALK_BLOCK_WRITE_ZEROES},
        {NVME_ONCS_VERIFY, CHALK_BLOCK_VERIFY},
    };

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        chalk_nvme_queue_close(queue);
        chalk_nvme_close(nvme);
        model->controller.oncs = 0xffff & ~cases[i].command;
        assert_int_equal(open_controller(), 0);
        assert_int_equal(open_queue(4), 0);
        for (unsigned j = 0; j < 4; j++) {
            unsigned has = queue->info.operations >> cases[j].op & 1;

            assert_int_equal(has, i != j);
            assert_true((run_data(cases[j].op, 0, 0, 1) == -ENOTSUP) == !has);
        }
    }
}

static void commands_go_as_they_are(void **state)
{
    struct chalk_dma segment = piece(4096, 64);
    struct chalk_nvme_request request = {
        .block = {.op = CHALK_BLOCK_DRIVER, .segments = &segment, .segment_count = 1},
        .command = {.opcode = MODEL_VENDOR,
                    .nsid = 2,
                    .cdw2 = 2,
                    .cdw3 = 3,
                    .cdw10 = 10,
                    .cdw11 = 11,
                    .cdw12 = 12,
                    .cdw13 = 13,
                    .cdw14 = 14,
                    .cdw15 = 0x80000000},
    };

    (void)state;
    assert_int_equal(run(&request.block), 0);
    assert_string_equal((char *)data.va + 4096, "vendor");
    assert_true(request.result == ((10 | 11ull << 32) ^ (uint64_t)0x80000000 << 32));
    assert_int_equal(request.status, 0);
    assert_int_equal(model->last.nsid, 2);
    assert_int_equal(model->last.cdw2, 2);
    assert_int_equal(model->last.cdw3, 3);
    assert_int_equal(model->last.cdw12, 12);
    assert_int_equal(model->last.cdw13, 13);
    assert_int_equal(model->last.cdw14, 14);
}

static void commands_say_where_their_metadata_is(void **state)
{
    struct chalk_dma segment = piece(4096, 512), metadata = piece(8192, 8);
    struct chalk_nvme_request request = {
        .block = {.op = CHALK_BLOCK_DRIVER, .segments = &segment, .segment_count = 1},
        .command = {.opcode = NVME_READ, .nsid = 1},
    };

    (void)state;
    assert_int_equal(run(&request.block), 0);
    assert_true(model->last.mptr == 0);
    request.block.metadata = &metadata;
    assert_int_equal(run(&request.block), 0);
    assert_true(model->last.mptr == metadata.iova);
    metadata = piece(8194, 8);
    assert_int_equal(run(&request.block), -EINVAL);
    assert_true(fake_console_has("wrong request (command): metadata is at"));
}

static void commands_tell_their_status(void **state)
{
    struct chalk_nvme_request request = {
        .block = {.op = CHALK_BLOCK_DRIVER},
        .command = {.opcode = NVME_FLUSH, .nsid = 1},
        .result = 99,
    };

    (void)state;
    model->refuse = 0x4281;
    assert_int_equal(run(&request.block), -EIO);
    assert_int_equal(request.status, 0x4281);
    assert_int_equal(request.result, 0);
    assert_string_equal(fake.console, ""); /* who gave it knows */
    model->refuse = 0;
    assert_int_equal(run(&request.block), 0);
    assert_int_equal(request.status, 0);
}

static void commands_have_data_of_any_size_that_a_transfer_may_have(void **state)
{
    size_t most = chalk_nvme_get_info(nvme)->max_transfer;
    struct chalk_dma segments[2];
    struct chalk_nvme_request request = {
        .block = {.op = CHALK_BLOCK_DRIVER, .segments = segments, .segment_count = 2},
        .command = {.opcode = NVME_WRITE, .nsid = 1, .cdw12 = (uint32_t)(most / 512 - 1)},
    };

    (void)state;
    segments[0] = piece(0, 4096);
    segments[1] = piece(8192, most - 4096);
    assert_int_equal(run(&request.block), 0);
    assert_memory_equal(model->disk, data.va, 4096);
    assert_memory_equal(model->disk + 4096, (char *)data.va + 8192, most - 4096);
    segments[1] = piece(8192, most);
    assert_int_equal(run(&request.block), -EINVAL);
    assert_true(fake_console_has("and a command moves at most"));
    segments[1] = piece(8192, SIZE_MAX - 4095);
    assert_int_equal(run(&request.block), -EINVAL);
}

/* Opens the queue anew, of a controller that takes `mdts` pages, as a power of two, and no pieces. */
static void reopen(unsigned depth, uint8_t mdts)
{
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    model->controller.mdts = mdts;
    model->controller.sgls = 0;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(depth), 0);
}

/* Submits as many copies of a request as the queue takes at once, and waits for their end. The model reports
 * where a list or a range is not as it should be. */
static void fill_queue(const struct chalk_block_request *request)
{
    static struct chalk_block_request copies[64];

    for (unsigned i = 0; i < queue->info.depth; i++) {
        struct chalk_block_request *copy = &copies[i];

        *copy = *request;
        copy->done = done;
        assert_int_equal(chalk_block_submit(queue, &copy, 1), 1);
    }
    finished = 0;
    chalk_block_kick(queue);
    while (finished < queue->info.depth)
        assert_true(chalk_block_poll(queue, 0) > 0);
    assert_int_equal(last_status, 0);
    assert_int_equal(model->faults, 0);
}

/* The longest lists, of transfers that begin in mid-page, whatever slot they are in. */
static void no_list_reaches_the_end_of_its_page(void **state)
{
    (void)state;
    for (uint8_t mdts = 1; mdts <= 7; mdts++) {
        size_t size = (size_t)4096 << mdts;
        struct chalk_dma segment = piece(512, size);
        const struct chalk_block_request request = {.op = CHALK_BLOCK_WRITE,
                                                    .count = (uint32_t)(size / 512),
                                                    .segments = &segment,
                                                    .segment_count = 1};

        reopen(64, mdts);
        fill_queue(&request);
    }
}

static void ranges_have_a_page_of_zeroes(void **state)
{
    const struct chalk_block_request discard = {.op = CHALK_BLOCK_DISCARD, .lba = 8, .count = 8};
    struct chalk_dma segment = piece(512, 64 << 10);
    const struct chalk_block_request write = {
        .op = CHALK_BLOCK_WRITE, .count = 128, .segments = &segment, .segment_count = 1};

    (void)state;
    reopen(64, 5);
    fill_queue(&discard);
    fill_queue(&write); /* now there are lists in its place */
    fill_queue(&discard);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ranges_are_emptied_and_no_more),
        TEST(verify_moves_nothing),
        TEST(compare_tells_a_difference),
        TEST(flags_reach_the_command),
        TEST(limits_are_those_of_each_operation),
        TEST(what_moves_no_data_has_limits_too),
        TEST(a_controller_has_only_what_it_says),
        TEST(commands_go_as_they_are),
        TEST(commands_say_where_their_metadata_is),
        TEST(commands_tell_their_status),
        TEST(commands_have_data_of_any_size_that_a_transfer_may_have),
        TEST(no_list_reaches_the_end_of_its_page),
        TEST(ranges_have_a_page_of_zeroes),
    };

    return cmocka_run_group_tests_name("nvme_request", tests, NULL, NULL);
}
