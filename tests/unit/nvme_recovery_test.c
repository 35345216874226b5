/* SPDX-License-Identifier: BSD-2-Clause */
/* The table at the top of drivers/nvme/recovery.c, line by line: a controller that is late, lies or goes. */
#include "drivers/nvme/nvme.h"
#include "nvme_session.h"
#include <chalk/random.h>
#include <limits.h>
#include <pthread.h>

#define MS       ((uint64_t)1000000)
#define REQUESTS 256
#define DEPTH    128

struct item {
    struct chalk_block_request request;
    struct chalk_dma segment;
    unsigned finished;
    int status;
    bool dma_possible; /* at the time of the callback the controller still knew the pair */
};

static struct item items[REQUESTS];
static struct chalk_dma data; /* a page for each */
static struct chalk_block_queue *queue;
static unsigned finished;

static void done(struct chalk_block_request *request, int status)
{
    struct item *item = (struct item *)request;

    item->finished++;
    item->status = status;
    item->dma_possible = (model->csts & NVME_CSTS_RDY) != 0 && model->queues[1].entries != 0;
    finished++;
}

static int open_queue(unsigned depth)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = depth};

    return chalk_nvme_queue_open(nvme, &options, &queue);
}

static int setup(void **state)
{
    int error = session_setup(state);

    memset(items, 0, sizeof items);
    finished = 0;
    if (error == 0)
        error = chalk_dma_get(memory, REQUESTS * CHALK_PAGE, CHALK_PAGE, &data);
    if (error == 0)
        error = open_controller();
    if (error == 0)
        error = open_queue(DEPTH);
    fake.step = MS;
    return error;
}

static int teardown(void **state)
{
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    chalk_dma_put(memory, &data);
    return session_teardown(state);
}

static struct chalk_block_request *prepare(unsigned i, enum chalk_block_op op, uint64_t lba)
{
    struct item *item = &items[i];

    memset(item, 0, sizeof *item);
    item->segment = (struct chalk_dma){(char *)data.va + i * CHALK_PAGE, data.iova + i * CHALK_PAGE, 512};
    item->request = (struct chalk_block_request){
        .op = (uint8_t)op,
        .lba = lba,
        .count = op == CHALK_BLOCK_FLUSH ? 0 : 1,
        .segments = &item->segment,
        .segment_count = op == CHALK_BLOCK_FLUSH ? 0 : 1,
        .done = done,
    };
    return &item->request;
}

static int submit(struct chalk_block_request *request)
{
    int taken = chalk_block_submit(queue, &request, 1);

    chalk_block_kick(queue);
    return taken;
}

static void repeatable(unsigned i, uint64_t lba)
{
    struct chalk_block_request *request = prepare(i, CHALK_BLOCK_WRITE, lba);

    request->flags = CHALK_BLOCK_REPEATABLE;
    assert_int_equal(submit(request), 1);
}

/* Polls until `count` requests have been called back. */
static void poll_until(unsigned count)
{
    for (uint64_t begin = fake.now; finished < count;) {
        assert_true(chalk_block_poll(queue, 0) >= 0);
        assert_true(fake.now < begin + 200000 * MS);
    }
}

/* ---- late ------------------------------------------------------------------------------------------ */

static void what_is_late_is_aborted(void **state)
{
    (void)state;
    model->aborts = true;
    model->lose = 1;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_WRITE, 0)), 1);
    poll_until(1);
    assert_int_equal(items[0].status, -ETIMEDOUT);
    assert_int_equal(model->asked_to_abort, 1);
    assert_true(fake_console_has("aborting it"));
    assert_false(fake_console_has("deleting its queue"));
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    poll_until(2);
    assert_int_equal(items[0].status, 0);
}

static void many_are_aborted_one_after_the_other(void **state)
{
    (void)state;
    model->aborts = true;
    model->lose = 8;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(submit(prepare(i, CHALK_BLOCK_READ, i)), 1);
    poll_until(8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(items[i].status, -ETIMEDOUT);
    assert_int_equal(model->asked_to_abort, 8);
    assert_false(fake_console_has("deleting its queue"));
}

static void what_is_not_aborted_takes_its_queue_along(void **state)
{
    (void)state;
    model->lose = 1;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    for (uint64_t begin = fake.now; fake.now < begin + 20000 * MS;)
        assert_int_equal(chalk_block_poll(queue, 0), 0);
    model->hold = true;
    assert_int_equal(submit(prepare(1, CHALK_BLOCK_READ, 1)), 1);
    repeatable(2, 2);
    assert_int_equal(submit(prepare(3, CHALK_BLOCK_WRITE, 3)), 1);
    assert_int_equal(submit(prepare(4, CHALK_BLOCK_FLUSH, 0)), 1);
    repeatable(5, 5);
    repeatable(6, 5); /* overlap: neither is repeated */
    poll_until(4);
    assert_int_equal(items[0].status, -ETIMEDOUT);
    assert_int_equal(items[3].status, -EIO);
    assert_int_equal(items[5].status, -EIO);
    assert_int_equal(items[6].status, -EIO);
    for (unsigned i = 0; i < 7; i++)
        assert_false(items[i].finished != 0 && items[i].dma_possible);
    assert_true(fake_console_has("deleting its queue"));
    assert_int_equal(model->enables, 1);
    model_run(model, 1, 0);
    poll_until(7);
    assert_int_equal(items[1].status, 0);
    assert_int_equal(items[2].status, 0);
    assert_int_equal(items[4].status, 0);
}

static bool lie_while_deleted(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                              uint16_t *status, uint64_t *result)
{
    (void)status;
    (void)result;
    if (id == 0 && (command->cdw0 & 0xff) == NVME_DELETE_SQ)
        model_post(m, 1, (struct nvme_completion){.origin = 1 << 16 | 1, .outcome = 77});
    return false;
}

static void a_lie_of_the_last_moment_is_one(void **state)
{
    (void)state;
    model->lose = 1;
    model->execute = lie_while_deleted;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_WRITE, 0)), 1);
    poll_until(1);
    assert_int_equal(items[0].status, -ETIMEDOUT);
    assert_true(fake_console_has("completed command 0x004d"));
    assert_int_equal(nvme_state(nvme), NVME_STOPPED);
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
}

static void a_queue_that_cannot_be_deleted_takes_the_controller_along(void **state)
{
    (void)state;
    model->lose = 1;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    model->mute_until_reset = true;
    poll_until(1);
    assert_int_equal(items[0].status, -ETIMEDOUT);
    assert_int_equal(model->enables, 2);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    poll_until(2);
    assert_int_equal(items[0].status, 0);
}

static void a_controller_that_never_gets_better_is_stopped(void **state)
{
    unsigned laps = 0;
    int error;

    (void)state;
    model->lose = UINT_MAX;
    model->refuse_admin = 0x006;
    model->refuse_opcode = NVME_DELETE_SQ;
    do {
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
        finished = 0;
        while (finished == 0 && (error = chalk_block_poll(queue, 0)) >= 0)
            ;
        assert_int_equal(items[0].finished, 1);
        assert_int_equal(items[0].status, -ETIMEDOUT);
        assert_true(++laps < 10);
    } while (nvme_state(nvme) == NVME_LIVE);
    assert_int_equal(laps, NVME_STRIKES + 1);
    assert_true(fake_console_has("reset 3 times, without completing a request; stopped"));
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), -EIO);
    assert_int_equal(model->device->config[4] & 4, 0);
}

static void progress_forgives(void **state)
{
    (void)state;
    model->refuse_admin = 0x006;
    model->refuse_opcode = NVME_DELETE_SQ;
    for (unsigned lap = 0; lap < 3 * NVME_STRIKES; lap++) {
        model->lose = 1;
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
        assert_int_equal(submit(prepare(1, CHALK_BLOCK_READ, 0)), 1);
        finished = 0;
        poll_until(2);
        assert_int_equal(items[0].status, -ETIMEDOUT);
        assert_int_equal(items[1].status, 0);
    }
    assert_int_equal(model->enables, 1 + 3 * NVME_STRIKES);
    model->refuse_admin = 0;
}

/* ---- reset ----------------------------------------------------------------------------------------- */

static void a_reset_that_works_is_not_noticed(void **state)
{
    (void)state;
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    repeatable(1, 1);
    assert_int_equal(submit(prepare(2, CHALK_BLOCK_WRITE, 2)), 1);
    model_run(model, 1, 1);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(submit(prepare(3, CHALK_BLOCK_READ, 3)), 1); /* by one who has not noticed */
    assert_int_equal(chalk_block_poll(queue, 1), 1);
    assert_int_equal(items[0].status, 0); /* found in the old ring */
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(items[2].status, -EIO);
    assert_false(items[2].dma_possible);
    model_run(model, 1, 0);
    assert_int_equal(chalk_block_poll(queue, 0), 2);
    assert_int_equal(items[1].status, 0);
    assert_int_equal(items[3].status, 0);
}

/* A command of the caller's own, on any block of `nsid`. */
static void submit_raw(unsigned i, struct chalk_nvme_request *raw, uint32_t nsid)
{
    *raw = (struct chalk_nvme_request){
        .block = {.op = CHALK_BLOCK_DRIVER, .done = done},
        .command = {.opcode = NVME_FLUSH, .nsid = nsid},
    };
    raw->block.lba = 1000 + i;
    assert_int_equal(submit(&raw->block), 1);
}

static void a_write_beside_a_raw_command_is_not_repeated(void **state)
{
    static const struct {
        uint32_t nsid;
        int status;
    } cases[] = {{1, -EIO}, {CHALK_NVME_ALL, -EIO}, {2, 0}};
    union { /* `done` takes the raw request for an item */
        struct chalk_nvme_request request;
        struct item item;
    } raw;

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&raw, 0, sizeof raw);
        model->hold = true;
        repeatable(0, 5);
        submit_raw(0, &raw.request, cases[i].nsid);
        assert_int_equal(chalk_nvme_reset(nvme), 0);
        finished = 0;
        model->hold = false;
        poll_until(2);
        assert_int_equal(items[0].status, cases[i].status);
    }
}

static bool refuse_first_queue(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                               uint16_t *status, uint64_t *result)
{
    (void)m;
    (void)result;
    if (id != 0 || (command->cdw0 & 0xff) != NVME_CREATE_CQ || (command->cdw10 & 0xffff) != 1)
        return false;
    *status = 0x101;
    return true;
}

/* What is under way in a queue that is not made anew ends, however well another queue gets on. */
static void progress_of_another_queue_is_none(void **state)
{
    struct chalk_block_queue *first = queue;
    unsigned laps = 0;

    (void)state;
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(open_queue(4), 0);
    model->execute = refuse_first_queue;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    while (items[0].finished == 0 && nvme_state(nvme) == NVME_LIVE) {
        assert_true(++laps < 50);
        for (unsigned i = 1; i <= 2; i++) { /* the second is there when it is looked whether all is well */
            model->hold = i == 2;
            assert_int_equal(submit(prepare(i, CHALK_BLOCK_READ, 0)), 1);
            for (uint64_t begin = fake.now; items[i].finished == 0 && fake.now < begin + 1000 * MS;)
                assert_true(chalk_block_poll(queue, 0) >= 0);
        }
        assert_int_equal(nvme->strikes, 0);
        model_run(model, 2, 0);
        assert_true(chalk_block_poll(queue, 0) >= 0);
        (void)chalk_block_poll(first, 0);
    }
    (void)chalk_block_poll(first, 0);
    assert_int_equal(items[0].finished, 1);
    assert_int_equal(items[0].status, -EIO);
    assert_true(fake_console_has("queue 1: not recreated after 3 resets"));
    chalk_nvme_queue_close(queue);
    queue = first;
    model->execute = NULL;
}

/* Doorbells are mapped once, for as many queues as were granted then. */
static void a_reset_grants_no_more_queues(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4};
    struct chalk_block_queue *other;

    (void)state;
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    model->granted = 0;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(4), 0);
    model->granted = UINT32_MAX;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_nvme_get_info(nvme)->queues, 1);
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &other), -ENOSPC);
}

static void what_is_repeated_has_its_limit(void **state)
{
    unsigned resets = 0;

    (void)state;
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    while (finished == 0) {
        assert_int_equal(chalk_nvme_reset(nvme), 0);
        (void)chalk_block_poll(queue, 0);
        assert_true(++resets < 10);
    }
    assert_int_equal(resets, NVME_TRIES + 1);
    assert_int_equal(items[0].status, -EIO);
}

static void all_queues_follow(void **state)
{
    struct chalk_block_queue *first = queue;

    (void)state;
    assert_int_equal(open_queue(4), 0);
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    assert_int_equal(chalk_block_poll(first, 0), 0);
    model_run(model, 2, 0);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(items[0].status, 0);
    chalk_nvme_queue_close(queue);
    queue = first;
    model->hold = false;
    assert_int_equal(submit(prepare(1, CHALK_BLOCK_READ, 0)), 1);
    poll_until(2);
}

static unsigned commands_until_reset;

/* Another core, as it were, resets the controller while a command of the opening is under way. */
static void reset_meanwhile(void *argument)
{
    struct nvme_model_queue *admin = &model->queues[0];

    (void)argument;
    if (admin->head == admin->tail)
        return;
    if (commands_until_reset-- == 0) {
        fake.idle = NULL;
        model->hold_admin = false;
        assert_int_equal(chalk_nvme_reset(nvme), 0);
    } else {
        model_run(model, 0, 1);
    }
}

static void a_queue_opens_in_spite_of_a_reset(void **state)
{
    struct chalk_block_queue *first = queue;
    const unsigned commands = 3; /* identify, create, create */

    (void)state;
    for (unsigned i = 0; i < commands; i++) {
        commands_until_reset = i;
        model->hold_admin = true;
        fake.idle = reset_meanwhile;
        assert_int_equal(open_queue(4), 0);
        assert_null(fake.idle);
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
        finished = 0;
        poll_until(1);
        assert_int_equal(items[0].status, 0);
        chalk_nvme_queue_close(queue);
    }
    assert_int_equal(model->enables, 1 + commands);
    queue = first;
}

static void a_queue_that_is_neither_made_nor_forgotten_costs_a_reset(void **state)
{
    struct chalk_block_queue *first = queue;

    (void)state;
    model->refuse_other = NVME_DELETE_CQ;
    model->refuse_opcode = NVME_CREATE_SQ;
    model->refuse_admin = 0x006;
    assert_int_equal(open_queue(4), -EPROTO);
    assert_int_equal(model->enables, 2);
    model->refuse_admin = 0;
    queue = first;
}

static void sleeping_owners_are_woken(void **state)
{
    struct chalk_core_info core;
    uint32_t seen;

    (void)state;
    assert_int_equal(chalk_core_get_info(0, &core), 0);
    seen = atomic_load(core.events);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_not_equal(atomic_load(core.events), seen);
}

static unsigned insisted;

/* A request that fails is submitted once more, at once. */
static void insist(struct chalk_block_request *request, int status)
{
    struct item *item = (struct item *)request;

    done(request, status);
    if (status != 0 && insisted++ < 4) {
        item->finished = 0;
        assert_int_equal(submit(request), 1);
    }
}

static void requests_of_callbacks_are_kept_meanwhile(void **state)
{
    (void)state;
    model->hold = true;
    insisted = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct chalk_block_request *request = prepare(i, CHALK_BLOCK_WRITE, i);

        request->done = insist;
        assert_int_equal(submit(request), 1);
    }
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(chalk_block_poll(queue, 0), 4);
    model_run(model, 1, 0);
    assert_int_equal(chalk_block_poll(queue, 0), 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(items[i].status, 0);
}

static void reset_done(struct chalk_block_request *request, int status)
{
    done(request, status);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
}

static void a_callback_may_reset(void **state)
{
    (void)state;
    model->hold = true;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(submit(prepare(i, CHALK_BLOCK_READ, i)), 1);
    items[0].request.done = reset_done;
    model_run(model, 1, 2);
    assert_int_equal(chalk_block_poll(queue, 0), 2);
    model->hold = false;
    poll_until(3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(items[i].finished, 1);
        assert_int_equal(items[i].status, 0);
    }
}

static void one_that_does_not_come_back_is_stopped(void **state)
{
    (void)state;
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    model->never_ready = true;
    assert_int_equal(chalk_nvme_reset(nvme), -ETIMEDOUT);
    assert_int_equal(model->device->resets, 2); /* one to help it, one to stop it */
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(items[0].status, -EIO);
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
    assert_int_equal(chalk_nvme_reset(nvme), -ETIMEDOUT);
    assert_true(fake_console_has("cannot be reset"));
}

static uint16_t admin_status;
static uint8_t admin_opcode;
static unsigned admin_failures; /* so many of these commands end with that status */

static bool fail_admin(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                       uint16_t *status, uint64_t *result)
{
    (void)m;
    (void)result;
    if (id != 0 || (command->cdw0 & 0xff) != admin_opcode || admin_failures == 0)
        return false;
    admin_failures--;
    *status = admin_status;
    return true;
}

static void fail_next_admin(uint8_t opcode, uint16_t status, unsigned count)
{
    model->execute = fail_admin;
    admin_opcode = opcode;
    admin_status = status;
    admin_failures = count;
}

/* No status of any type and code says that a command was not taken, or that nobody knows what became of it.
 */
static void a_status_is_an_answer(void **state)
{
    (void)state;
    for (uint16_t status = 1; status < 0x800; status++) {
        assert_int_not_equal(chalk_nvme_status_error(status), -EAGAIN);
        assert_int_not_equal(chalk_nvme_status_error(status), -ETIMEDOUT);
        assert_in_range(-chalk_nvme_status_error(status), 1, 4095);
    }
}

static void a_status_that_passes_fails_no_reset(void **state)
{
    static const uint16_t statuses[] = {0x006, 0x008, 0x021, 0x022, 0x024, 0x303};

    (void)state;
    for (unsigned i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        uint64_t begin = fake.now;

        fail_next_admin(NVME_SET_FEATURES, statuses[i], 3);
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
        assert_int_equal(chalk_nvme_reset(nvme), 0);
        assert_int_equal(admin_failures, 0);
        finished = 0;
        poll_until(1);
        assert_int_equal(items[0].status, 0);
        fail_next_admin(NVME_CREATE_CQ, statuses[i], 2); /* of the queue's pair, at its next poll */
        assert_int_equal(chalk_nvme_reset(nvme), 0);
        assert_int_equal(chalk_block_poll(queue, 0), 0);
        assert_int_equal(admin_failures, 0);
        assert_in_range(fake.now - begin, 0, 1000 * MS);
    }
    assert_int_equal(model->device->resets, 0);
    assert_int_equal(model->enables, 1 + 2 * sizeof statuses / sizeof *statuses);
}

/* The controller says how long it wants to be left alone, and for how long its media may not be ready. */
static void a_reset_waits_as_long_as_the_controller_says(void **state)
{
    uint64_t begin;

    (void)state;
    model->controller.crdt[0] = 20; /* 2 s */
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(DEPTH), 0);
    begin = fake.now;
    fail_next_admin(NVME_SET_FEATURES, 0x021 | 1 << 11, 1);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_in_range(fake.now - begin, 2000 * MS, 3000 * MS);
    nvme->ready_ns = 60000 * MS;
    fail_next_admin(NVME_SET_FEATURES, 0x024, 50); /* longer than an admin command may take */
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(admin_failures, 0);
}

static void a_status_is_not_the_error_of_a_stopped_controller(void **state)
{
    static const uint16_t statuses[] = {0x105, 0x00b, 0x001, 0x002, 0x024, 0x4006};
    struct chalk_nvme_namespace ns;

    (void)state;
    for (unsigned i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        fail_next_admin(NVME_IDENTIFY, statuses[i], UINT_MAX);
        assert_int_equal(chalk_nvme_reset(nvme), -EIO);
        assert_int_equal(chalk_nvme_reset(nvme), -EIO);
        assert_int_equal(chalk_nvme_next_namespace(nvme, 0, &ns), -EIO);
        assert_int_equal(chalk_block_poll(queue, 0), -EIO);
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), -EIO);
        chalk_nvme_queue_close(queue);
        chalk_nvme_close(nvme);
        fail_next_admin(NVME_IDENTIFY, statuses[i], UINT_MAX);
        assert_int_equal(open_controller(), statuses[i] == 0x001 ? -ENOTSUP : -EIO);
        fail_next_admin(NVME_IDENTIFY, 0x024, 3);
        assert_int_equal(open_controller(), 0);
        assert_int_equal(open_queue(DEPTH), 0);
    }
}

static void one_that_cannot_be_disabled_is_reset_by_its_function(void **state)
{
    (void)state;
    model->never_idle = true;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(model->device->resets, 1);
    model->never_idle = false;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    poll_until(1);
    assert_int_equal(items[0].status, 0);
}

static void one_that_is_gone_stays_gone(void **state)
{
    (void)state;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    model_unplug(model);
    assert_int_equal(chalk_nvme_reset(nvme), -ENODEV);
    assert_true(fake_console_has("gone during its reset"));
    assert_int_equal(chalk_block_poll(queue, 0), 1); /* which it had finished */
    assert_int_equal(chalk_block_poll(queue, 0), -ENODEV);
}

static void one_whose_registers_turn_to_zeroes_is_gone(void **state)
{
    (void)state;
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    model_unplug(model);
    model->gone_in_zeroes = true;
    poll_until(1);
    assert_int_equal(items[0].status, -ENODEV);
    assert_int_equal(chalk_block_poll(queue, 0), -ENODEV);
    assert_true(fake_console_has("gone; was it unplugged?"));
}

/* Somebody else has reset its function. */
static void one_that_stops_by_itself_is_started_again(void **state)
{
    (void)state;
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(submit(prepare(1, CHALK_BLOCK_WRITE, 1)), 1);
    model->device->reset(model->device);
    model->hold = false;
    poll_until(2);
    assert_int_equal(items[0].status, 0);
    assert_int_equal(items[1].status, -EIO);
    assert_true(fake_console_has("it has stopped by itself, status 0x00000000; resetting it"));
    assert_true(fake_console_has("reset, in ")); /* what is said to have begun is said to have ended */
    assert_false(fake_console_has("not answered"));
}

/* ---- gone, with nothing in flight ------------------------------------------------------------------ */

/* `tells`: the platform learns that a device is lost, and a register is read by a message to a process. */
static void reopen(bool tells, const struct chalk_nvme_queue_options *options)
{
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    model->device->gone = false;
    model->device->lost = false;
    model->device->tells = tells;
    fake.idle = NULL;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, options, &queue), 0);
}

static void an_idle_queue_learns_that_its_device_is_gone(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4, .timeout_ns = 3600000 * MS};
    uint64_t begin;
    int polled;

    (void)state;
    for (unsigned lap = 0; lap < 4; lap++) {
        bool tells = lap % 2 != 0, flies = lap >= 2;
        unsigned reads;

        reopen(tells, &options);
        assert_true(queue->wait_ns <= 1000 * MS);
        if (flies) { /* its first sweep is at once, and the second a minute later */
            model->lose = 1;
            finished = 0;
            assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
            assert_int_equal(chalk_block_poll(queue, 0), 0);
        }
        reads = model->register_reads;
        for (begin = fake.now; fake.now < begin + 10000 * MS;)
            assert_int_equal(chalk_block_poll(queue, 0), 0);
        assert_in_range(model->register_reads - reads, 9, 11); /* a platform that tells does not see all */
        model_unplug(model);
        begin = fake.now;
        while ((polled = chalk_block_poll(queue, 0)) >= 0)
            assert_true(fake.now < begin + 2000 * MS);
        assert_int_equal(polled, -ENODEV);
        assert_in_range(fake.now - begin, 0, tells ? 50 * MS : 1100 * MS);
        if (flies)
            assert_int_equal(items[0].status, -ENODEV);
    }
}

static uint64_t unplugged_at, asked_at;

/* While somebody waits: the device goes; or the program is asked to end. */
static void unplug_later(void *argument)
{
    (void)argument;
    if (fake.now < unplugged_at || model->device->gone)
        return;
    model_unplug(model);
}

static void ask_to_end_later(void *argument)
{
    (void)argument;
    fake.exit_requested = fake.now >= asked_at;
}

/* A command that is never answered, and may take an hour. */
static int ask_for_long(void)
{
    const struct nvme_command command = {.cdw0 = NVME_SET_FEATURES, .cdw10 = NVME_FEATURE_QUEUES};
    struct nvme_admin_call call = {.what = "a long command", .timeout_ns = 3600000 * MS};

    model->mute_until_reset = true;
    return chalk_nvme_admin_run(nvme, &call, &command);
}

static void a_long_command_ends_with_its_device(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4};

    (void)state;
    for (unsigned lap = 0; lap < 4; lap++) {
        bool tells = lap % 2 != 0;
        unsigned reads;

        model->admin_interrupts = lap >= 2; /* and so the wait is asleep */
        reopen(tells, &options);
        unplugged_at = fake.now + 5000 * MS;
        reads = model->register_reads;
        fake.idle = unplug_later;
        assert_int_equal(ask_for_long(), -ENODEV);
        assert_in_range(fake.now - unplugged_at, 0, tells ? 50 * MS : 1100 * MS);
        assert_true(model->register_reads - reads < 12);
        assert_true(fake_console_has("gone during an admin command; was it unplugged?"));
        fake_console_clear();
    }
    fake.idle = NULL;
}

static void a_reset_ends_with_its_device(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4};

    (void)state;
    for (unsigned tells = 0; tells < 2; tells++) {
        reopen(tells, &options);
        model->hold_admin = true;
        unplugged_at = fake.now + 2000 * MS;
        fake.idle = unplug_later;
        assert_int_equal(chalk_nvme_reset(nvme), -ENODEV);
        assert_in_range(fake.now - unplugged_at, 0, tells ? 50 * MS : 1100 * MS);
        model->hold_admin = false;
    }
    fake.idle = NULL;
}

static void a_watch_ends_with_its_device(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4};
    struct chalk_nvme_event event;

    (void)state;
    for (unsigned tells = 0; tells < 2; tells++) {
        uint64_t begin;
        int error;

        reopen(tells, &options);
        assert_int_equal(chalk_nvme_watch(nvme, CHALK_NVME_WATCH_ALL), 0);
        for (begin = fake.now; fake.now < begin + 3000 * MS;)
            assert_int_equal(chalk_nvme_next_event(nvme, &event), -EAGAIN);
        model_unplug(model);
        begin = fake.now;
        while ((error = chalk_nvme_next_event(nvme, &event)) == -EAGAIN)
            assert_true(fake.now < begin + 2000 * MS);
        assert_int_equal(error, -ENODEV);
        assert_in_range(fake.now - begin, 0, tells ? 50 * MS : 1100 * MS);
    }
}

static void a_program_that_is_to_end_waits_for_no_long_command(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4};
    unsigned enables;

    (void)state;
    for (unsigned asleep = 0; asleep < 2; asleep++) {
        model->admin_interrupts = asleep;
        reopen(false, &options);
        enables = model->enables;
        asked_at = fake.now + 5000 * MS;
        fake.idle = ask_to_end_later;
        assert_int_equal(ask_for_long(), -ECANCELED);
        assert_in_range(fake.now - asked_at, 0, 1100 * MS);
        assert_int_equal(model->enables, enables + 1); /* the command may reach no memory any more */
        assert_int_equal(nvme_state(nvme), NVME_LIVE);
        finished = 0; /* short ones go on, and so do requests */
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
        poll_until(1);
        assert_int_equal(items[0].status, 0);
        assert_int_equal(model->enables, enables + 1);
        fake.exit_requested = false;
    }
    fake.idle = NULL;
}

/* ---- a verify run with a hundred resets ------------------------------------------------------------ */

#define BLOCKS 1024u
#define RESETS 100
#define CANARY 0x5ca1ab1e0ddba11full

static uint64_t written[BLOCKS]; /* what the last acknowledged write put there; 0: nothing yet */
static uint64_t claimed[BLOCKS]; /* a write is under way */

static uint64_t *memory_of(const struct item *item)
{
    return item->segment.va;
}

static void verified(struct chalk_block_request *request, int status)
{
    struct item *item = (struct item *)request;
    uint64_t lba = request->lba;

    done(request, status);
    assert_int_equal(item->finished, 1);
    assert_int_equal(status, 0);
    if (request->op == CHALK_BLOCK_WRITE)
        written[lba] = *memory_of(item);
    else if (written[lba] != 0)
        assert_int_equal(*memory_of(item), written[lba]);
    claimed[lba] = 0;
    *memory_of(item) = CANARY; /* the buffer is ours again: who writes to it now is seen */
}

static void verify_submit(uint64_t *seed, unsigned in_flight)
{
    for (unsigned i = 0; i < REQUESTS && in_flight < DEPTH; i++) {
        uint64_t lba = chalk_random_below(seed, BLOCKS);
        bool write = chalk_random_below(seed, 2) != 0;
        struct chalk_block_request *request;

        if ((items[i].request.done != NULL && items[i].finished == 0) || claimed[lba] != 0)
            continue;
        if (items[i].request.done != NULL)
            assert_int_equal(*memory_of(&items[i]), CANARY);
        request = prepare(i, write ? CHALK_BLOCK_WRITE : CHALK_BLOCK_READ, lba);
        request->flags = CHALK_BLOCK_REPEATABLE;
        request->done = verified;
        *memory_of(&items[i]) = write ? chalk_random_below(seed, UINT64_MAX) | 1 : 0;
        claimed[lba] = 1;
        assert_int_equal(chalk_block_submit(queue, &request, 1), 1);
        in_flight++;
    }
    chalk_block_kick(queue);
}

static void a_verify_run_survives_a_hundred_resets(void **state)
{
    uint64_t seed = 7;

    (void)state;
    model->hold = true;
    memset(written, 0, sizeof written);
    memset(claimed, 0, sizeof claimed);
    for (unsigned reset = 0; reset < RESETS; reset++) {
        for (unsigned step = 0; step < 20; step++) {
            unsigned in_flight = (unsigned)(queue->counters.submitted - queue->counters.completed);

            verify_submit(&seed, in_flight);
            if (chalk_random_below(&seed, 3) != 0)
                model_run(model, 1, 1 + (unsigned)chalk_random_below(&seed, DEPTH));
            if (step == 10)
                assert_int_equal(chalk_nvme_reset(nvme), 0);
            assert_true(chalk_block_poll(queue, (unsigned)chalk_random_below(&seed, 40)) >= 0);
        }
    }
    model->hold = false;
    model_run(model, 1, 0);
    while (queue->counters.submitted != queue->counters.completed)
        assert_true(chalk_block_poll(queue, 0) >= 0);
    for (unsigned i = 0; i < REQUESTS; i++)
        if (items[i].request.done != NULL)
            assert_int_equal(*memory_of(&items[i]), CANARY);
    for (uint64_t lba = 0; lba < BLOCKS; lba++)
        if (written[lba] != 0)
            assert_memory_equal(model->disk + lba * 512, &written[lba], 8);
    assert_int_equal(model->enables, 1 + RESETS);
    assert_int_equal(queue->counters.failed, 0);
}

/* ---- refusals that pass, and cancelling ------------------------------------------------------------ */

static void a_refusal_that_passes_is_waited_for(void **state)
{
    (void)state;
    model->refuse = 0x082; /* namespace not ready */
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    model->refuse = 0;
    poll_until(1);
    assert_int_equal(items[0].status, 0);
    model->refuse = 0x4082; /* and shall not be retried */
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(items[0].status, -EBUSY);
}

static void done_quietly(struct chalk_block_request *request, int status)
{
    (void)request;
    (void)status;
}

static unsigned refusals;

/* The next `refusals` I/O commands fail with a status that passes. */
static bool refuse_some(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                        uint16_t *status, uint64_t *result)
{
    (void)m;
    (void)command;
    (void)result;
    if (id == 0 || refusals == 0)
        return false;
    refusals--;
    *status = 0x082;
    return true;
}

/* The model faults if its ring is full: completions of requests that are kept take room in it as others do.
 */
static void room_of_kept_requests_is_given_back(void **state)
{
    static const unsigned depths[] = {1, 2, 32, DEPTH};

    (void)state;
    model->execute = refuse_some;
    for (unsigned i = 0; i < sizeof depths / sizeof *depths; i++) {
        uint64_t begin = fake.now;

        chalk_nvme_queue_close(queue);
        assert_int_equal(open_queue(depths[i]), 0);
        refusals = NVME_TRIES * depths[i]; /* the ring has room for twice as many as are in flight */
        finished = 0;
        for (unsigned k = 0; k < depths[i]; k++)
            assert_int_equal(submit(prepare(k, CHALK_BLOCK_READ, k)), 1);
        poll_until(depths[i]);
        for (unsigned k = 0; k < depths[i]; k++)
            assert_int_equal(items[k].status, 0);
        assert_in_range(fake.now - begin, 0, 5000 * MS);
        assert_int_equal(((struct nvme_queue *)queue)->cq_head, model->queues[1].taken);
    }
}

static void *poll_in_thread(void *polled)
{
    *(int *)polled = chalk_block_poll(queue, 0);
    return NULL;
}

/* The controller does not decide how much of its owner's stack a poll takes: a task has 32 KiB. */
static void many_kept_requests_take_no_more_stack(void **state)
{
    static struct chalk_block_request requests[NVME_MAX_DEPTH], *pointers[NVME_MAX_DEPTH];
    pthread_attr_t attributes;
    pthread_t thread;
    unsigned depth;
    int polled = -1;

    (void)state;
    chalk_nvme_queue_close(queue);
    assert_int_equal(open_queue(NVME_MAX_DEPTH), 0);
    depth = queue->info.depth;
    assert_true(depth > 1000);
    model->refuse = 0x082;
    for (unsigned i = 0; i < depth; i++) {
        requests[i] = (struct chalk_block_request){.op = CHALK_BLOCK_FLUSH, .done = done_quietly};
        pointers[i] = &requests[i];
    }
    assert_int_equal(chalk_block_submit(queue, pointers, depth), depth);
    chalk_block_kick(queue);
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, 64 << 10), 0);
    assert_int_equal(pthread_create(&thread, &attributes, poll_in_thread, &polled), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(polled, 0);
    model->refuse = 0;
}

static void nothing_is_told_twice(void **state)
{
    uint64_t doorbells;

    (void)state;
    model->execute = refuse_some;
    refusals = 1;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(submit(prepare(1, CHALK_BLOCK_READ, 1)), 1);
    doorbells = queue->counters.doorbells;
    assert_int_equal(chalk_block_poll(queue, 0), 1); /* one is kept, the other ends */
    assert_int_equal(queue->counters.doorbells, doorbells + 1);
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    poll_until(2);
    assert_int_equal(queue->counters.doorbells, doorbells + 3); /* that of the retry, and of its end */
}

/* What changes blocks is done twice only if its owner said that it may be, or the first time was none. */
static void a_write_is_done_twice_only_if_that_is_allowed(void **state)
{
    static const struct {
        enum chalk_block_op op;
        uint8_t flags;
        uint16_t status;
        bool again;
    } cases[] = {
        {CHALK_BLOCK_WRITE, 0, 0x004, false},
        {CHALK_BLOCK_WRITE, 0, 0x006, false},
        {CHALK_BLOCK_WRITE, 0, 0x021, false},
        {CHALK_BLOCK_WRITE, 0, 0x022, false},
        {CHALK_BLOCK_WRITE, 0, 0x082, true},
        {CHALK_BLOCK_WRITE, 0, 0x303, true},
        {CHALK_BLOCK_WRITE, 0, 0x4082, false},
        {CHALK_BLOCK_WRITE, CHALK_BLOCK_REPEATABLE, 0x006, true},
        {CHALK_BLOCK_WRITE, CHALK_BLOCK_REPEATABLE, 0x022, true},
        {CHALK_BLOCK_WRITE_ZEROES, 0, 0x006, false},
        {CHALK_BLOCK_WRITE_ZEROES, CHALK_BLOCK_REPEATABLE, 0x006, true},
        {CHALK_BLOCK_DISCARD, 0, 0x006, false},
        {CHALK_BLOCK_VERIFY, 0, 0x006, true},
        {CHALK_BLOCK_COMPARE, 0, 0x006, true},
        {CHALK_BLOCK_READ, 0, 0x006, true},
        {CHALK_BLOCK_FLUSH, 0, 0x006, true},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chalk_block_request *request = prepare(0, cases[i].op, 0);
        unsigned before = model->commands;

        request->flags = cases[i].flags;
        if (cases[i].op == CHALK_BLOCK_WRITE_ZEROES || cases[i].op == CHALK_BLOCK_DISCARD ||
            cases[i].op == CHALK_BLOCK_VERIFY)
            request->segment_count = 0;
        model->refuse = cases[i].status;
        finished = 0;
        assert_int_equal(submit(request), 1);
        (void)chalk_block_poll(queue, 0);
        assert_int_equal(finished, cases[i].again ? 0 : 1);
        poll_until(1);
        assert_int_not_equal(items[0].status, 0);
        assert_int_equal(model->commands - before, cases[i].again ? 1 + NVME_TRIES : 1);
    }
    model->refuse = 0x006; /* of two that overlap, one may be done twice when the other has ended */
    finished = 0;
    repeatable(0, 5);
    repeatable(1, 5);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    model->refuse = 0;
    poll_until(2);
    assert_int_equal(items[0].status, -EIO);
    assert_int_equal(items[1].status, 0);
}

static uint16_t identifiers[600];
static unsigned identifier_count;

static bool note_identifier(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                            uint16_t *status, uint64_t *result)
{
    (void)m;
    (void)status;
    (void)result;
    if (id != 0) {
        assert_int_not_equal(command->cdw0 >> 16, 0xffff);
        identifiers[identifier_count++ % 600] = (uint16_t)(command->cdw0 >> 16);
    }
    return false;
}

/* All 16 bits tell an old identifier from a new one, though the slot that was freed last is used next. */
static void an_identifier_comes_back_as_late_as_can_be(void **state)
{
    (void)state;
    chalk_nvme_queue_close(queue);
    assert_int_equal(open_queue(100), 0); /* 128 slots */
    model->execute = note_identifier;
    identifier_count = 0;
    for (unsigned i = 0; i < 512; i++) {
        finished = 0;
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_FLUSH, 0)), 1);
        poll_until(1);
    }
    for (unsigned i = 1; i < 512; i++)
        assert_int_not_equal(identifiers[i], identifiers[0]);
    chalk_nvme_queue_close(queue);
    assert_int_equal(open_queue(128), 0); /* each identifier that there is */
    for (unsigned i = 0; i < 300; i++) {
        finished = 0;
        for (unsigned k = 0; k < 128; k++)
            assert_int_equal(submit(prepare(k, CHALK_BLOCK_FLUSH, 0)), 1);
        poll_until(128);
    }
    model->execute = NULL;
}

/* A request that is filled in anew, though the device still has it. */
static void a_request_that_was_given_up_may_be_tried_again(void **state)
{
    struct chalk_block_request request = {.op = CHALK_BLOCK_FLUSH};

    (void)state;
    model->hold = true;
    assert_int_equal(chalk_block_do(queue, &request, chalk_deadline(10 * MS)), -ETIMEDOUT);
    request = (struct chalk_block_request){.op = CHALK_BLOCK_FLUSH};
    assert_int_equal(chalk_block_do(queue, &request, chalk_deadline(10 * MS)), -EBUSY);
    assert_int_equal(chalk_block_do(queue, &request, chalk_deadline(10 * MS)), -EBUSY);
    model->hold = false;
    model_run(model, 1, 0);
    assert_int_equal(chalk_block_do(queue, &request, chalk_deadline(10 * MS)), -EBUSY); /* which polls */
    assert_int_equal(chalk_block_do(queue, &request, chalk_deadline(1000 * MS)), 0);
    assert_int_equal(queue->given_up, 0);

    model->hold = true; /* or the queue is closed */
    assert_int_equal(chalk_block_do(queue, &request, chalk_deadline(10 * MS)), -ETIMEDOUT);
    request = (struct chalk_block_request){.op = CHALK_BLOCK_FLUSH};
    assert_int_equal(chalk_block_do(queue, &request, chalk_deadline(10 * MS)), -EBUSY);
    chalk_nvme_queue_close(queue);
    model->hold = false;
    assert_int_equal(open_queue(DEPTH), 0);
}

/* A controller that wants to be left alone for a while, as its Command Retry Delay Times say. */
static void reopen_with_delays(uint64_t timeout_ns)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = DEPTH, .timeout_ns = timeout_ns};

    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    model->controller.crdt[0] = 20; /* 2 s */
    model->controller.crdt[1] = 200;
    model->controller.crdt[2] = 65535;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), 0);
}

static void a_controller_is_left_alone_as_long_as_it_wants(void **state)
{
    static const uint64_t delays[] = {0, 2000 * MS, 20000 * MS};

    (void)state;
    reopen_with_delays(30000 * MS);
    assert_int_equal(model->behaviour[0], 1);
    for (unsigned i = 0; i < 3; i++) {
        unsigned before = model->commands;
        uint64_t begin;

        model->refuse = (uint16_t)(0x021 | i << 11); /* command interrupted */
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
        begin = fake.now;
        assert_int_equal(chalk_block_poll(queue, 0), 0);
        model->refuse = 0;
        while (model->commands == before + 1)
            assert_true(chalk_block_poll(queue, 0) >= 0);
        assert_in_range(fake.now - begin, delays[i], delays[i] + 1000 * MS); /* two sweeps later at most */
        poll_until(i + 1);
        assert_int_equal(items[0].status, 0);
    }
}

static void a_delay_beyond_the_time_limit_is_not_waited_for(void **state)
{
    (void)state;
    reopen_with_delays(30000 * MS);
    model->refuse = 0x021 | 3 << 11; /* almost two hours */
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(items[0].status, -EBUSY);
    model->refuse = 0x4021 | 1 << 11; /* and one that shall not be retried has none */
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(items[0].status, -EBUSY);
}

static void a_reset_tells_again_that_delays_are_understood(void **state)
{
    (void)state;
    reopen_with_delays(0);
    memset(model->behaviour, 0, sizeof model->behaviour);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(model->behaviour[0], 1);
}

static void a_refusal_that_does_not_pass_is_told(void **state)
{
    (void)state;
    model->refuse = 0x082;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    poll_until(1);
    assert_int_equal(items[0].status, -EBUSY);
    assert_int_equal(model->commands, 1 + NVME_TRIES);
}

static struct nvme_slot *slot_of(const struct item *item)
{
    struct nvme_queue *inside = (struct nvme_queue *)queue;

    for (unsigned i = 0; i < DEPTH; i++)
        if (inside->slots[i].request == &item->request)
            return &inside->slots[i];
    fail();
    return NULL;
}

static void a_cancelled_request_ends_once(void **state)
{
    (void)state;
    model->aborts = true;
    model->lose = 2;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(submit(prepare(1, CHALK_BLOCK_READ, 0)), 1);
    chalk_nvme_abort((struct nvme_queue *)queue, slot_of(&items[0]));
    chalk_nvme_abort((struct nvme_queue *)queue, slot_of(&items[1]));
    poll_until(2);
    assert_int_equal(items[0].status, -ECANCELED);
    assert_int_equal(items[1].status, -ECANCELED);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    chalk_nvme_abort((struct nvme_queue *)queue, slot_of(&items[0]));
    poll_until(3); /* too late: it is done */
    assert_int_equal(items[0].status, 0);
}

static void a_request_is_cancelled_through_its_class(void **state)
{
    (void)state;
    model->aborts = true;
    model->lose = 1;
    assert_int_equal(chalk_block_cancel(queue, &items[0].request), -ENOENT);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0)), 1);
    assert_int_equal(chalk_block_cancel(queue, &items[1].request), -ENOENT);
    assert_int_equal(chalk_block_cancel(queue, &items[0].request), 0);
    poll_until(1);
    assert_int_equal(items[0].status, -ECANCELED);
    assert_int_equal(chalk_block_cancel(queue, &items[0].request), -ENOENT);
}

/* Of which one part is lost, the others finished, and more to come. */
static void all_of_a_long_request_is_cancelled(void **state)
{
    struct chalk_block_request *request;
    unsigned before;

    (void)state;
    chalk_nvme_queue_close(queue);
    assert_int_equal(open_queue(2), 0);
    request = prepare(0, CHALK_BLOCK_VERIFY, 0);
    request->count = 5 * queue->info.command_blocks;
    request->segment_count = 0;
    model->aborts = true;
    model->lose = 2;
    before = model->commands;
    assert_int_equal(submit(request), 1);
    chalk_block_kick(queue);
    assert_int_equal(chalk_block_cancel(queue, request), 0);
    poll_until(1);
    assert_int_equal(items[0].finished, 1);
    assert_int_equal(items[0].status, -ECANCELED);
    assert_int_equal(model->commands - before, 2); /* and no more of it */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_late_is_aborted),
        TEST(many_are_aborted_one_after_the_other),
        TEST(what_is_not_aborted_takes_its_queue_along),
        TEST(a_lie_of_the_last_moment_is_one),
        TEST(a_queue_that_cannot_be_deleted_takes_the_controller_along),
        TEST(a_controller_that_never_gets_better_is_stopped),
        TEST(progress_forgives),
        TEST(a_reset_that_works_is_not_noticed),
        TEST(a_write_beside_a_raw_command_is_not_repeated),
        TEST(progress_of_another_queue_is_none),
        TEST(a_reset_grants_no_more_queues),
        TEST(what_is_repeated_has_its_limit),
        TEST(all_queues_follow),
        TEST(a_queue_opens_in_spite_of_a_reset),
        TEST(a_queue_that_is_neither_made_nor_forgotten_costs_a_reset),
        TEST(sleeping_owners_are_woken),
        TEST(requests_of_callbacks_are_kept_meanwhile),
        TEST(a_callback_may_reset),
        TEST(one_that_does_not_come_back_is_stopped),
        TEST(a_status_is_an_answer),
        TEST(a_status_that_passes_fails_no_reset),
        TEST(a_reset_waits_as_long_as_the_controller_says),
        TEST(a_status_is_not_the_error_of_a_stopped_controller),
        TEST(one_that_cannot_be_disabled_is_reset_by_its_function),
        TEST(one_that_is_gone_stays_gone),
        TEST(one_whose_registers_turn_to_zeroes_is_gone),
        TEST(one_that_stops_by_itself_is_started_again),
        TEST(an_idle_queue_learns_that_its_device_is_gone),
        TEST(a_long_command_ends_with_its_device),
        TEST(a_reset_ends_with_its_device),
        TEST(a_watch_ends_with_its_device),
        TEST(a_program_that_is_to_end_waits_for_no_long_command),
        TEST(a_verify_run_survives_a_hundred_resets),
        TEST(a_refusal_that_passes_is_waited_for),
        TEST(room_of_kept_requests_is_given_back),
        TEST(many_kept_requests_take_no_more_stack),
        TEST(nothing_is_told_twice),
        TEST(a_write_is_done_twice_only_if_that_is_allowed),
        TEST(an_identifier_comes_back_as_late_as_can_be),
        TEST(a_request_that_was_given_up_may_be_tried_again),
        TEST(a_controller_is_left_alone_as_long_as_it_wants),
        TEST(a_delay_beyond_the_time_limit_is_not_waited_for),
        TEST(a_reset_tells_again_that_delays_are_understood),
        TEST(a_refusal_that_does_not_pass_is_told),
        TEST(a_cancelled_request_ends_once),
        TEST(a_request_is_cancelled_through_its_class),
        TEST(all_of_a_long_request_is_cancelled),
    };

    return cmocka_run_group_tests_name("nvme_recovery", tests, NULL, NULL);
}
