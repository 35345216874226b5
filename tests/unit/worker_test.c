/* SPDX-License-Identifier: BSD-2-Clause */
/* One core of nvme-perf: how it divides a namespace, and whether it sees that data is not what was written.
 */
#include "nvme_session.h"
#include "tools/nvme/options.h"
#include "tools/nvme/worker.h"

static struct session session;
static struct plan plan;
static struct worker worker;

static int worker_setup(void **state)
{
    int error = session_setup(state);

    if (error == 0)
        error = open_controller();
    if (error != 0)
        return error;
    session = (struct session){.nvme = nvme, .memory = memory, .domain = domain};
    plan = (struct plan){.random = true, .verify = true, .depth = 8, .reads = 50, .size = 4096, .seed = 3};
    return chalk_nvme_next_namespace(nvme, 0, &session.ns);
}

static int worker_teardown(void **state)
{
    worker_close(&worker);
    chalk_nvme_close(nvme);
    return session_teardown(state);
}

static void run(uint64_t requests)
{
    worker.most = requests;
    worker.duration = UINT64_MAX;
    worker_run(&worker, NULL, 0);
}

static void parts_of_a_namespace_do_not_overlap(void **state)
{
    (void)state;
    assert_int_equal(worker_open(&worker, &session, &plan, 1, 3), EXIT_GOOD);
    assert_int_equal(worker.places, MODEL_DISK / 4096 / 3);
    assert_int_equal(worker.first, worker.places);
    assert_int_equal(worker.count, 8);
}

static void what_was_written_is_found(void **state)
{
    (void)state;
    assert_int_equal(worker_open(&worker, &session, &plan, 0, 1), EXIT_GOOD);
    run(500);
    assert_false(worker.failed);
    assert_int_equal(worker.figures->finished, 500);
    worker_check(&worker);
    assert_false(worker.failed);
    assert_true(worker.verified > 100);
}

static void one_flipped_bit_is_seen(void **state)
{
    uint64_t place = 0;

    (void)state;
    assert_int_equal(worker_open(&worker, &session, &plan, 0, 1), EXIT_GOOD);
    run(200);
    while (worker.written[place] == 0)
        place++;
    model->disk[place * 4096 + 2000] ^= 4;
    worker_check(&worker);
    assert_true(worker.failed);
}

static void an_older_write_of_the_same_place_is_seen(void **state)
{
    static uint8_t old[4096];

    (void)state;
    plan.random = false;
    plan.reads = 0;
    assert_int_equal(worker_open(&worker, &session, &plan, 0, 1), EXIT_GOOD);
    run(worker.places);
    memcpy(old, model->disk, sizeof old);
    run(worker.places);
    worker_check(&worker);
    assert_false(worker.failed);
    memcpy(model->disk, old, sizeof old);
    worker_check(&worker);
    assert_true(worker.failed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, worker_setup, worker_teardown)
    const struct CMUnitTest tests[] = {
        TEST(parts_of_a_namespace_do_not_overlap),
        TEST(what_was_written_is_found),
        TEST(one_flipped_bit_is_seen),
        TEST(an_older_write_of_the_same_place_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
