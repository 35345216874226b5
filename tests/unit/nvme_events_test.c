/* SPDX-License-Identifier: BSD-2-Clause */
/* Asynchronous events: asked for, told once each with their log page, and asked for again whatever happens.
 */
#include "drivers/nvme/structures.h"
#include "nvme_session.h"
#include <chalk/loop.h>
#include <chalk/nvme_admin.h>
#include <limits.h>

#define MS          ((uint64_t)1000000)
#define TEMPERATURE 0x020101u /* dword 0: type, what, log page */
#define NAMESPACES  0x040002u
#define WITHOUT_LOG 0x000003u
#define REQUESTS    4

static struct chalk_nvme_event event;
static uint8_t log_page[4096];
static struct nvme_command last_read; /* of a log page */
static unsigned reads;
static uint16_t refusal; /* of log pages */
static bool withheld;    /* and they are not answered at all */

static bool answer(struct nvme_model *m, unsigned id, const struct nvme_command *command, uint16_t *status,
                   uint64_t *result)
{
    (void)id;
    (void)result;
    if ((command->cdw0 & 0xff) != NVME_GET_LOG_PAGE)
        return false;
    last_read = *command;
    reads++;
    *status = refusal;
    if (refusal == 0)
        model_transfer(m, command, log_page, ((command->cdw10 >> 16) + 1) * 4, true);
    return true;
}

static bool withhold(struct nvme_model *m, unsigned id, struct nvme_completion *completion)
{
    (void)m;
    (void)id;
    (void)completion;
    return !withheld;
}

static int setup(void **state)
{
    int error = session_setup(state);

    memset(log_page, 0, sizeof log_page);
    memset(&last_read, 0, sizeof last_read);
    memset(&event, 0, sizeof event);
    reads = refusal = 0;
    withheld = false;
    model->execute = answer;
    model->tamper = withhold;
    model->controller.aerl = REQUESTS - 1;
    model->controller.oaes = CHALK_NVME_WATCH_NAMESPACES;
    return error != 0 ? error : open_controller();
}

static int teardown(void **state)
{
    if (nvme != NULL)
        chalk_nvme_close(nvme);
    return session_teardown(state);
}

/* The next event, or what there is instead of one. */
static int next(void)
{
    int error = -EAGAIN;

    for (unsigned i = 0; i < 4 && error == -EAGAIN; i++)
        error = chalk_nvme_next_event(nvme, &event);
    return error;
}

static void watch(void)
{
    assert_int_equal(chalk_nvme_watch(nvme, CHALK_NVME_WATCH_ALL), 0);
    if (model->event_count != 0)
        assert_int_equal(next(), -EAGAIN);
    reads = 0; /* of namespaces that had changed before */
}

static void only_what_the_controller_has_is_asked_for(void **state)
{
    (void)state;
    watch();
    assert_int_equal(model->events_wanted, CHALK_NVME_WATCH_NAMESPACES | 0x3f);
    assert_int_equal(chalk_nvme_watch(nvme, CHALK_NVME_WARNS_TEMPERATURE | CHALK_NVME_WATCH_FIRMWARE), 0);
    assert_int_equal(model->events_wanted, CHALK_NVME_WARNS_TEMPERATURE);
    assert_int_equal(model->event_count, REQUESTS);
    assert_int_equal(next(), -EAGAIN);
}

/* That it has notices of telemetry is said elsewhere than of all others. */
static void telemetry_is_asked_for_where_there_is_some(void **state)
{
    (void)state;
    chalk_nvme_close(nvme);
    for (unsigned has = 0; has < 2; has++) {
        model->controller.oaes = has != 0 ? 0 : CHALK_NVME_WATCH_TELEMETRY;
        model->controller.lpa = has != 0 ? NVME_LPA_TELEMETRY : 0;
        assert_int_equal(open_controller(), 0);
        watch();
        assert_int_equal(model->events_wanted & ~0xffu, has != 0 ? CHALK_NVME_WATCH_TELEMETRY : 0);
        chalk_nvme_close(nvme);
    }
    nvme = NULL;
}

static void an_error_log_is_read_as_far_as_it_goes(void **state)
{
    (void)state;
    chalk_nvme_close(nvme);
    model->controller.elpe = 1;
    assert_int_equal(open_controller(), 0);
    watch();
    memset(log_page, 0xee, sizeof log_page);
    assert_true(model_event(model, NVME_EVENT(CHALK_NVME_EVENT_ERROR, 0, CHALK_NVME_LOG_ERRORS), 0));
    assert_int_equal(next(), 0);
    assert_int_equal(event.count, 2);
    assert_int_equal(last_read.cdw10 >> 16, 2 * 64 / 4 - 1);
}

static void as_many_requests_wait_as_the_controller_takes(void **state)
{
    (void)state;
    chalk_nvme_close(nvme);
    for (unsigned limit = 1; limit <= 256; limit *= 2) {
        model->controller.aerl = (uint8_t)(limit - 1);
        assert_int_equal(open_controller(), 0);
        watch();
        assert_int_equal(model->event_count, limit < REQUESTS ? limit : REQUESTS);
        chalk_nvme_close(nvme);
    }
    nvme = NULL;
}

static void an_event_comes_once_with_its_log(void **state)
{
    struct nvme_health *health = (void *)log_page;

    (void)state;
    watch();
    health->critical_warning = CHALK_NVME_WARNS_TEMPERATURE;
    health->temperature[0] = 99;
    for (unsigned i = 1; i <= 100; i++) {
        assert_true(model_event(model, TEMPERATURE, 0));
        assert_int_equal(next(), 0);
        assert_int_equal(event.type, CHALK_NVME_EVENT_HEALTH);
        assert_int_equal(event.log, CHALK_NVME_LOG_HEALTH);
        assert_string_equal(chalk_nvme_event_name(&event), "temperature is out of bounds");
        assert_int_equal(event.error, 0);
        assert_int_equal(event.health.temperature, 99);
        assert_int_equal(event.health.critical_warning, CHALK_NVME_WARNS_TEMPERATURE);
        assert_int_equal(reads, i);
        assert_int_equal(last_read.cdw10 >> 15 & 1, 0); /* the event is not retained */
        assert_int_equal(model->event_count, REQUESTS);
        assert_int_equal(next(), -EAGAIN);
    }
}

static void each_log_is_read_as_what_it_is(void **state)
{
    struct nvme_error_entry *errors = (void *)log_page;
    struct nvme_sanitize_log *sanitize = (void *)log_page;
    uint32_t *words = (void *)log_page;

    (void)state;
    watch();
    for (unsigned i = 0; i < 3; i++)
        errors[i] = (struct nvme_error_entry){.count = 9 - i, .status = 0x280 << 1};
    assert_true(model_event(model, 0x010400, 0));
    assert_int_equal(next(), 0);
    assert_string_equal(chalk_nvme_event_name(&event), "transient internal error");
    assert_int_equal(event.count, 3);
    assert_int_equal(event.errors[2].number, 7);

    memset(log_page, 0, sizeof log_page);
    words[0] = 3;
    words[1] = 77;
    assert_true(model_event(model, NAMESPACES, 0));
    assert_int_equal(next(), 0);
    assert_string_equal(chalk_nvme_event_name(&event), "namespaces have changed");
    assert_int_equal(event.count, 2);
    assert_int_equal(event.changed[1], 77);
    words[0] = UINT32_MAX;
    assert_true(model_event(model, NAMESPACES, 0));
    assert_int_equal(next(), 0);
    assert_int_equal(event.count, UINT_MAX);

    memset(log_page, 0, sizeof log_page);
    log_page[0] = 0x21;
    assert_true(model_event(model, 0x030102, 0));
    assert_int_equal(next(), 0);
    assert_int_equal(event.firmware.next, 2);

    memset(log_page, 0, sizeof log_page);
    sanitize->status = 1;
    assert_true(model_event(model, 0x810106, 0));
    assert_int_equal(next(), 0);
    assert_int_equal(event.sanitize.state, 1);

    memset(log_page, 0x5a, sizeof log_page);
    assert_true(model_event(model, 0xc00007, 0));
    assert_int_equal(next(), 0);
    assert_int_equal(event.bytes[511], 0x5a);
    assert_int_equal(last_read.nsid, CHALK_NVME_ALL);

    assert_true(model_event(model, 0xbfef02, 5));
    assert_int_equal(next(), 0);
    assert_int_equal(event.about, 5);
    assert_int_equal(last_read.nsid, 5); /* whose zones they are */
    assert_int_equal(last_read.cdw14 >> 24, CHALK_NVME_CSI_ZONED);
}

static void one_without_a_log_is_told_at_once(void **state)
{
    (void)state;
    watch();
    assert_true(model_event(model, WITHOUT_LOG, 0));
    assert_int_equal(chalk_nvme_next_event(nvme, &event), 0);
    assert_int_equal(event.type, CHALK_NVME_EVENT_IMMEDIATE);
    assert_int_equal(reads, 0);
}

static void several_are_told_in_their_order(void **state)
{
    uint16_t first;

    (void)state;
    watch();
    first = model->event_requests[0]; /* is answered last */
    model->event_requests[0] = model->event_requests[1];
    model->event_requests[1] = first;
    assert_true(model_event(model, TEMPERATURE, 0));
    assert_true(model_event(model, NAMESPACES, 0));
    assert_int_equal(next(), 0);
    assert_int_equal(event.log, CHALK_NVME_LOG_HEALTH);
    assert_int_equal(next(), 0);
    assert_int_equal(event.log, CHALK_NVME_LOG_CHANGED);
    assert_int_equal(next(), -EAGAIN);
}

static void what_changed_before_is_told_first(void **state)
{
    uint32_t *nsids = (void *)log_page;

    (void)state;
    nsids[0] = 2;
    assert_int_equal(chalk_nvme_watch(nvme, CHALK_NVME_WATCH_ALL), 0);
    assert_int_equal(next(), 0);
    assert_int_equal(event.log, CHALK_NVME_LOG_CHANGED);
    assert_int_equal(event.changed[0], 2);
    assert_int_equal(next(), -EAGAIN);
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(next(), 0);
    assert_int_equal(event.changed[0], 2);
    assert_int_equal(chalk_nvme_watch(nvme, CHALK_NVME_WARNS_SPARE), 0);
    assert_int_equal(next(), -EAGAIN);
}

static void a_log_that_is_refused_is_told_with_the_event(void **state)
{
    (void)state;
    watch();
    refusal = 0x109;
    assert_true(model_event(model, TEMPERATURE, 0));
    assert_int_equal(next(), 0);
    assert_int_equal(event.log, CHALK_NVME_LOG_HEALTH);
    assert_int_equal(event.error, -EINVAL);
}

static void a_log_that_never_comes_ends_in_a_reset(void **state)
{
    int error;

    (void)state;
    fake.step = MS;
    watch();
    assert_true(model_event(model, TEMPERATURE, 0));
    model->mute_until_reset = true;
    for (uint64_t begin = fake.now; (error = chalk_nvme_next_event(nvme, &event)) == -EAGAIN;)
        assert_true(fake.now < begin + 6000 * MS);
    assert_int_equal(error, 0);
    assert_int_equal(event.error, -ETIMEDOUT);
    assert_true(fake_console_has("no answer to Get Log Page (of an event) within 5000 ms"));
    assert_int_equal(model->enables, 2);
    assert_int_equal(next(), -EAGAIN);
    assert_int_equal(model->event_count, REQUESTS);
}

static void a_reset_is_survived(void **state)
{
    (void)state;
    watch();
    for (unsigned i = 0; i < 10; i++) {
        assert_true(model_event(model, TEMPERATURE, 0)); /* which the reset finds untold */
        assert_int_equal(chalk_nvme_reset(nvme), 0);
        assert_int_equal(model->events_wanted, CHALK_NVME_WATCH_NAMESPACES | 0x3f);
        (void)next();
        assert_int_equal(model->event_count, REQUESTS);
        assert_true(model_event(model, NAMESPACES, 0));
        assert_int_equal(next(), 0);
        assert_int_equal(event.log, CHALK_NVME_LOG_CHANGED);
    }
}

static void a_reset_while_a_log_is_read_is_told(void **state)
{
    (void)state;
    watch();
    assert_true(model_event(model, TEMPERATURE, 0));
    model->hold_admin = true;
    assert_int_equal(next(), -EAGAIN);
    model->hold_admin = false;
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(next(), 0);
    assert_int_equal(event.error, -EIO);
    assert_int_equal(next(), -EAGAIN);
    assert_int_equal(model->event_count, REQUESTS);
}

static void a_controller_that_takes_fewer_than_it_says_gets_fewer(void **state)
{
    (void)state;
    watch();
    model->controller.aerl = 0; /* now it says the truth */
    assert_int_equal(chalk_nvme_reset(nvme), 0);
    assert_int_equal(next(), -EAGAIN);
    assert_int_equal(model->event_count, 1);
    assert_true(fake_console_has(
        "accepts 1 of its requests for events, and no more: asynchronous event request limit"));
    assert_true(model_event(model, TEMPERATURE, 0));
    assert_int_equal(next(), 0);
    assert_int_equal(model->event_count, 1);
}

static void a_controller_without_events_says_so(void **state)
{
    (void)state;
    model->refuse_admin = 0x001;
    model->refuse_opcode = NVME_EVENT_REQUEST;
    watch();
    assert_int_equal(next(), -ENOTSUP);
    assert_int_equal(next(), -ENOTSUP);
}

static void one_that_is_gone_says_so(void **state)
{
    (void)state;
    watch();
    model_unplug(model);
    assert_int_equal(chalk_nvme_reset(nvme), -ENODEV);
    assert_int_equal(next(), -ENODEV);
}

/* Events without end, each in answer to the request before, do not keep the driver from anything else. */
static bool flood(struct nvme_model *m, unsigned id, const struct nvme_command *command, uint16_t *status,
                  uint64_t *result)
{
    if ((command->cdw0 & 0xff) != NVME_EVENT_REQUEST)
        return answer(m, id, command, status, result);
    *status = 0;
    *result = TEMPERATURE;
    return true;
}

static void a_flood_of_events_ends_with_each_look(void **state)
{
    struct chalk_nvme_health health;

    (void)state;
    model->execute = flood;
    watch();
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(next(), 0);
    assert_int_equal(chalk_nvme_read_health(nvme, &health), 0);
}

static void there_has_to_be_room_for_a_log(void **state)
{
    struct chalk_memory_usage usage;
    struct chalk_dma rest;

    (void)state;
    chalk_memory_get_usage(memory, &usage);
    for (size_t size = SESSION_MEMORY; chalk_dma_get(memory, size, CHALK_PAGE, &rest) != 0;
         size -= CHALK_PAGE)
        assert_true(size > CHALK_PAGE);
    assert_int_equal(chalk_nvme_watch(nvme, CHALK_NVME_WATCH_ALL), -ENOMEM);
    chalk_dma_put(memory, &rest);
    watch();
}

/* ---- tasks ----------------------------------------------------------------------------------------- */

static struct chalk_loop *loop;
static unsigned told;
static int outcome;

static void wait_for_three(struct chalk_task *self, void *argument)
{
    (void)argument;
    while (told < 3 && (outcome = chalk_nvme_await_event(self, nvme, &event, chalk_deadline(1000 * MS))) == 0)
        told++;
    chalk_loop_stop(loop);
}

/* The model works while the loop sleeps. */
static void report(void *argument)
{
    (void)argument;
    model_event(model, TEMPERATURE, 0);
}

static void run_task(void (*idle)(void *))
{
    const struct chalk_loop_options options = {.memory = memory, .idle = CHALK_IDLE_WAIT};

    told = 0;
    fake.step = MS / 100;
    assert_int_equal(chalk_loop_create(&options, &loop), 0);
    watch();
    fake.idle = idle;
    assert_int_equal(chalk_task_start(loop, NULL, wait_for_three, NULL, NULL), 0);
    assert_int_equal(chalk_loop_run(loop), 0);
    chalk_loop_destroy(loop);
    fake.idle = NULL;
}

static void a_task_waits_for_events(void **state)
{
    (void)state;
    run_task(report);
    assert_int_equal(told, 3);
}

static void a_task_is_interrupted_for_events(void **state)
{
    uint64_t waits;

    (void)state;
    chalk_nvme_close(nvme);
    model->admin_interrupts = true;
    assert_int_equal(open_controller(), 0);
    waits = fake.waits;
    run_task(report);
    assert_int_equal(told, 3);
    assert_in_range(fake.waits - waits, 1, 20);
}

static void a_task_waits_until_its_deadline(void **state)
{
    (void)state;
    run_task(NULL);
    assert_int_equal(told, 0);
    assert_int_equal(outcome, -ETIMEDOUT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(only_what_the_controller_has_is_asked_for),
        TEST(telemetry_is_asked_for_where_there_is_some),
        TEST(an_error_log_is_read_as_far_as_it_goes),
        TEST(as_many_requests_wait_as_the_controller_takes),
        TEST(an_event_comes_once_with_its_log),
        TEST(each_log_is_read_as_what_it_is),
        TEST(one_without_a_log_is_told_at_once),
        TEST(several_are_told_in_their_order),
        TEST(what_changed_before_is_told_first),
        TEST(a_log_that_is_refused_is_told_with_the_event),
        TEST(a_log_that_never_comes_ends_in_a_reset),
        TEST(a_reset_is_survived),
        TEST(a_reset_while_a_log_is_read_is_told),
        TEST(a_controller_that_takes_fewer_than_it_says_gets_fewer),
        TEST(a_controller_without_events_says_so),
        TEST(one_that_is_gone_says_so),
        TEST(a_flood_of_events_ends_with_each_look),
        TEST(there_has_to_be_room_for_a_log),
        TEST(a_task_waits_for_events),
        TEST(a_task_is_interrupted_for_events),
        TEST(a_task_waits_until_its_deadline),
    };

    return cmocka_run_group_tests_name("nvme_events", tests, NULL, NULL);
}
