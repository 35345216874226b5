/* SPDX-License-Identifier: BSD-2-Clause */
/* chalk_block_do() on a queue that is slow, full, broken or silent. */
#include "platform_fake.h"
#include <chalk/block.h>
#include <chalk/clock.h>
#include <chalk/error.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A queue that takes one request, and finishes it `polls_needed` polls after the kick. */
static struct {
    struct chalk_block_queue queue; /* first: see model_of() */
    struct chalk_block_request *held;
    bool kicked;
    unsigned kicks, polls_needed, full_for;
    int submit_error, status, poll_error;
} model;

static int model_submit(struct chalk_block_queue *queue, struct chalk_block_request *const *requests,
                        unsigned count)
{
    assert_ptr_equal(queue, &model.queue);
    assert_int_equal(count, 1);
    if (model.submit_error)
        return model.submit_error;
    if (model.full_for) {
        model.full_for--;
        return -EAGAIN;
    }
    assert_null(model.held);
    model.held = requests[0];
    return 1;
}

static void model_kick(struct chalk_block_queue *queue)
{
    (void)queue;
    model.kicked = model.held != NULL;
    model.kicks++;
}

static int model_poll(struct chalk_block_queue *queue, unsigned max)
{
    struct chalk_block_request *request = model.held;

    (void)queue;
    (void)max;
    if (model.poll_error)
        return model.poll_error;
    if (!model.kicked || model.polls_needed == 0 || --model.polls_needed > 0)
        return 0;
    model.held = NULL;
    model.kicked = false;
    request->done(request, model.status);
    return 1;
}

static const struct chalk_block_ops ops = {.submit = model_submit, .kick = model_kick, .poll = model_poll};

static int setup(void **state)
{
    (void)state;
    fake_reset();
    memset(&model, 0, sizeof model);
    model.queue.ops = &ops;
    model.polls_needed = 1;
    return 0;
}

static void callers_own(struct chalk_block_request *request, int status)
{
    (void)request;
    (void)status;
    fail_msg("the caller's own callback was called");
}

static struct chalk_block_request flush(void)
{
    return (struct chalk_block_request){.op = CHALK_BLOCK_FLUSH, .done = callers_own, .context = &model};
}

static void request_is_kicked_polled_and_given_back(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    assert_int_equal(chalk_block_do(&model.queue, &request, chalk_deadline(CHALK_S)), 0);
    assert_int_equal(model.kicks, 1);
    assert_ptr_equal(request.done, callers_own);
    assert_ptr_equal(request.context, &model);
}

static void status_of_the_request_is_returned(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    model.polls_needed = 1000;
    model.status = -EIO;
    assert_int_equal(chalk_block_do(&model.queue, &request, CHALK_FOREVER), -EIO);
    assert_ptr_equal(request.done, callers_own);
}

static void refused_request_is_given_back(void **state)
{
    static const int errors[] = {-EINVAL, -ERANGE, -EIO};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct chalk_block_request request = flush();
        model.submit_error = errors[i];
        assert_int_equal(chalk_block_do(&model.queue, &request, CHALK_FOREVER), errors[i]);
        assert_ptr_equal(request.done, callers_own);
        assert_ptr_equal(request.context, &model);
    }
    assert_int_equal(model.kicks, 0);
}

static void full_queue_is_waited_for(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    model.full_for = 50;
    assert_int_equal(chalk_block_do(&model.queue, &request, chalk_deadline(CHALK_S)), 0);
    assert_int_equal(model.kicks, 51);
}

static void queue_that_stays_full_takes_nothing(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    model.submit_error = -EAGAIN;
    assert_int_equal(chalk_block_do(&model.queue, &request, chalk_deadline(CHALK_MS)), -EAGAIN);
    assert_ptr_equal(request.done, callers_own); /* the request is the caller's again */
    assert_null(model.held);
}

static void queue_that_fails_while_full(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    model.submit_error = -EAGAIN;
    model.poll_error = -ENODEV;
    assert_int_equal(chalk_block_do(&model.queue, &request, CHALK_FOREVER), -ENODEV);
}

static void deadline_that_has_passed_still_polls_once(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    assert_int_equal(chalk_block_do(&model.queue, &request, 1), 0);
}

static int do_and_leave(struct chalk_block_request *request)
{
    return chalk_block_do(&model.queue, request, chalk_deadline(5 * CHALK_MS));
}

/* The queue is silent; the answer comes long after, when the stack of chalk_block_do() is somebody else's. */
static void late_answer_touches_the_request_only(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    model.polls_needed = 0;
    uint64_t before = fake.now;
    assert_int_equal(do_and_leave(&request), -ETIMEDOUT);
    assert_in_range(fake.now - before, 5 * CHALK_MS, 6 * CHALK_MS);
    assert_ptr_equal(model.held, &request);
    model.polls_needed = 1;
    assert_int_equal(chalk_block_poll(&model.queue, 0), 1);
    assert_null(model.held);
}

static void queue_that_fails_without_calling_back(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    model.poll_error = -EIO;
    assert_int_equal(chalk_block_do(&model.queue, &request, CHALK_FOREVER), -EIO);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

static void what_a_driver_cannot_cancel_is_refused(void **state)
{
    struct chalk_block_request request = flush();

    (void)state;
    assert_int_equal(chalk_block_cancel(&model.queue, &request), -ENOTSUP);
}

static void every_operation_has_a_name(void **state)
{
    (void)state;
    for (unsigned op = 0; op <= CHALK_BLOCK_DRIVER; op++) {
        assert_string_not_equal(chalk_block_op_name(op), "unknown operation");
        for (unsigned other = 0; other < op; other++)
            assert_string_not_equal(chalk_block_op_name(op), chalk_block_op_name(other));
    }
    assert_string_equal(chalk_block_op_name(CHALK_BLOCK_DRIVER + 1), "unknown operation");
    assert_string_equal(chalk_block_op_name(~0u), "unknown operation");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(request_is_kicked_polled_and_given_back),
        TEST(status_of_the_request_is_returned),
        TEST(refused_request_is_given_back),
        TEST(full_queue_is_waited_for),
        TEST(queue_that_stays_full_takes_nothing),
        TEST(queue_that_fails_while_full),
        TEST(deadline_that_has_passed_still_polls_once),
        TEST(late_answer_touches_the_request_only),
        TEST(queue_that_fails_without_calling_back),
        TEST(what_a_driver_cannot_cancel_is_refused),
        TEST(every_operation_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
