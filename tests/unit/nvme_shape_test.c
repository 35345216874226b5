/* SPDX-License-Identifier: BSD-2-Clause */
/* Namespaces that get another shape, or go, while a queue relies on them. */
#include "nvme_session.h"
#include <chalk/nvme_admin.h>

static struct chalk_block_queue *queue;
static unsigned reached; /* commands that change namespaces, at the controller */

static bool count_changes(struct nvme_model *self, unsigned id, const struct nvme_command *command,
                          uint16_t *status, uint64_t *result)
{
    uint8_t opcode = command->cdw0 & 0xff;

    (void)self;
    (void)result;
    if (id != 0 || opcode == NVME_IDENTIFY || opcode <= 0x05 || opcode == NVME_EVENT_REQUEST ||
        (opcode == NVME_SET_FEATURES && command->cdw10 != NVME_FEATURE_COMMAND_SETS))
        return false;
    reached++;
    *status = 0;
    return true;
}

static int open_queue(uint32_t nsid)
{
    return chalk_nvme_queue_open(
        nvme, &(struct chalk_nvme_queue_options){.nsid = nsid, .depth = 4, .timeout_ns = 6400 * CHALK_MS}, &queue);
}

static int setup(void **state)
{
    int error = session_setup(state);

    reached = 0;
    model->namespaces[2] = model->namespaces[0];
    model->execute = count_changes;
    return error;
}

static void expect_sent(const struct chalk_nvme_command *command, int error)
{
    unsigned before = reached;

    assert_int_equal(chalk_nvme_run(nvme, command, NULL, 0, NULL), error);
    assert_int_equal(reached - before, error == 0);
}

static int format(uint32_t nsid, unsigned erase)
{
    const struct chalk_nvme_command command =
        chalk_nvme_encode_format(nsid, &(struct chalk_nvme_format){.format = 1, .erase = erase});

    return chalk_nvme_run(nvme, &command, NULL, 0, NULL);
}

static void a_namespace_in_use_keeps_its_shape(void **state)
{
    const struct chalk_nvme_command sanitize = {.opcode = 0x84, .cdw10 = 2},
                                    capacity = {.opcode = 0x20, .cdw10 = 4},
                                    sets = {.opcode = NVME_SET_FEATURES, .cdw10 = NVME_FEATURE_COMMAND_SETS};
    uint16_t self = 7, others[] = {3, 9}, all[] = {3, 7};

    (void)state;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(1), 0);
    assert_int_equal(format(1, 0), -EBUSY);
    assert_int_equal(format(CHALK_NVME_ALL, 0), -EBUSY);
    expect_sent(&sanitize, -EBUSY);
    expect_sent(&capacity, -EBUSY);
    expect_sent(&sets, -EBUSY);
    assert_int_equal(chalk_nvme_delete_namespace(nvme, 1), -EBUSY);
    assert_int_equal(chalk_nvme_delete_namespace(nvme, CHALK_NVME_ALL), -EBUSY);
    assert_int_equal(chalk_nvme_attach_namespace(nvme, 1, false, &self, 1), -EBUSY);
    assert_int_equal(chalk_nvme_attach_namespace(nvme, 1, false, all, 2), -EBUSY);
    assert_int_equal(reached, 0);
    assert_true(fake_console_has("close the queue first"));

    /* What is about other namespaces, or about other controllers, is not in the way. */
    assert_int_equal(format(3, 1), 0);
    assert_int_equal(chalk_nvme_delete_namespace(nvme, 3), 0);
    assert_int_equal(chalk_nvme_attach_namespace(nvme, 3, false, &self, 1), 0);
    assert_int_equal(chalk_nvme_attach_namespace(nvme, 1, false, others, 2), 0);
    assert_int_equal(chalk_nvme_attach_namespace(nvme, 1, true, others, 2), 0);
    assert_int_equal(reached, 5);

    chalk_nvme_queue_close(queue);
    assert_int_equal(format(1, 0), 0);
    expect_sent(&sanitize, 0);
    assert_int_equal(chalk_nvme_delete_namespace(nvme, CHALK_NVME_ALL), 0);
    chalk_nvme_close(nvme);
}

/* Through shared memory, too. */
static void a_list_of_controllers_in_segments_is_looked_at(void **state)
{
    const struct chalk_nvme_command detach = chalk_nvme_encode_attach_namespace(1, false);
    struct chalk_dma list;

    (void)state;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(1), 0);
    assert_int_equal(chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &list), 0);
    memset(list.va, 0, CHALK_PAGE);
    memcpy(list.va, (const uint16_t[]){1, 7}, 4);
    assert_int_equal(chalk_nvme_run_segments(nvme, &detach, &list, 1, NULL), -EBUSY);
    memcpy(list.va, (const uint16_t[]){1, 8}, 4);
    assert_int_equal(chalk_nvme_run_segments(nvme, &detach, &list, 1, NULL), 0);
    memcpy(list.va, (const uint16_t[]){0xffff, 8}, 4);
    assert_int_equal(chalk_nvme_run_segments(nvme, &detach, &list, 1, NULL), -EBUSY);
    assert_int_equal(reached, 1);
    chalk_dma_put(memory, &list);
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
}

/* FNA: to format, or to erase, one is to do it to all. */
static void a_format_of_all_is_one_of_those_in_use(void **state)
{
    (void)state;
    model->controller.fna = NVME_FNA_ERASES_ALL;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(1), 0);
    assert_int_equal(format(3, 0), 0);
    assert_int_equal(format(3, 1), -EBUSY);
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    model->controller.fna = NVME_FNA_FORMATS_ALL;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(1), 0);
    assert_int_equal(format(3, 0), -EBUSY);
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, session_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_namespace_in_use_keeps_its_shape),
        TEST(a_list_of_controllers_in_segments_is_looked_at),
        TEST(a_format_of_all_is_one_of_those_in_use),
    };

    return cmocka_run_group_tests_name("nvme_shape", tests, NULL, NULL);
}
