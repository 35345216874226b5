/* SPDX-License-Identifier: BSD-2-Clause */
/* Which queue is announced by which interrupt vector, and when its owner may wait for that. */
#include "nvme_session.h"

#define QUEUES 5

static struct chalk_block_queue *queues[QUEUES];
static struct chalk_dma data;

/* The device says that it has so many vectors. */
static int setup_vectors(void **state, unsigned vectors)
{
    int error = session_setup(state);

    memset(queues, 0, sizeof queues);
    model->device->config[0x42] = (uint8_t)(vectors - 1);
    if (error == 0)
        error = chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &data);
    return error == 0 ? open_controller() : error;
}

static int setup(void **state)
{
    return setup_vectors(state, FAKE_VECTORS);
}

static int setup_three(void **state)
{
    return setup_vectors(state, 3);
}

static int setup_one(void **state)
{
    return setup_vectors(state, 1);
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < QUEUES; i++)
        if (queues[i] != NULL)
            chalk_nvme_queue_close(queues[i]);
    for (unsigned i = 1; i < FAKE_VECTORS; i++)
        if (model->device->vectors[i].counter != NULL)
            return -1; /* nobody is there any more */
    chalk_nvme_close(nvme);
    chalk_dma_put(memory, &data);
    return session_teardown(state);
}

static int open_queue(unsigned i, unsigned core)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4, .core = core, .interrupts = true};

    return chalk_nvme_queue_open(nvme, &options, &queues[i]);
}

static void note(struct chalk_block_request *request, int status)
{
    (void)status;
    *(bool *)request->context = true;
}

/* Reads a block, and returns how often that has interrupted. */
static unsigned read_block(unsigned i)
{
    const struct chalk_dma block = {data.va, data.iova, 512};
    bool finished = false;
    struct chalk_block_request request = {
        .count = 1, .segments = &block, .segment_count = 1, .done = note, .context = &finished};
    struct chalk_block_request *list = &request;
    uint32_t before = *queues[i]->interrupts;

    assert_int_equal(chalk_block_submit(queues[i], &list, 1), 1);
    chalk_block_kick(queues[i]);
    assert_int_equal(chalk_block_poll(queues[i], 0), 1);
    assert_true(finished);
    chalk_core_wait(0, 0, 0);
    return *queues[i]->interrupts - before;
}

/* ---- sharing --------------------------------------------------------------------------------------- */

static void a_queue_has_a_vector_of_its_own(void **state)
{
    (void)state;
    for (unsigned i = 0; i < QUEUES; i++)
        assert_int_equal(open_queue(i, 0), 0);
    for (unsigned i = 0; i < QUEUES; i++) {
        assert_true(queues[i]->may_wait);
        assert_int_equal(read_block(i), 1);
        assert_int_equal(*queues[i]->interrupts, 1);
    }
    assert_false(fake_console_has("vector is left"));
}

static void queues_share_vectors_where_there_are_few(void **state)
{
    (void)state;
    for (unsigned i = 0; i < QUEUES; i++)
        assert_int_equal(open_queue(i, 0), 0);
    for (unsigned i = 0; i < QUEUES; i++) {
        assert_true(queues[i]->may_wait);
        assert_int_equal(read_block(i), 1);
    }
    assert_ptr_not_equal(queues[0]->interrupts, queues[1]->interrupts);
    assert_true(fake_console_has("no interrupt vector is left (it has 3)"));
    fake_console_clear();
    chalk_nvme_queue_close(queues[4]);
    assert_int_equal(open_queue(4, 0), 0);
    assert_false(fake_console_has("vector is left")); /* that was said */
}

static void a_vector_is_detached_with_its_last_queue(void **state)
{
    (void)state;
    for (unsigned i = 0; i < QUEUES; i++)
        assert_int_equal(open_queue(i, 0), 0);
    assert_ptr_equal(queues[4]->interrupts, queues[0]->interrupts);
    chalk_nvme_queue_close(queues[0]);
    queues[0] = NULL;
    assert_int_equal(read_block(4), 1);
    chalk_nvme_queue_close(queues[4]);
    queues[4] = NULL;
    assert_null(model->device->vectors[1].counter);
    assert_int_equal(open_queue(0, 1), 0); /* and is free for another core */
    assert_int_equal(model->device->vectors[1].core, 1);
}

static void a_queue_without_a_vector_for_its_core_is_polled(void **state)
{
    (void)state;
    assert_int_equal(open_queue(0, 0), 0);
    assert_int_equal(open_queue(1, 0), 0);
    assert_int_equal(open_queue(2, 1), 0);
    assert_false(queues[2]->may_wait);
    assert_null(queues[2]->interrupts);
    assert_true(fake_console_has("or are polled"));
}

static void the_only_vector_is_shared_with_the_admin_queue(void **state)
{
    (void)state;
    assert_int_equal(open_queue(0, 0), 0);
    assert_int_equal(read_block(0), 1);
    chalk_nvme_queue_close(queues[0]);
    queues[0] = NULL;
    assert_non_null(model->device->vectors[0].counter); /* it stays the admin queue's */
}

static void a_platform_may_have_fewer_vectors_than_the_device(void **state)
{
    (void)state;
    model->device->vector_count = 2;
    assert_int_equal(open_queue(0, 0), 0);
    assert_int_equal(open_queue(1, 0), 0);
    assert_int_equal(read_block(1), 1);
    assert_true(fake_console_has("no interrupt vector is left (it has 2)"));
}

static void asking_for_interrupts_needs_vectors(void **state)
{
    (void)state;
    chalk_nvme_close(nvme);
    model->device->vector_count = 0;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(0, 0), -ENOTSUP);
    assert_true(fake_console_has("no MSI-X"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_queue_has_a_vector_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(queues_share_vectors_where_there_are_few, setup_three, teardown),
        cmocka_unit_test_setup_teardown(a_vector_is_detached_with_its_last_queue, setup_three, teardown),
        cmocka_unit_test_setup_teardown(a_queue_without_a_vector_for_its_core_is_polled, setup_three,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_only_vector_is_shared_with_the_admin_queue, setup_one, teardown),
        cmocka_unit_test_setup_teardown(a_platform_may_have_fewer_vectors_than_the_device, setup, teardown),
        cmocka_unit_test_setup_teardown(asking_for_interrupts_needs_vectors, setup, teardown),
    };

    return cmocka_run_group_tests_name("nvme_vector", tests, NULL, NULL);
}
