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
        nvme, &(struct chalk_nvme_queue_options){.nsid = nsid, .depth = 4, .timeout_ns = 6400 * CHALK_MS},
        &queue);
}

static int setup(void **state)
{
    int error = session_setup(state);

    reached = 0;
    model->namespaces[2] = model->namespaces[0];
    memcpy(model->namespaces[0].nguid, "nguid...........", 16);
    memcpy(model->namespaces[0].eui64, "eui64...", 8);
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

/* ---- changes by others ----------------------------------------------------------------------------- */

static struct chalk_dma data;
static struct chalk_block_request request;
static int status;
static unsigned ended;

static void done(struct chalk_block_request *r, int result)
{
    (void)r;
    ended++;
    status = result;
}

static int submit(enum chalk_block_op op, uint32_t count)
{
    struct chalk_block_request *pointer = &request;

    request = (struct chalk_block_request){
        .op = (uint8_t)op, .count = count, .segments = &data, .segment_count = 1, .done = done};
    data.size = (size_t)count * queue->info.block_size;
    ended = 0;
    return chalk_block_submit(queue, &pointer, 1);
}

static int run(enum chalk_block_op op, uint32_t count)
{
    int taken = submit(op, count);

    if (taken != 1)
        return taken;
    chalk_block_kick(queue);
    while (ended == 0)
        (void)chalk_block_poll(queue, 0);
    return status;
}

static int setup_queue(void **state)
{
    int error = setup(state);

    if (error == 0)
        error = chalk_dma_get(memory, 1 << 20, CHALK_PAGE, &data);
    model->execute = NULL;
    model->controller.oaes = CHALK_NVME_WATCH_NAMESPACES;
    model->controller.sgls = NVME_SGLS_ANY;
    if (error == 0)
        error = open_controller();
    return error == 0 ? open_queue(1) : error;
}

static int teardown_queue(void **state)
{
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    data.size = 1 << 20;
    chalk_dma_put(memory, &data);
    return session_teardown(state);
}

/* What somebody else does to namespace 1. */
static void enlarge_blocks(struct nvme_identify_namespace *ns)
{
    ns->lbaf[0] = 12u << 16;
    ns->nsze /= 8;
}

static void cut(struct nvme_identify_namespace *ns)
{
    ns->nsze -= 8;
}

static void grow(struct nvme_identify_namespace *ns)
{
    ns->nsze += 8;
}

static void add_metadata(struct nvme_identify_namespace *ns)
{
    ns->lbaf[0] |= 8;
}

static void protect(struct nvme_identify_namespace *ns)
{
    ns->dps = 1;
}

static void detach(struct nvme_identify_namespace *ns)
{
    memset(ns, 0, sizeof *ns);
}

static void spoil(struct nvme_identify_namespace *ns)
{
    ns->lbaf[0] = 3u << 16;
}

/* It was deleted, and another one created with its number. */
static void replace(struct nvme_identify_namespace *ns)
{
    ns->nguid[15]++;
}

static void replace_by_eui64(struct nvme_identify_namespace *ns)
{
    ns->eui64[0]++;
}

static void lose_nguid(struct nvme_identify_namespace *ns)
{
    memset(ns->nguid, 0, sizeof ns->nguid);
}

static void (*const changes[])(struct nvme_identify_namespace *) = {
    replace, replace_by_eui64, lose_nguid, enlarge_blocks, cut, grow, add_metadata, protect, detach, spoil};
#define CHANGES (sizeof changes / sizeof *changes)

/* The queue is at its end, with nothing that the controller could still do, and in nobody's way. */
static void expect_end(void)
{
    assert_true(fake_console_has("queue 1 ends: "));
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
    assert_int_equal(submit(CHALK_BLOCK_READ, 1), -EIO);
    assert_int_equal(model->queues[1].entries, 0);
    assert_int_equal(format(1, 0), -ENOTSUP); /* says the model, and not the driver */
}

static void a_reset_that_finds_another_shape_ends_the_queue(void **state)
{
    const struct nvme_identify_namespace before = model->namespaces[0];
    unsigned commands;

    (void)state;
    for (unsigned i = 0; i < CHANGES; i++) {
        model->hold = true;
        assert_int_equal(submit(CHALK_BLOCK_READ, 1), 1); /* could be submitted again, and must not */
        chalk_block_kick(queue);
        changes[i](&model->namespaces[0]);
        assert_int_equal(chalk_nvme_reset(nvme), 0);
        model->hold = false;
        commands = model->commands;
        assert_int_equal(chalk_block_poll(queue, 0), 1);
        assert_int_equal(status, -EIO);
        assert_int_equal(model->commands, commands);
        expect_end();
        chalk_nvme_queue_close(queue);
        model->namespaces[0] = before;
        fake_console_clear();
        assert_int_equal(open_queue(1), 0);
        assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);
    }
    /* One that is as before goes on, and so does one that has identifiers only now. */
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);
    chalk_nvme_queue_close(queue);
    lose_nguid(&model->namespaces[0]);
    assert_int_equal(open_queue(1), 0);
    model->namespaces[0] = before;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);
}

/* Polls for as long as a few sweeps take, with a request in flight that the controller does not answer. */
static void poll_for_a_while(void)
{
    for (uint64_t end = fake.now + 1000 * CHALK_MS; fake.now < end && chalk_block_poll(queue, 0) >= 0;)
        fake.now += 10 * CHALK_MS;
}

static void an_event_that_finds_another_shape_ends_the_queue(void **state)
{
    const uint32_t told = 2 | CHALK_NVME_LOG_CHANGED << 16;
    const struct nvme_identify_namespace before = model->namespaces[0];

    (void)state;
    assert_int_equal(chalk_nvme_watch(nvme, CHALK_NVME_WATCH_NAMESPACES), 0);
    static struct chalk_nvme_event event;
    (void)chalk_nvme_next_event(nvme, &event);
    for (unsigned i = 0; i < CHANGES; i++) {
        model->hold = true;
        assert_int_equal(submit(CHALK_BLOCK_WRITE, 1), 1);
        chalk_block_kick(queue);
        assert_true(model_event(model, told, 0)); /* of another namespace: it goes on */
        poll_for_a_while();
        assert_int_equal(ended, 0);
        for (unsigned j = 0; j < 4; j++)
            (void)chalk_nvme_next_event(nvme, &event);

        changes[i](&model->namespaces[0]);
        assert_true(model_event(model, told, 0));
        poll_for_a_while();
        model->hold = false;
        assert_int_equal(ended, 1);
        assert_int_equal(status, -EIO);
        expect_end();
        chalk_nvme_queue_close(queue);
        model->namespaces[0] = before;
        fake_console_clear();
        assert_int_equal(open_queue(1), 0);
        assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);
        for (unsigned j = 0; j < 4; j++)
            (void)chalk_nvme_next_event(nvme, &event);
    }
    assert_int_equal(model->enables, 1);
}

/* Nothing is in flight: the next request would be the first to find out, in its buffer. */
static void an_idle_queue_learns_of_another_shape(void **state)
{
    const uint32_t told = 2 | CHALK_NVME_LOG_CHANGED << 16;
    int polled = 0;

    (void)state;
    assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);
    assert_true(model_event(model, told, 0)); /* of another namespace: it goes on */
    for (unsigned i = 0; i < 40; i++, fake.now += 100 * CHALK_MS)
        assert_int_equal(chalk_block_poll(queue, 0), 0);
    assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);

    enlarge_blocks(&model->namespaces[0]);
    assert_true(model_event(model, told, 0));
    for (unsigned i = 0; i < 40 && polled == 0; i++, fake.now += 50 * CHALK_MS)
        polled = chalk_block_poll(queue, 0);
    assert_int_equal(polled, -EIO);
    expect_end();
}

static unsigned refusals; /* of Identify (namespace), that are left */

static bool refuse_identify(struct nvme_model *self, unsigned id, const struct nvme_command *command,
                            uint16_t *answer, uint64_t *result)
{
    (void)self;
    (void)result;
    if (id != 0 || (command->cdw0 & 0xff) != NVME_IDENTIFY || command->cdw10 != CHALK_NVME_CNS_NAMESPACE ||
        refusals == 0)
        return false;
    refusals--;
    *answer = 0x006; /* internal error, which passes */
    return true;
}

/* The queue ends only if the refusal does not pass. */
static void a_refusal_to_identify_may_pass(void **state)
{
    const uint32_t told = 2 | CHALK_NVME_LOG_CHANGED << 16;

    (void)state;
    model->execute = refuse_identify;
    model->hold = true;
    assert_int_equal(submit(CHALK_BLOCK_WRITE, 1), 1);
    chalk_block_kick(queue);
    refusals = 3;
    assert_true(model_event(model, told, 0));
    poll_for_a_while();
    poll_for_a_while();
    assert_int_equal(refusals, 0);
    assert_int_equal(ended, 0);

    cut(&model->namespaces[0]);
    refusals = 3;
    assert_true(model_event(model, told, 0));
    poll_for_a_while();
    poll_for_a_while();
    assert_int_equal(ended, 1);
    expect_end();

    chalk_nvme_queue_close(queue);
    model->hold = false;
    model->namespaces[0] = model->namespaces[2];
    fake_console_clear();
    assert_int_equal(open_queue(1), 0);
    ended = 0;
    model->hold = true;
    assert_int_equal(submit(CHALK_BLOCK_WRITE, 1), 1);
    chalk_block_kick(queue);
    refusals = UINT32_MAX;
    assert_true(model_event(model, told, 0));
    poll_for_a_while();
    poll_for_a_while();
    model->hold = false;
    assert_int_equal(ended, 1);
    assert_true(fake_console_has("cannot be identified any more"));
    refusals = 0;
}

/* Though no program watches, the queue has the controller report it; also after a reset. */
static void a_queue_watches_by_itself(void **state)
{
    const uint32_t told = 2 | CHALK_NVME_LOG_CHANGED << 16;

    (void)state;
    assert_int_equal(model->events_wanted, CHALK_NVME_WATCH_NAMESPACES);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(model->events_wanted, CHALK_NVME_WATCH_NAMESPACES);
    assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);
    model->hold = true;
    assert_int_equal(submit(CHALK_BLOCK_WRITE, 1), 1);
    chalk_block_kick(queue);
    poll_for_a_while();
    for (unsigned i = 0; i < 3; i++) {
        assert_true(model_event(model, told, 0)); /* of others: it goes on, and asks again each time */
        poll_for_a_while();
        assert_int_equal(ended, 0);
    }
    cut(&model->namespaces[0]);
    assert_true(model_event(model, told, 0));
    poll_for_a_while();
    model->hold = false;
    assert_int_equal(ended, 1);
    expect_end();
}

/* A program that watches for something else is told of that alone. */
static void a_program_is_not_told_of_what_the_queue_watches(void **state)
{
    static struct chalk_nvme_event event;
    unsigned told = 0;

    (void)state;
    assert_int_equal(chalk_nvme_watch(nvme, CHALK_NVME_WARNS_TEMPERATURE), 0);
    assert_int_equal(model->events_wanted, CHALK_NVME_WATCH_NAMESPACES | CHALK_NVME_WARNS_TEMPERATURE);
    assert_true(model_event(model, 2 | CHALK_NVME_LOG_CHANGED << 16, 0));
    for (unsigned i = 0; i < 10; i++)
        told += chalk_nvme_next_event(nvme, &event) == 0;
    assert_int_equal(told, 0);
    cut(&model->namespaces[0]);
    model->hold = true;
    assert_int_equal(submit(CHALK_BLOCK_WRITE, 1), 1);
    chalk_block_kick(queue);
    poll_for_a_while();
    model->hold = false;
    expect_end();
}

/* ---- other firmware -------------------------------------------------------------------------------- */

static void a_reset_tells_what_is_true_now(void **state)
{
    (void)state;
    memcpy(model->controller.fr, "2.0     ", 8);
    model->controller.mdts = 3; /* 32 KiB */
    model->controller.sgls = 0;
    model->controller.oncs = NVME_ONCS_WRITE_ZEROES;
    assert_true((queue->info.operations >> CHALK_BLOCK_DISCARD & 1) != 0);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_string_equal(chalk_nvme_get_info(nvme)->firmware, "2.0");
    assert_int_equal(chalk_nvme_get_info(nvme)->max_transfer, 32 << 10);
    assert_true(fake_console_has("started firmware 2.0, after 1.0"));

    /* A request may still be as long as before; the model counts a command that is longer as a fault. */
    assert_int_equal(run(CHALK_BLOCK_READ, 256), 0);
    assert_int_equal(model->faults, 0);
    assert_int_equal(queue->info.command_blocks, 64);
    assert_int_equal(queue->info.boundary, 4096);
    assert_int_equal(run(CHALK_BLOCK_COMPARE, 1), -ENOTSUP);
    assert_int_equal(queue->info.max_discard, 0);
    assert_int_equal(run(CHALK_BLOCK_WRITE_ZEROES, 1), 0);

    /* What it can do more than before is left alone: lists and limits were made for less. */
    model->controller.mdts = 7;
    model->controller.oncs = UINT16_MAX;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(run(CHALK_BLOCK_READ, 256), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->max_transfer, 32 << 10);
    assert_int_equal(queue->info.command_blocks, 64);
    assert_int_equal(run(CHALK_BLOCK_COMPARE, 1), -ENOTSUP);
}

/* Parts of requests that were on their way, too. */
static void a_request_in_flight_is_cut_anew(void **state)
{
    (void)state;
    model->hold = true;
    assert_int_equal(submit(CHALK_BLOCK_READ, 1024), 1); /* in parts of 256 */
    chalk_block_kick(queue);
    model->controller.mdts = 3;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    model->hold = false;
    while (ended == 0)
        (void)chalk_block_poll(queue, 0);
    assert_int_equal(status, -EIO); /* its first parts do not fit any more */
    assert_int_equal(model->faults, 0);
    assert_int_equal(run(CHALK_BLOCK_READ, 1024), 0);
    assert_int_equal(model->faults, 0);
}

static void queues_that_it_grants_no_more_end(void **state)
{
    struct chalk_block_queue *first = queue;

    (void)state;
    assert_int_equal(open_queue(3), 0);
    model->granted = 0; /* one */
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
    assert_true(fake_console_has("queue 2 ends: it grants fewer queues now"));
    chalk_nvme_queue_close(queue);
    queue = first;
    assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);
    assert_int_equal(open_queue(3), -ENOSPC);
    queue = first;
}

static void queues_that_are_too_long_end(void **state)
{
    (void)state;
    model->cap = (model->cap & ~0xffffull) | 3;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
    assert_true(fake_console_has("queue 1 ends: its queues have fewer entries now"));
    chalk_nvme_queue_close(queue);
    assert_int_equal(open_queue(1), 0);
    assert_int_equal(queue->info.depth, 3);
    assert_int_equal(run(CHALK_BLOCK_READ, 1), 0);
}

static void another_device_is_not_used(void **state)
{
    (void)state;
    memcpy(model->controller.sn, "S2", 2);
    assert_int_equal(chalk_nvme_reset(nvme), -EPROTO);
    assert_true(fake_console_has("serial number S2, and had S1: another device"));
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
}

static void other_registers_are_not_used(void **state)
{
    (void)state;
    model->cap |= 1ull << 32;
    assert_int_equal(chalk_nvme_reset(nvme), -EPROTO);
    assert_true(fake_console_has("its registers are others after its reset"));
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, session_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_namespace_in_use_keeps_its_shape),
        TEST(a_list_of_controllers_in_segments_is_looked_at),
        TEST(a_format_of_all_is_one_of_those_in_use),
#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_queue, teardown_queue)
        TEST(a_reset_that_finds_another_shape_ends_the_queue),
        TEST(an_event_that_finds_another_shape_ends_the_queue),
        TEST(an_idle_queue_learns_of_another_shape),
        TEST(a_refusal_to_identify_may_pass),
        TEST(a_queue_watches_by_itself),
        TEST(a_program_is_not_told_of_what_the_queue_watches),
        TEST(a_reset_tells_what_is_true_now),
        TEST(a_request_in_flight_is_cut_anew),
        TEST(queues_that_it_grants_no_more_end),
        TEST(queues_that_are_too_long_end),
        TEST(another_device_is_not_used),
        TEST(other_registers_are_not_used),
    };

    return cmocka_run_group_tests_name("nvme_shape", tests, NULL, NULL);
}
