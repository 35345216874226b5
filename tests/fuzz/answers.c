/* SPDX-License-Identifier: BSD-2-Clause */
/* See answers.h. */
#include "answers.h"

#include <platform_fake.h>
#include <record/seam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS         1000000ull
#define FIRST_STEP 1000       /* ns, between two looks at the time */
#define LAST_STEP  (100 * MS) /* ... when nothing but that happens */
#define PATIENCE   8          /* looks, before time goes faster */
#define MOST       (1u << 20) /* answers in a life: there are a few thousand */

#define PATIENT 16 /* n of ANSWER_RAW: see answers.h */

const bool seam_replays = true;
unsigned answers_lies;

static const struct answers_device *device;
static const uint8_t *input;
static size_t left;
static enum answers_end end;
static enum answer what;
static unsigned how, count; /* of what is done with the next `count` answers */
static unsigned answers, looks;
static uint64_t limit, last;
static bool shown; /* every step, with what it was answered */

_Noreturn void answers_fail(const char *condition, const char *file, int line)
{
    dprintf(2, "%s:%d: not so: %s; the console has:\n%s", file, line, condition, fake.console);
    abort();
}

/* ---- time ------------------------------------------------------------------------------------------ */

/* Time creeps while the driver does something, and runs while it only waits. */
static void idle(void *argument)
{
    (void)argument;
    REQUIRE(fake.now <= limit);
    if (++looks > PATIENCE && fake.step < LAST_STEP)
        fake.step *= 2;
    if (device->work != NULL)
        device->work();
}

static void hold_time_up(void)
{
    looks = 0;
    fake.step = FIRST_STEP;
}

void answers_limit(uint64_t ns)
{
    limit = fake.now + ns;
}

/* ---- the input ------------------------------------------------------------------------------------- */

void answers_begin(const uint8_t *data, size_t size, const struct answers_device *of)
{
    seam_begin();
    device = of;
    input = data;
    left = size;
    end = ANSWERS_END_TRUE;
    shown = getenv("CHALK_FUZZ_SHOW") != NULL;
    count = answers = answers_lies = 0;
    last = 0;
    limit = UINT64_MAX;
    fake.idle = idle;
    hold_time_up();
}

void answers_end(enum answers_end how_it_ends)
{
    end = how_it_ends;
}

uint8_t answers_take(void)
{
    return left != 0 ? (left--, *input++) : 0;
}

/* Up to 8 bytes as they are; more as {zeroes, so many, that many bytes}, until both are none, and the rest is
 * zero. */
static void answer_raw(uint8_t *answer, size_t size)
{
    size_t at = 0;

    while (size <= 8 && at < size)
        answer[at++] = answers_take();
    while (at < size) {
        size_t zeroes = answers_take(), bytes = answers_take();

        if (zeroes == 0 && bytes == 0)
            zeroes = size;
        for (; zeroes != 0 && at < size; zeroes--)
            answer[at++] = 0;
        for (; bytes != 0 && at < size; bytes--)
            answer[at++] = answers_take();
    }
}

static void answer_flip(uint8_t *answer, size_t size)
{
    size_t where = answers_take();

    if (size <= 8) {
        answer[where / 8 % size] ^= (uint8_t)(1u << where % 8);
        return;
    }
    if (where >= 128) /* most that matters is at the beginning */
        where = where << 8 | answers_take();
    for (unsigned i = 0; i <= how; i++)
        answer[(where + i) % size] = answers_take();
}

static uint64_t special(uint64_t value)
{
    switch (how % 8) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return value + 1;
    case 3:
        return value - 1;
    case 4:
        return last;
    case 5:
        return value ^ 1u << 16; /* a phase */
    case 6:
        return value << 1;
    default:
        return answers_take();
    }
}

static void answer_special(uint8_t *answer, size_t size)
{
    uint64_t value = 0;

    if (size > 8) {
        memset(answer, how % 2 != 0 ? 0xff : 0, size);
        return;
    }
    memcpy(&value, answer, size);
    value = special(value);
    memcpy(answer, &value, size);
}

/* What is done with the next answers; or something is done at once. */
static void begin_next(void)
{
    uint8_t byte = answers_take();

    what = byte % 8;
    how = byte / 8;
    switch (what) {
    case ANSWER_TRUE:
        count = how + 1;
        break;
    case ANSWER_RAW:
        count = how % PATIENT + 1;
        break;
    case ANSWER_AGAIN:
        count = 8 * (how + 1);
        break;
    case ANSWER_GONE:
        answers_lies++;
        device->unplug();
        break;
    case ANSWER_INTERRUPT:
        device->interrupt(how);
        break;
    case ANSWER_LATER:
        fake.now += MS << how % 16;
        limit += limit != UINT64_MAX ? MS << how % 16 : 0;
        break;
    default:
        count = 1;
    }
}

/* Leaves the model's answer, or makes another of it. */
static void choose(uint8_t *answer, size_t size)
{
    if (count == 0) {
        if (end == ANSWERS_END_TRUE)
            return;
        answers_lies++;
        memset(answer, end == ANSWERS_END_GONE ? 0xff : 0, size);
        return;
    }
    count--;
    answers_lies += what != ANSWER_TRUE;
    switch (what) {
    case ANSWER_RAW:
        answer_raw(answer, size);
        break;
    case ANSWER_FLIP:
        answer_flip(answer, size);
        break;
    case ANSWER_SPECIAL:
        answer_special(answer, size);
        break;
    case ANSWER_AGAIN:
        if (size <= 8)
            memcpy(answer, &last, size);
        break;
    default:
        break;
    }
}

/* ---- the seam -------------------------------------------------------------------------------------- */

static bool begins(const char *step, const char *with)
{
    return strncmp(step, with, strlen(with)) == 0;
}

/* What the input makes of one answer. */
static void decide(const char *step, void *answer, size_t size)
{
    static char before[SEAM_STEP_SIZE];
    bool again = size <= 8 && answers != 0 && strcmp(step, before) == 0;

    REQUIRE(++answers < MOST);
    snprintf(before, sizeof before, "%s", step);
    while (count == 0 && left != 0 && !(again && *input % 8 == ANSWER_RAW && *input / 8 >= PATIENT))
        begin_next();
    if (count == 0 && left != 0) { /* what comes next is patient */
        answers_lies++;
        memcpy(answer, &last, size);
    } else {
        choose(answer, size);
    }
    if (size <= 8) {
        last = 0;
        memcpy(&last, answer, size);
    }
}

static void show(const char *step, const void *answer, size_t size)
{
    uint64_t number = 0;

    if (size != 0)
        memcpy(&number, answer, size < 8 ? size : 8);
    dprintf(2, size != 0 ? "%s = %#llx\n" : "%s\n", step, (unsigned long long)number);
}

void seam_step(const char *step, void *answer, size_t size)
{
    if (begins(step, "grow"))
        memcpy(answer, (uint64_t[]){(fake.next_iova + 4095) & ~4095ull, 4096}, size);
    else if (size == 0)
        hold_time_up();
    else if (begins(step, "read") || begins(step, "config read") || begins(step, "observe"))
        decide(step, answer, size); /* else it is the platform's, and true */
    if (shown)
        show(step, answer, size);
}

void seam_place_span(uint64_t iova)
{
    fake.next_iova = iova;
}
