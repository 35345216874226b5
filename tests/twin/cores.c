/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cores, as the contract has them: cores [MESSAGES]. Every core runs what it is given, has libc to itself,
 * sleeps until it is woken, its deadline comes or its device interrupts, and no wake-up is lost, however many
 * there are. Runs on any number of cores. The interrupts are those of QEMU's educational device (QEMU
 * docs/specs/edu), if there is one.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/device.h>
#include <chalk/main.h>
#include <chalk/mmio.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "twin.h"

#define CORES_MAX 64
#define PATIENCE  (60 * CHALK_S)
#define MESSAGES  2000u

static unsigned core_count;
static unsigned messages = MESSAGES;
static _Thread_local unsigned own = 17;

static _Atomic(uint32_t) *counter_of(void *argument)
{
    return argument;
}

/* Waits until *word is `wanted`, as everybody should: read the event word, look, then wait. */
static bool await(unsigned self, _Atomic(uint32_t) *word, uint32_t wanted)
{
    struct chalk_core_info info;
    uint64_t deadline = chalk_deadline(PATIENCE);

    chalk_core_get_info(self, &info);
    for (;;) {
        uint32_t seen = *info.events;

        if (*word == wanted)
            return true;
        if (chalk_expired(deadline))
            return false;
        chalk_core_wait(self, seen, deadline);
    }
}

static bool join_all(void)
{
    bool joined = true;

    for (unsigned core = 1; core < core_count; core++)
        joined &= chalk_core_join(0, core, chalk_deadline(PATIENCE)) == 0;
    return joined;
}

/* ---- starting ---- */

static struct {
    unsigned number;
    bool own_errno, own_variable, allocates;
    _Atomic(uint32_t) go;
} started[CORES_MAX];

static void use_libc(unsigned core, void *argument)
{
    char text[32], *copy;

    started[core].own_variable = own == 17;
    own = core;
    snprintf(text, sizeof text, "core %u: %.3f", core, core / 8.0);
    copy = strdup(text);
    started[core].allocates = copy != NULL && strncmp(copy, "core ", 5) == 0;
    free(copy);
    started[core].number = core;
    errno = (int)core;
    ++*counter_of(argument);
    chalk_core_wake(0);
    await(core, &started[core].go, 1);
    started[core].own_variable &= own == core;
    started[core].own_errno = errno == (int)core;
}

static void nothing(unsigned core, void *argument)
{
    (void)core;
    ++*counter_of(argument);
}

static void starting(void)
{
    _Atomic(uint32_t) count = 0;
    struct chalk_core_info info;
    bool begun = true, busy = true, apart = true, numbers = true, variables = true, errors = true,
         heap = true;
    bool marked = true, again = true;

    for (unsigned core = 1; core < core_count; core++)
        begun &= chalk_core_start(core, use_libc, &count) == 0;
    expect(begun, "every other core starts");
    expect(await(0, &count, core_count - 1), "and comes to run");
    for (unsigned core = 0; core < core_count; core++)
        busy &= chalk_core_start(core, use_libc, &count) == -EBUSY;
    expect(busy, "a core that runs is busy");
    expect(chalk_core_start_any(use_libc, &count) == -EBUSY, "and none is left");
    expect_result(chalk_core_start(core_count, use_libc, &count), -ENOENT, "a core past the last");
    expect_result(chalk_core_start(UINT32_MAX, use_libc, &count), -ENOENT, "a core that cannot be");
    for (unsigned core = 0; core < core_count; core++) {
        marked &= chalk_core_get_info(core, &info) == 0 && info.running;
        for (unsigned other = 0; other < core; other++) {
            struct chalk_core_info another;

            apart &= chalk_core_get_info(other, &another) == 0 && another.events != info.events &&
                     (another.package != info.package || another.core != info.core ||
                      another.thread != info.thread);
        }
    }
    expect(marked, "all of them are said to run");
    expect(apart, "each is at a place, and has an event word, of its own");
    own = 1000, errno = ENOTTY;
    if (core_count > 1)
        expect_result(chalk_core_join(0, 1, chalk_deadline(5 * CHALK_MS)), -ETIMEDOUT,
                      "joining one that runs");
    for (unsigned core = 1; core < core_count; core++) {
        started[core].go = 1;
        chalk_core_wake(core);
    }
    expect(join_all(), "they end");
    expect(own == 1000, "a thread-local variable of core 0 is its own");
    for (unsigned core = 1; core < core_count; core++) {
        numbers &= started[core].number == core;
        variables &= started[core].own_variable;
        errors &= started[core].own_errno;
        heap &= started[core].allocates;
        marked &= chalk_core_get_info(core, &info) == 0 && !info.running;
    }
    expect(numbers, "each was told its number");
    expect(variables, "each had its thread-local variables, fresh");
    expect(errors, "each had its errno");
    expect(heap, "each could allocate and print");
    expect(marked, "none is said to run any more");
    count = 0;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned core = 1; core < core_count; core++)
            again &= chalk_core_start(core, nothing, &count) == 0;
        again &= join_all();
    }
    expect(again && count == 20 * (core_count - 1), "a core that has ended starts again, 20 times");
}

/* ---- waiting ---- */

static void wait_until_late(unsigned core, void *argument)
{
    struct chalk_core_info info;
    uint64_t start = chalk_ticks(), deadline = chalk_deadline(30 * CHALK_MS);

    chalk_core_get_info(core, &info);
    chalk_sleep_until(core, deadline);
    uint64_t slept = chalk_ticks_to_ns(chalk_ticks() - start);
    *counter_of(argument) += slept >= 29 * CHALK_MS && slept < PATIENCE;
    chalk_core_wake(core);
    start = chalk_ticks();
    chalk_core_wait(core, *info.events - 1, chalk_deadline(PATIENCE)); /* woken before it waits */
    *counter_of(argument) += chalk_ticks_to_ns(chalk_ticks() - start) < PATIENCE / 2;
    chalk_core_wait(core, *info.events, 0);
    chalk_core_wait(core, *info.events, 1); /* long past */
    *counter_of(argument) += 1;
}

static void waiting(void)
{
    _Atomic(uint32_t) passed = 0;
    bool begun = true;

    for (unsigned core = 1; core < core_count; core++)
        begun &= chalk_core_start(core, wait_until_late, &passed) == 0;
    wait_until_late(0, &passed);
    expect(begun && join_all() && passed == 3 * core_count,
           "every core wakes by its own timer, and is not woken twice");
}

/* ---- messages ---- */

struct line { /* between core 0 and another */
    _Alignas(128) _Atomic(uint32_t) there;
    _Alignas(128) _Atomic(uint32_t) back;
};
static struct line lines[CORES_MAX];

static void answer(unsigned core, void *argument)
{
    struct line *line = argument;

    for (uint32_t i = 1; i <= messages; i++) {
        if (!await(core, &line->there, i))
            return;
        line->back = i;
        chalk_core_wake(0);
    }
}

/* One at a time, so that each is waited for, and a wake-up that is lost would be missed. */
static void ping_pong(void)
{
    bool begun = true, answered = true;

    for (unsigned core = 1; core < core_count; core++)
        begun &= chalk_core_start(core, answer, &lines[core]) == 0;
    for (uint32_t i = 1; i <= messages && answered; i++) {
        for (unsigned core = 1; core < core_count; core++) {
            lines[core].there = i;
            chalk_core_wake(core);
        }
        for (unsigned core = 1; core < core_count; core++)
            answered &= await(0, &lines[core].back, i);
    }
    expect(begun && answered && join_all(), "messages to every core and back: none is lost");
}

static _Atomic(uint32_t) flood;

static void pour(unsigned core, void *argument)
{
    (void)core, (void)argument;
    for (unsigned i = 0; i < messages; i++) {
        flood++;
        chalk_core_wake(0);
    }
}

static void many_to_one(void)
{
    bool begun = true;

    for (unsigned core = 1; core < core_count; core++)
        begun &= chalk_core_start(core, pour, NULL) == 0;
    expect(begun && await(0, &flood, messages * (core_count - 1)) && join_all(),
           "and from all of them at once");
}

/* ---- interrupts ---- */

enum { EDU_RAISE = 0x60, EDU_ACKNOWLEDGE = 0x64, EDU_SIZE = 0x100 };

static struct {
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_mmio registers;
    _Atomic(uint32_t) interrupts, listening, handled;
} edu;

static bool open_edu(void)
{
    struct chalk_bus_info info = {0};

    while (chalk_bus_next(&info) == 0)
        if (info.vendor == 0x1234 && info.device == 0x11e8)
            return chalk_device_open(info.name, &edu.domain, &edu.device) == 0 &&
                   chalk_window_map(edu.device, 0, 0, EDU_SIZE, CHALK_UNCACHED, &edu.registers) == 0 &&
                   chalk_pci_bus_master(edu.device, true) == 0;
    return false;
}

static void handle(unsigned core, void *argument)
{
    struct chalk_core_info info;
    uint64_t deadline = chalk_deadline(PATIENCE);
    uint32_t before = edu.interrupts;

    (void)argument;
    chalk_core_get_info(core, &info);
    if (core != 0) {
        edu.listening = core;
        chalk_core_wake(0);
    }
    for (;;) {
        uint32_t seen = *info.events;

        if (edu.interrupts != before || chalk_expired(deadline))
            break;
        chalk_core_wait(core, seen, deadline);
    }
    chalk_mmio_write32(&edu.registers, EDU_ACKNOWLEDGE, 1);
    chalk_vector_rearm(edu.device, 0);
    edu.handled += edu.interrupts == before + 1;
}

static void interrupts(void)
{
    bool aimed = true;

    if (!open_edu())
        return;
    for (unsigned core = 0; core < core_count; core++) {
        aimed &= chalk_vector_attach(edu.device, 0, core, &edu.interrupts) == 0;
        if (core != 0)
            aimed &= chalk_core_start(core, handle, NULL) == 0 && await(0, &edu.listening, core);
        chalk_mmio_write32(&edu.registers, EDU_RAISE, 1);
        if (core == 0)
            handle(0, NULL);
        else
            aimed &= chalk_core_join(0, core, chalk_deadline(PATIENCE)) == 0;
    }
    expect(aimed && edu.handled == core_count, "a device interrupts every core in turn, and no other");
    expect_result(chalk_vector_attach(edu.device, 0, core_count, &edu.interrupts), -EINVAL,
                  "a core past the last");
    chalk_device_close(edu.device);
}

int chalk_main(int argc, char *argv[])
{
    if (argc > 1)
        messages = (unsigned)strtoul(argv[1], NULL, 10);
    core_count = chalk_core_count();
    if (!expect(core_count >= 1 && core_count <= CORES_MAX, "there are cores"))
        return 1;
    starting();
    waiting();
    ping_pong();
    many_to_one();
    interrupts();
    return twin_failures != 0;
}
