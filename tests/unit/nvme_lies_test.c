/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A controller that goes silent, breaks or lies, at each step of its life in turn.
 *
 * The life is always the same: opened, asked for namespaces and events, read from and written to, reset, read
 * from again, closed. A step is an access to a register, or a completion. Whatever happens there, every call
 * returns within its deadlines, with an error that fits and a message that names the device and what it did;
 * each request is called back once; and when it is over all memory is back and the device does no DMA.
 */
#include "drivers/nvme/nvme.h"
#include "nvme_session.h"
#include <chalk/device.h>
#include <chalk/nvme_admin.h>
#include <chalk/random.h>
#include <limits.h>
#include <stdio.h>

#define MS       ((uint64_t)1000000)
#define REQUESTS 4
#define PATIENCE (60000 * MS) /* a life's deadlines together: see limit() */

static struct chalk_dma data;
static struct chalk_block_request requests[REQUESTS];
static struct chalk_dma segments[REQUESTS];
static unsigned finished[REQUESTS];
static int first_error;

/* ---- the life -------------------------------------------------------------------------------------- */

static void note(int error)
{
    if (error < 0 && error != -EAGAIN && first_error == 0)
        first_error = error;
}

static void done(struct chalk_block_request *request, int status)
{
    finished[request - requests]++;
    note(status);
}

/* Reads and writes, and polls until all are back. */
static void use(struct chalk_block_queue *queue)
{
    unsigned submitted = 0, back = 0;
    int polled = 0;

    memset(finished, 0, sizeof finished);
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct chalk_block_request *request = &requests[i];
        int taken;

        segments[i] = (struct chalk_dma){(char *)data.va + i * 512, data.iova + i * 512, 512};
        *request = (struct chalk_block_request){
            .op = i % 2 != 0 ? CHALK_BLOCK_WRITE : CHALK_BLOCK_READ,
            .flags = CHALK_BLOCK_REPEATABLE,
            .lba = i,
            .count = 1,
            .segments = &segments[i],
            .segment_count = 1,
            .done = done,
        };
        taken = chalk_block_submit(queue, &request, 1);
        note(taken);
        submitted += taken == 1;
    }
    chalk_block_kick(queue);
    for (uint64_t begin = fake.now; back < submitted && polled >= 0;) {
        polled = chalk_block_poll(queue, 0);
        back += polled > 0 ? (unsigned)polled : 0;
        assert_true(fake.now < begin + PATIENCE);
    }
    for (unsigned i = 0; i < submitted; i++)
        assert_int_equal(finished[i], 1);
}

static void live(void)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = REQUESTS, .timeout_ns = 1000 * MS};
    static struct chalk_nvme_event event;
    struct chalk_nvme_namespace ns;
    struct chalk_block_queue *queue;
    int error = open_controller();

    note(error);
    if (error != 0)
        return;
    note(chalk_nvme_next_namespace(nvme, 0, &ns));
    error = chalk_nvme_watch(nvme, CHALK_NVME_WATCH_ALL);
    note(error);
    if (error == 0)
        note(chalk_nvme_next_event(nvme, &event));
    error = chalk_nvme_queue_open(nvme, &options, &queue);
    note(error);
    if (error == 0) {
        use(queue);
        note(chalk_nvme_reset(nvme));
        use(queue);
        chalk_nvme_queue_close(queue);
    }
    chalk_nvme_close(nvme);
}

/* ---- what can happen ------------------------------------------------------------------------------- */

static void fall_silent(void)
{
    model->mute = true;
}

static void break_down(void)
{
    model->csts |= NVME_CSTS_CFS;
    model->mute_until_reset = true;
}

static void break_for_good(void)
{
    break_down();
    model->fatal = true;
}

static void go(void)
{
    model_unplug(model);
}

static void never_start_again(void)
{
    model->never_ready = true;
    break_down();
}

static void never_stop_again(void)
{
    model->never_idle = true;
    model->mute = true;
}

/* Each of these deals with one completion of queue `id`, and says whether that is still to be posted. */
static bool lose(unsigned id, struct nvme_completion *completion)
{
    (void)id;
    (void)completion;
    return false;
}

static bool post_twice(unsigned id, struct nvme_completion *completion)
{
    model_post(model, id, *completion);
    return true;
}

static bool answer_another(unsigned id, struct nvme_completion *completion)
{
    (void)id;
    completion->outcome ^= 0x8005;
    return true;
}

static bool name_another_queue(unsigned id, struct nvme_completion *completion)
{
    (void)id;
    completion->origin ^= 0x7fff << 16;
    return true;
}

static bool refuse(unsigned id, struct nvme_completion *completion)
{
    (void)id;
    completion->outcome |= 0x4006u << 17; /* internal error, and do not retry */
    completion->result = 0;
    return true;
}

#define ERRORS 4

static const struct trouble {
    const char *name;
    void (*at_access)(void);
    bool (*at_completion)(unsigned id, struct nvme_completion *completion);
    int errors[ERRORS]; /* that the life may meet first; or none at all */
    const char *says; /* what a message says, if it meets one; NULL: the error goes to who gave the command */
} troubles[] = {
    {"falls silent",
     fall_silent,
     NULL,
     {-ETIMEDOUT, -EIO},
     "no answer to |not answered within |not finished"},
    {"breaks down", break_down, NULL, {-EIO, -ETIMEDOUT}, "status 0x0000000|fatal status"},
    {"breaks for good", break_for_good, NULL, {-EIO, -ETIMEDOUT}, "status 0x0000000|fatal status"},
    {"goes", go, NULL, {-ENODEV}, "gone|all ones|does not answer"},
    {"never starts again", never_start_again, NULL, {-EIO, -ETIMEDOUT}, "status 0x0000000|not ready"},
    {"never stops again",
     never_stop_again,
     NULL,
     {-ETIMEDOUT, -EIO},
     "no answer to |not answered within |cannot be"},
    {"loses a completion", NULL, lose, {-ETIMEDOUT, -EIO}, "no answer to |not answered within "},
    {"completes twice", NULL, post_twice, {-EPROTO, -EIO}, "which is not under way|which is not in flight"},
    {"answers another command",
     NULL,
     answer_another,
     {-EPROTO, -EIO},
     "which is not under way|which is not in flight"},
    {"names another queue",
     NULL,
     name_another_queue,
     {-EPROTO, -EIO},
     "which is not under way|which is not in flight"},
    {"refuses a command", NULL, refuse, {-EIO, -EPROTO, -ENOENT}, NULL},
};

/* Where in the life something happens: steps that are still to come; and how many there were. */
static const struct trouble *trouble;
static unsigned countdown, steps;

static void step_of_access(struct nvme_model *m)
{
    (void)m;
    steps++;
    if (countdown != 0 && --countdown == 0)
        trouble->at_access();
}

static bool step_of_completion(struct nvme_model *m, unsigned id, struct nvme_completion *completion)
{
    (void)m;
    steps++;
    return countdown == 0 || --countdown != 0 || trouble->at_completion(id, completion);
}

/* Lives once, with the trouble at step `at`; 0: at none. Returns how many steps there were. */
static unsigned live_with(const struct trouble *which, unsigned at)
{
    trouble = which;
    countdown = at;
    steps = 0;
    model->access = which->at_access != NULL ? step_of_access : NULL;
    model->tamper = which->at_completion != NULL ? step_of_completion : NULL;
    live();
    return steps;
}

/* ---- judged ---------------------------------------------------------------------------------------- */

static bool is_allowed(const struct trouble *which, int error)
{
    for (unsigned i = 0; i < ERRORS; i++)
        if (which->errors[i] == error)
            return true;
    return false;
}

/* Whether the console has one of the alternatives, which a bar separates. */
static bool is_said(const char *alternatives)
{
    char text[128];

    while (*alternatives != '\0') {
        size_t length = strcspn(alternatives, "|");

        snprintf(text, sizeof text, "%.*s", (int)length, alternatives);
        if (fake_console_has(text))
            return true;
        alternatives += length + (alternatives[length] == '|');
    }
    return false;
}

/* One session for many lives: it costs more than a life does. */
static unsigned char honest[offsetof(struct nvme_model, disk)]; /* the model, as it was at first */
static struct chalk_memory_usage before;

static int setup(void **state)
{
    int error = session_setup(state);

    model->controller.aerl = 3;
    model->controller.oaes = CHALK_NVME_WATCH_NAMESPACES;
    fake.step = MS;
    if (error == 0)
        error = chalk_dma_get(memory, REQUESTS * 512, CHALK_PAGE, &data);
    memcpy(honest, model, sizeof honest);
    chalk_memory_get_usage(memory, &before);
    return error;
}

static int teardown(void **state)
{
    chalk_dma_put(memory, &data);
    return session_teardown(state);
}

static void be_honest(void)
{
    memcpy(model, honest, sizeof honest);
    model->device->gone = false;
    model->device->config[CHALK_PCI_COMMAND] = 0;
    fake_console_clear();
    first_error = 0;
}

/* All memory is back, the device does no DMA, and the driver did nothing that is not allowed. */
static bool is_over(void)
{
    struct chalk_memory_usage after;

    chalk_memory_get_usage(memory, &after);
    return after.private_used == before.private_used && after.shared_used == before.shared_used &&
           model->faults == 0 &&
           (model->device->gone ||
            (model->device->config[CHALK_PCI_COMMAND] & CHALK_PCI_COMMAND_MASTER) == 0);
}

static void check(const struct trouble *which, unsigned at, uint64_t took)
{
    if (!is_allowed(which, first_error))
        fail_msg("%s at step %u: %d; the console has:\n%s", which->name, at, first_error, fake.console);
    if (first_error != 0 && which->says != NULL && !(is_said(which->says) && fake_console_has(MODEL_NAME)))
        fail_msg("%s at step %u: %d, and not why; the console has:\n%s", which->name, at, first_error,
                 fake.console);
    if (took > PATIENCE)
        fail_msg("%s at step %u: took %u ms", which->name, at, (unsigned)(took / MS));
}

/* Both while its driver polls for the answers to admin commands, and while it sleeps until they come. */
static void at_each_step(const struct trouble *which)
{
    for (int asleep = 0; asleep <= 1; asleep++) {
        unsigned all = UINT_MAX;

        for (unsigned at = 0; at <= all; at++) { /* 0: the honest life, whose steps are counted */
            uint64_t begin = fake.now;
            unsigned steps_seen;

            be_honest();
            model->admin_interrupts = asleep;
            steps_seen = live_with(which, at);
            if (at == 0) {
                assert_int_equal(first_error, 0);
                all = steps_seen;
            } else {
                check(which, at, fake.now - begin);
            }
            if (!is_over())
                fail_msg("%s at step %u leaves something behind", which->name, at);
        }
        print_message("# %s: at each of %u steps\n", which->name, all);
    }
    be_honest();
}

#define AT_EACH_STEP(name, which)                                                                            \
    static void name(void **state)                                                                           \
    {                                                                                                        \
        (void)state;                                                                                         \
        at_each_step(&troubles[which]);                                                                      \
    }

AT_EACH_STEP(one_that_falls_silent, 0)
AT_EACH_STEP(one_that_breaks_down, 1)
AT_EACH_STEP(one_that_breaks_for_good, 2)
AT_EACH_STEP(one_that_goes, 3)
AT_EACH_STEP(one_that_never_starts_again, 4)
AT_EACH_STEP(one_that_never_stops_again, 5)
AT_EACH_STEP(one_that_loses_a_completion, 6)
AT_EACH_STEP(one_that_completes_twice, 7)
AT_EACH_STEP(one_that_answers_another_command, 8)
AT_EACH_STEP(one_that_names_another_queue, 9)
AT_EACH_STEP(one_that_refuses_a_command, 10)

/* ---- random bytes ---------------------------------------------------------------------------------- */

static uint64_t seed;

static void fill(void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((volatile uint8_t *)bytes)[i] = (uint8_t)chalk_random_next(&seed);
}

/* The disk of this model does not know formats like those. */
static bool do_nothing(struct nvme_model *m, unsigned id, const struct nvme_command *command,
                       uint16_t *status, uint64_t *result)
{
    (void)m;
    (void)command;
    (void)result;
    *status = 0;
    return id != 0;
}

static void identify_data_of_random_bytes(void **state)
{
    const unsigned lives = 3000;
    unsigned whole = 0;

    (void)state;
    for (unsigned i = 0; i < lives; i++) {
        uint64_t begin;

        be_honest();
        seed = i;
        model->execute = do_nothing;
        model->controller.vid = 1;
        if (i % 3 != 0) {
            fill(&model->controller, sizeof model->controller);
            model->controller.sqes =
                i % 2 != 0 ? 0x66 : model->controller.sqes; /* or it would go no further */
            model->controller.cqes = i % 2 != 0 ? 0x44 : model->controller.cqes;
            model->controller.cntrltype &= 1;
        }
        if (i % 3 != 1) {
            fill(&model->namespaces[0], sizeof model->namespaces[0]);
            if (i % 2 != 0)
                model->namespaces[0].lbaf[model->namespaces[0].flbas & 0xf] = 9 << 16;
        }
        if (i % 8 == 7) {
            fill(&model->cap, sizeof model->cap);
            fill(&model->version, sizeof model->version);
            fill(&model->granted, sizeof model->granted);
            model->cap = (model->cap & ~(0xffull << 32)) | NVME_CAP_CSS_NVM;
            model->cap &= ~(0xfffull << 48) & ~NVME_CAP_CSS_ALL;
        }
        model->controller.oacs &= (uint16_t)~NVME_OACS_DOORBELLS;
        begin = fake.now;
        live();
        whole += first_error == 0;
        assert_true(fake.now < begin + 2 * PATIENCE);
        if (!is_over())
            fail_msg("seed %u leaves something behind", i);
    }
    print_message("# of %u lives %u were lived to the end\n", lives, whole);
    assert_in_range(whole, 1, lives - 1);
}

/* Garbage over the completions of queue `id`: any, or such as might be true. */
static void spoil(unsigned id)
{
    struct nvme_model_queue *ring = &model->queues[id];
    struct nvme_completion *entries = fake_device_dma(model->device, ring->completions,
                                                      ring->entries * sizeof *entries, CHALK_DEVICE_WRITES);

    assert_non_null(entries);
    fill(entries, ring->entries * sizeof *entries);
    for (unsigned i = 0; seed % 2 != 0 && i < ring->entries; i++) {
        entries[i].origin = id << 16 | (entries[i].origin & 7);
        entries[i].outcome &= 0x1001f;
    }
}

static void completions_of_random_bytes(void **state)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = REQUESTS, .timeout_ns = 1000 * MS};
    unsigned believed = 0, stopped = 0;

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        struct chalk_block_queue *queue;
        uint32_t value;

        be_honest();
        seed = i;
        model->controller.oaes =
            0; /* no request for an event is under way, for which an answer could be made up */
        assert_int_equal(open_controller(), 0);
        assert_int_equal(chalk_nvme_queue_open(nvme, &options, &queue), 0);
        spoil(i / 2 % 2);
        use(queue);
        (void)chalk_nvme_get_feature(nvme, 1, CHALK_NVME_FEATURE_CURRENT, 0, &value);
        stopped += nvme_state(nvme) == NVME_STOPPED;
        believed += nvme_state(nvme) == NVME_LIVE;
        chalk_nvme_queue_close(queue);
        chalk_nvme_close(nvme);
        if (!is_over())
            fail_msg("seed %u leaves something behind", i);
    }
    print_message("# %u were stopped, %u went on\n", stopped, believed);
    assert_in_range(stopped, 1, 2000);
}

/* ---- a namespace that vanishes --------------------------------------------------------------------- */

static bool vanish(struct nvme_model *m, unsigned id, const struct nvme_command *command, uint16_t *status,
                   uint64_t *result)
{
    (void)m;
    (void)result;
    if (id == 0 || command->nsid != 1)
        return false;
    *status = 0x400b; /* invalid namespace, do not retry */
    return true;
}

static void a_namespace_vanishes_and_the_other_stays(void **state)
{
    const struct chalk_nvme_queue_options one = {.nsid = 1, .depth = REQUESTS},
                                          three = {.nsid = 3, .depth = REQUESTS};
    struct chalk_block_queue *gone, *there;

    (void)state;
    model->namespaces[2] = model->namespaces[0];
    assert_int_equal(open_controller(), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &one, &gone), 0);
    assert_int_equal(chalk_nvme_queue_open(nvme, &three, &there), 0);
    use(gone);
    assert_int_equal(first_error, 0);

    memset(&model->namespaces[0], 0, sizeof model->namespaces[0]);
    model->execute = vanish;
    use(gone);
    assert_int_equal(first_error, -ENOENT);
    assert_true(fake_console_has("namespace 1: read of 1 blocks at 0 failed: invalid namespace"));
    assert_int_equal(nvme_state(nvme), NVME_LIVE);
    first_error = 0;
    use(there);
    assert_int_equal(first_error, 0);
    chalk_nvme_queue_close(gone);
    assert_int_equal(chalk_nvme_queue_open(nvme, &one, &gone), -ENOENT);
    assert_true(fake_console_has("there is no namespace 1"));
    chalk_nvme_queue_close(there);
    chalk_nvme_close(nvme);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_that_falls_silent),
        TEST(one_that_breaks_down),
        TEST(one_that_breaks_for_good),
        TEST(one_that_goes),
        TEST(one_that_never_starts_again),
        TEST(one_that_never_stops_again),
        TEST(one_that_loses_a_completion),
        TEST(one_that_completes_twice),
        TEST(one_that_answers_another_command),
        TEST(one_that_names_another_queue),
        TEST(one_that_refuses_a_command),
        TEST(identify_data_of_random_bytes),
        TEST(completions_of_random_bytes),
        TEST(a_namespace_vanishes_and_the_other_stays),
    };

    return cmocka_run_group_tests_name("nvme_lies", tests, NULL, NULL);
}
