/* SPDX-License-Identifier: BSD-2-Clause */
/* Which queue is announced by which interrupt vector, and when its owner may wait for that. */
#include "nvme_session.h"

#define QUEUES 5
#define MANY   200     /* more requests in a row than it takes to be busy */
#define LONG   1100000 /* ns: an adaptive queue's patience, and some */

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

static int open_with(unsigned i, unsigned core, enum chalk_nvme_interrupts interrupts)
{
    const struct chalk_nvme_queue_options options = {
        .nsid = 1, .depth = 4, .core = core, .interrupts = interrupts};

    return chalk_nvme_queue_open(nvme, &options, &queues[i]);
}

static int open_queue(unsigned i, unsigned core)
{
    return open_with(i, core, CHALK_NVME_INTERRUPTS);
}

static void note(struct chalk_block_request *request, int status)
{
    (void)status;
    *(bool *)request->context = true;
}

/* A read of one block, on its way. */
static void start_read(unsigned i, bool *finished)
{
    static struct chalk_block_request request;
    static struct chalk_dma block;
    struct chalk_block_request *list = &request;

    block = (struct chalk_dma){data.va, data.iova, 512};
    request = (struct chalk_block_request){
        .count = 1, .segments = &block, .segment_count = 1, .done = note, .context = finished};
    *finished = false;
    assert_int_equal(chalk_block_submit(queues[i], &list, 1), 1);
    chalk_block_kick(queues[i]);
}

/* Reads a block, and returns how often that has interrupted. */
static unsigned read_block(unsigned i)
{
    uint32_t before = *queues[i]->interrupts;
    bool finished;

    start_read(i, &finished);
    assert_int_equal(chalk_block_poll(queues[i], 0), 1);
    assert_true(finished);
    chalk_core_wait(0, 0, 0);
    return *queues[i]->interrupts - before;
}

static unsigned read_many(unsigned i)
{
    unsigned interrupts = 0;

    for (unsigned n = 0; n < MANY; n++)
        interrupts += read_block(i);
    return interrupts;
}

/* Polls, as an owner with nothing to do, for `ns`. */
static void idle(unsigned i, uint64_t ns)
{
    assert_int_equal(chalk_block_poll(queues[i], 0), 0);
    fake.now += ns;
    assert_int_equal(chalk_block_poll(queues[i], 0), 0);
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

/* ---- adapting -------------------------------------------------------------------------------------- */

static bool masked(unsigned vector)
{
    return (model->masks[vector] & 1) != 0;
}

static bool detached(unsigned vector)
{
    return model->device->vectors[vector].counter == NULL;
}

static void an_adaptive_queue_is_quiet_under_load(void **state)
{
    (void)state;
    assert_int_equal(open_with(0, 0, CHALK_NVME_ADAPTIVE), 0);
    assert_true(queues[0]->may_wait);
    assert_in_range(read_many(0), 1, MANY / 2);
    assert_false(queues[0]->may_wait);
    assert_true(masked(1));
    assert_int_equal(read_many(0), 0);
}

static void an_adaptive_queue_listens_when_it_is_idle(void **state)
{
    (void)state;
    assert_int_equal(open_with(0, 0, CHALK_NVME_ADAPTIVE), 0);
    read_many(0);
    idle(0, LONG / 10);
    assert_false(queues[0]->may_wait);
    idle(0, LONG);
    assert_true(queues[0]->may_wait);
    assert_false(masked(1));
    chalk_core_wait(0, 0, 0); /* the one that was masked */
    assert_int_equal(read_block(0), 1);
}

static void requests_that_come_seldom_interrupt(void **state)
{
    (void)state;
    assert_int_equal(open_with(0, 0, CHALK_NVME_ADAPTIVE), 0);
    for (unsigned n = 0; n < MANY; n++) {
        fake.now += LONG;
        assert_int_equal(read_block(0), 1);
        assert_true(queues[0]->may_wait);
    }
}

/* The device completes a command when a poll has found nothing, and looks at the time. */
static void complete_one(void *argument)
{
    (void)argument;
    if (model_run(model, 1, 1) == 1)
        fake.idle = NULL;
}

static void finds_what_came_before_it_listens(void)
{
    bool finished;

    assert_int_equal(open_with(0, 0, CHALK_NVME_ADAPTIVE), 0);
    read_many(0);
    assert_int_equal(chalk_block_poll(queues[0], 0), 0);
    model->hold = true;
    start_read(0, &finished);
    fake.now += 16 * LONG;
    fake.idle = complete_one;
    assert_int_equal(chalk_block_poll(queues[0], 0), 1);
    assert_true(finished);
    assert_true(queues[0]->may_wait);
}

static void what_came_before_it_listens_is_found(void **state)
{
    (void)state;
    finds_what_came_before_it_listens();
}

static void what_came_while_it_was_detached_is_found(void **state)
{
    (void)state;
    model->table_hidden = true;
    finds_what_came_before_it_listens();
}

static void a_vector_that_cannot_be_masked_is_detached(void **state)
{
    (void)state;
    model->table_hidden = true;
    assert_int_equal(open_with(0, 0, CHALK_NVME_ADAPTIVE), 0);
    read_many(0);
    assert_true(detached(1));
    assert_int_equal(read_many(0), 0);
    idle(0, LONG);
    assert_true(detached(1)); /* which is not undone as soon as a mask */
    idle(0, 16 * LONG);
    assert_false(detached(1));
    assert_int_equal(read_block(0), 1);
}

static void a_vector_that_cannot_be_attached_again_is_polled_for(void **state)
{
    (void)state;
    model->table_hidden = true;
    assert_int_equal(open_with(0, 0, CHALK_NVME_ADAPTIVE), 0);
    read_many(0);
    fake_fail("chalk_vector_attach", 0, -ENOMEM);
    idle(0, 16 * LONG);
    assert_true(fake_console_has("queue 1: its interrupts cannot be turned on again"));
    idle(0, 16 * LONG);
    assert_false(queues[0]->may_wait);
    assert_int_equal(read_block(0), 0);
}

static void a_shared_vector_is_quiet_when_all_are(void **state)
{
    (void)state;
    for (unsigned i = 0; i < QUEUES; i++)
        assert_int_equal(open_with(i, 0, CHALK_NVME_ADAPTIVE), 0);
    assert_ptr_equal(queues[4]->interrupts, queues[0]->interrupts);
    read_many(0);
    assert_false(queues[0]->may_wait);
    assert_false(masked(1));
    read_many(4);
    assert_true(masked(1));
    idle(0, LONG);
    assert_true(queues[0]->may_wait);
    assert_false(queues[4]->may_wait);
    assert_false(masked(1));
}

static void a_vector_of_another_queue_stays_on(void **state)
{
    (void)state;
    for (unsigned i = 0; i < QUEUES; i++)
        assert_int_equal(open_with(i, 0, i == 4 ? CHALK_NVME_ADAPTIVE : CHALK_NVME_INTERRUPTS), 0);
    read_many(4);
    assert_false(queues[4]->may_wait);
    assert_int_equal(read_block(0), 1);
}

static void a_reset_does_not_make_it_loud(void **state)
{
    (void)state;
    assert_int_equal(open_with(0, 0, CHALK_NVME_ADAPTIVE), 0);
    read_many(0);
    assert_true(masked(1));
    memset(model->masks, 0, sizeof model->masks); /* as a reset of the function does */
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_block_poll(queues[0], 0), 0);
    assert_true(masked(1));
    assert_int_equal(read_many(0), 0);
}

/* ---- coalescing ------------------------------------------------------------------------------------ */

static uint32_t coalescing, vector_settings[3]; /* as the controller was told */

static bool take_settings(struct nvme_model *of, unsigned id, const struct nvme_command *command,
                          uint16_t *status, uint64_t *result)
{
    (void)of;
    if (id != 0 || (command->cdw0 & 0xff) != NVME_SET_FEATURES || command->cdw10 < 8 || command->cdw10 > 9)
        return false;
    if (command->cdw10 == 8)
        coalescing = command->cdw11;
    else
        vector_settings[(command->cdw11 & 0xffff) % 3] = command->cdw11;
    *status = 0;
    *result = 0;
    return true;
}

static void forget_settings(void)
{
    coalescing = UINT32_MAX;
    memset(vector_settings, 0xff, sizeof vector_settings);
}

/* Two queues, the second one prompt. */
static void open_coalescing(void)
{
    const struct chalk_nvme_options options = {
        .memory = memory, .domain = domain, .coalesce = 16, .coalesce_us = 250, .name = MODEL_NAME};
    struct chalk_nvme_queue_options queue = {.nsid = 1, .depth = 4, .interrupts = CHALK_NVME_INTERRUPTS};

    chalk_nvme_close(nvme);
    forget_settings();
    assert_int_equal(chalk_nvme_open(device, &options, &nvme), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &queue, &queues[0]), 0);
    queue.prompt = true;
    assert_int_equal(chalk_nvme_queue_open(nvme, &queue, &queues[1]), 0);
}

static void interrupts_are_coalesced_but_for_prompt_queues(void **state)
{
    (void)state;
    model->execute = take_settings;
    open_coalescing();
    assert_true(chalk_nvme_get_info(nvme)->coalesces);
    assert_int_equal(coalescing, 3 << 8 | 15); /* [Base 5.27.1.6]: 300 us, one less */
    assert_int_equal(vector_settings[1], 1);
    assert_int_equal(vector_settings[2], 1 << 16 | 2);
}

/* Beyond its range it would run into the time's field. */
static void coalescing_has_its_range(void **state)
{
    static const struct {
        unsigned completions, us;
    } wrong[] = {{1, 100}, {257, 100}, {16, 25600}};

    (void)state;
    chalk_nvme_close(nvme);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const struct chalk_nvme_options options = {
            .memory = memory, .domain = domain, .coalesce = wrong[i].completions, .coalesce_us = wrong[i].us};

        assert_true(fake_exits((void)chalk_nvme_open(device, &options, &nvme)));
    }
    assert_int_equal(open_controller(), 0);
}

static void a_reset_does_not_end_coalescing(void **state)
{
    (void)state;
    model->execute = take_settings;
    open_coalescing();
    forget_settings();
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_block_poll(queues[1], 0), 0);
    assert_int_equal(coalescing, 3 << 8 | 15);
    assert_int_equal(vector_settings[2], 1 << 16 | 2);
}

static void a_controller_need_not_coalesce(void **state)
{
    (void)state;
    open_coalescing();
    assert_false(chalk_nvme_get_info(nvme)->coalesces);
    assert_true(fake_console_has("its interrupts are not coalesced"));
    assert_false(fake_console_has("Set Features (interrupt vector)"));
    assert_int_equal(read_block(1), 1);
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
        cmocka_unit_test_setup_teardown(an_adaptive_queue_is_quiet_under_load, setup, teardown),
        cmocka_unit_test_setup_teardown(an_adaptive_queue_listens_when_it_is_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_that_come_seldom_interrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(what_came_before_it_listens_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(what_came_while_it_was_detached_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_vector_that_cannot_be_masked_is_detached, setup, teardown),
        cmocka_unit_test_setup_teardown(a_vector_that_cannot_be_attached_again_is_polled_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_shared_vector_is_quiet_when_all_are, setup_three, teardown),
        cmocka_unit_test_setup_teardown(a_vector_of_another_queue_stays_on, setup_three, teardown),
        cmocka_unit_test_setup_teardown(a_reset_does_not_make_it_loud, setup, teardown),
        cmocka_unit_test_setup_teardown(interrupts_are_coalesced_but_for_prompt_queues, setup, teardown),
        cmocka_unit_test_setup_teardown(coalescing_has_its_range, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_does_not_end_coalescing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_controller_need_not_coalesce, setup, teardown),
    };

    return cmocka_run_group_tests_name("nvme_vector", tests, NULL, NULL);
}
