/* SPDX-License-Identifier: BSD-2-Clause */
/* The NVMe driver, used as it must not be: each mistake is refused, or ends the program, with a message that
 * names it. */
#include "nvme_session.h"

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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, session_setup, session_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_core_that_is_not_there_is_refused),
    };

    return cmocka_run_group_tests_name("nvme_misuse", tests, NULL, NULL);
}
