/* SPDX-License-Identifier: BSD-2-Clause */
/* The NVMe driver, used as it must not be: each mistake is refused, or ends the program, with a message that
 * names it. */
#include "nvme_session.h"
#include <chalk/nvme_admin.h>

static struct chalk_block_queue *queue;

static void a_core_that_is_not_there_is_refused(void **state)
{
    const struct chalk_nvme_options options = {.memory = memory, .domain = domain, .core = 77};
    struct chalk_nvme_queue_options queue_options = {.nsid = 1, .core = 77};

    (void)state;
    assert_int_equal(chalk_nvme_open(device, &options, &nvme), -EINVAL);
    assert_true(fake_console_has("chalk_nvme_open(): there is no core 77; there are 2, numbered from 0"));
    assert_int_equal(open_controller(), 0);
    for (unsigned interrupts = CHALK_NVME_POLLED; interrupts <= CHALK_NVME_ADAPTIVE; interrupts++) {
        fake_console_clear();
        queue_options.interrupts = interrupts;
        assert_int_equal(chalk_nvme_queue_open(nvme, &queue_options, &queue), -EINVAL);
        assert_true(fake_console_has("chalk_nvme_queue_open(): there is no core 77"));
    }
    assert_int_equal(chalk_nvme_reset(nvme), 0); /* wakes the owners of all queues */
    chalk_nvme_close(nvme);
}

static void values_that_an_enum_does_not_have_are_refused(void **state)
{
    struct chalk_nvme_queue_options options = {.nsid = 1, .interrupts = (enum chalk_nvme_interrupts)9};

    (void)state;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), -EINVAL);
    assert_true(fake_console_has("wrong call of chalk_nvme_queue_open(): interrupts is no value"));
    options = (struct chalk_nvme_queue_options){.nsid = 1, .protection = (enum chalk_nvme_protection)3};
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), -EINVAL);
    assert_true(fake_console_has("wrong call of chalk_nvme_queue_open(): protection is no value"));
    chalk_nvme_close(nvme);
}

static void commands_of_the_driver_are_refused(void **state)
{
    static const uint8_t opcodes[] = {NVME_DELETE_SQ, NVME_CREATE_SQ,     NVME_DELETE_CQ,
                                      NVME_CREATE_CQ, NVME_EVENT_REQUEST, NVME_DOORBELL_BUFFER};
    struct chalk_nvme_answer answer;

    (void)state;
    assert_int_equal(open_controller(), 0);
    for (unsigned i = 0; i < sizeof opcodes; i++) {
        const struct chalk_nvme_command command = {.opcode = opcodes[i], .cdw10 = 1};

        fake_console_clear();
        assert_int_equal(chalk_nvme_run(nvme, &command, NULL, 0, &answer), -EINVAL);
        assert_true(fake_console_has("wrong call of chalk_nvme_run(): the opcode "));
        assert_int_equal(chalk_nvme_run_segments(nvme, &command, NULL, 0, &answer), -EINVAL);
        assert_true(fake_console_has("wrong call of chalk_nvme_run_segments(): the opcode "));
    }
    chalk_nvme_close(nvme);
}

static void never(struct chalk_block_request *request, int status)
{
    fail_msg("request %p is called back with %d", (void *)request, status);
}

static void data_that_is_nowhere_is_refused(void **state)
{
    const struct chalk_nvme_command command = {.opcode = NVME_IDENTIFY, .cdw10 = 1};
    struct chalk_nvme_request request = {
        .block = {.op = CHALK_BLOCK_DRIVER, .segment_count = 1, .done = never},
        .command = {.opcode = NVME_READ, .nsid = 1},
    };
    struct chalk_block_request write = {
        .op = CHALK_BLOCK_WRITE, .count = 2, .segment_count = 2, .done = never};
    struct chalk_block_request *requests[] = {&request.block, &write};

    (void)state;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_run(nvme, &command, NULL, 4096, NULL), -EINVAL);
    assert_true(fake_console_has("wrong call of chalk_nvme_run(): there is a size, and the pointer"));
    assert_int_equal(chalk_nvme_run_segments(nvme, &command, NULL, 1, NULL), -EINVAL);
    assert_true(fake_console_has("wrong call of chalk_nvme_run_segments(): there is a size"));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(
            chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 2}, &queue),
            0);
        fake_console_clear();
        assert_int_equal(chalk_block_submit(queue, &requests[i], 1), -EINVAL);
        assert_true(fake_console_has(": segments is NULL, and segment_count is "));
        chalk_nvme_queue_close(queue);
    }
    chalk_nvme_close(nvme);
}

static void a_device_has_one_controller(void **state)
{
    const struct chalk_nvme_options options = {.memory = memory, .domain = domain, .name = MODEL_NAME};
    const struct chalk_nvme_queue_options queue_options = {.nsid = 1};
    struct chalk_nvme *second;

    (void)state;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_open(device, &options, &second), -EBUSY);
    assert_true(fake_console_has(MODEL_NAME ": its controller is open already; close that first"));
    assert_int_equal(chalk_nvme_queue_open(nvme, &queue_options, &queue), 0);
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    assert_int_equal(open_controller(), 0);
    chalk_nvme_close(nvme);
}

static void queues_are_closed_before_their_controller(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1};

    (void)state;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), 0);
    assert_true(fake_exits(chalk_nvme_close(nvme)));
    assert_int_equal(fake.exit_status, 134);
    assert_true(fake_console_has(MODEL_NAME ": closed while 1 of its queues are open; close these first"));
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    assert_true(fake_exits(chalk_nvme_close(nvme)));
    assert_true(fake_console_has("chalk_nvme_close(): this controller is not open: it was closed already"));
}

static void a_request_has_a_callback(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1};
    struct chalk_block_request request = {.op = CHALK_BLOCK_FLUSH}, *requests[] = {&request};

    (void)state;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), 0);
    assert_true(fake_exits((void)chalk_block_submit(queue, requests, 1)));
    assert_true(fake_console_has("request 1 of 1, a flush at block 0, has no callback: `done` is NULL"));
    assert_int_equal(model->commands, 0);
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, session_setup, session_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_core_that_is_not_there_is_refused),
        TEST(values_that_an_enum_does_not_have_are_refused),
        TEST(commands_of_the_driver_are_refused),
        TEST(data_that_is_nowhere_is_refused),
        TEST(a_device_has_one_controller),
        TEST(queues_are_closed_before_their_controller),
        TEST(a_request_has_a_callback),
    };

    return cmocka_run_group_tests_name("nvme_misuse", tests, NULL, NULL);
}
