/* SPDX-License-Identifier: BSD-2-Clause */
/* Admin commands: many under way, answered in any order, or not at all. */
#include "drivers/nvme/nvme.h"
#include "nvme_session.h"

#define MS ((uint64_t)1000000)

static const struct nvme_command ask_queues = {.cdw0 = NVME_SET_FEATURES, .cdw10 = NVME_FEATURE_QUEUES};
static struct nvme_admin_call calls[NVME_ADMIN_CALLS + 1];
static unsigned ended;

static void done(struct nvme_admin_call *call)
{
    assert_in_range(call - calls, 0, NVME_ADMIN_CALLS);
    assert_false(atomic_exchange(&call->finished, true)); /* once */
    ended++;
}

static int setup(void **state)
{
    int error = session_setup(state);

    memset(calls, 0, sizeof calls);
    for (unsigned i = 0; i <= NVME_ADMIN_CALLS; i++)
        calls[i].done = done;
    ended = 0;
    if (error == 0)
        error = open_controller();
    model->hold_admin = true;
    return error;
}

static int teardown(void **state)
{
    chalk_nvme_close(nvme);
    return session_teardown(state);
}

static int start(unsigned i, const struct nvme_command *command)
{
    return chalk_nvme_admin_start(nvme, &calls[i], command);
}

static void as_many_as_there_is_room_for_are_under_way(void **state)
{
    const struct nvme_command unknown = {.cdw0 = 0xc0};

    (void)state;
    for (unsigned lap = 0; lap < 100; lap++) {
        unsigned room = 0;

        memset(calls, 0, sizeof calls);
        for (unsigned i = 0; i <= NVME_ADMIN_CALLS; i++)
            calls[i].done = done;
        ended = 0;
        while (start(room, room % 2 != 0 ? &unknown : &ask_queues) == 0)
            room++;
        assert_in_range(room, NVME_ADMIN_CALLS - 4, NVME_ADMIN_CALLS); /* event requests take up to 4 */
        assert_int_equal(model_run(model, 0, 3), 3);
        chalk_nvme_admin_poll(nvme);
        assert_int_equal(ended, 3);
        assert_int_equal(start(room, &ask_queues), 0);
        model_run(model, 0, 0);
        chalk_nvme_admin_poll(nvme);
        assert_int_equal(ended, room + 1);
        for (unsigned i = 0; i < room; i++)
            assert_int_equal(calls[i].error, i % 2 != 0 ? -ENOTSUP : 0);
        assert_int_equal(calls[0].result, model->granted);
    }
}

/* Completions in the reverse order of the commands. */
static struct nvme_completion kept[8];
static unsigned kept_count;

static bool keep(struct nvme_model *keeper, unsigned id, struct nvme_completion *completion)
{
    (void)keeper;
    assert_int_equal(id, 0);
    kept[kept_count++] = *completion;
    return false;
}

static void each_is_told_its_own_answer(void **state)
{
    (void)state;
    model->tamper = keep;
    kept_count = 0;
    for (uint32_t i = 0; i < 8; i++) {
        model->granted = i << 16 | i;
        assert_int_equal(start(i, &ask_queues), 0);
        model_run(model, 0, 1);
    }
    assert_int_equal(kept_count, 8);
    while (kept_count != 0)
        model_post(model, 0, kept[--kept_count]);
    chalk_nvme_admin_poll(nvme);
    assert_int_equal(ended, 8);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(calls[i].result, i << 16 | i);
    model->tamper = NULL;
    model->hold_admin = false;
}

static void answer(void *argument)
{
    (void)argument;
    model_run(model, 0, 0);
}

static void a_synchronous_caller_sees_to_the_others(void **state)
{
    uint32_t result;

    (void)state;
    assert_int_equal(start(0, &ask_queues), 0);
    fake.idle = answer;
    assert_int_equal(chalk_nvme_admin(nvme, &ask_queues, "a question", &result), 0);
    assert_int_equal(result, model->granted);
    assert_int_equal(ended, 1);
}

static void a_deadline_of_its_own_is_kept(void **state)
{
    uint64_t begin = fake.now;

    (void)state;
    fake.step = MS;
    calls[0].timeout_ns = 60000 * MS;
    calls[0].what = "a long command";
    assert_int_equal(start(0, &ask_queues), 0);
    while (fake.now < begin + 59000 * MS)
        chalk_nvme_admin_poll(nvme);
    assert_int_equal(ended, 0);
    assert_int_equal(model_run(model, 0, 0), 1);
    chalk_nvme_admin_poll(nvme);
    assert_int_equal(calls[0].error, 0);
    model->hold_admin = false;
}

/* Others may be under way for as long as they like. */
static void one_that_finds_no_room_does_not_wait_for_ever(void **state)
{
    uint64_t begin;
    unsigned room = 0;

    (void)state;
    fake.step = MS;
    do
        calls[room].timeout_ns = UINT64_MAX;
    while (start(room, &ask_queues) == 0 && ++room <= NVME_ADMIN_CALLS);
    begin = fake.now;
    assert_int_equal(chalk_nvme_admin(nvme, &ask_queues, "a question", NULL), -EAGAIN);
    assert_in_range(fake.now - begin, 5000 * MS, 6000 * MS);
    model_run(model, 0, 0);
    chalk_nvme_admin_poll(nvme);
    assert_int_equal(ended, room);
    model->hold_admin = false;
}

static void a_late_one_ends_all(void **state)
{
    (void)state;
    fake.step = MS;
    calls[1].timeout_ns = 60000 * MS;
    calls[2].timeout_ns = UINT64_MAX;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(start(i, &ask_queues), 0);
    model->hold_admin = false; /* what was held is lost */
    for (uint64_t begin = fake.now; ended == 0; chalk_nvme_admin_poll(nvme))
        assert_true(fake.now < begin + 6000 * MS);
    assert_int_equal(ended, 3);
    assert_int_equal(calls[0].error, -ETIMEDOUT);
    assert_int_equal(calls[1].error, -EIO); /* it ended with the reset that the late one brought on */
    assert_int_equal(calls[2].error, -EIO);
    assert_int_equal(model->enables, 2);
    assert_true(fake_console_has("no answer to an admin command within 5000 ms"));
}

static void one_of_nobody_is_a_lie(void **state)
{
    (void)state;
    assert_int_equal(start(0, &ask_queues), 0);
    model_post(model, 0, (struct nvme_completion){.outcome = 0x7ff0});
    chalk_nvme_admin_poll(nvme);
    assert_int_equal(ended, 1);
    assert_int_equal(calls[0].error, -EPROTO);
    assert_true(fake_console_has("completed admin command 0x7ff0, which is not in flight"));
    assert_int_equal(start(1, &ask_queues), -EPROTO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(as_many_as_there_is_room_for_are_under_way),
        TEST(each_is_told_its_own_answer),
        TEST(a_synchronous_caller_sees_to_the_others),
        TEST(a_deadline_of_its_own_is_kept),
        TEST(one_that_finds_no_room_does_not_wait_for_ever),
        TEST(a_late_one_ends_all),
        TEST(one_of_nobody_is_a_lie),
    };

    return cmocka_run_group_tests_name("nvme_admin", tests, NULL, NULL);
}
