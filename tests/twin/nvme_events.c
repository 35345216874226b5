/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asynchronous events of QEMU's controller, or of the model, which is at 50 degrees: a threshold below that
 * is an event, and so is each namespace that comes or goes. Its second namespace is not attached at first.
 */
#include <chalk/clock.h>
#include <chalk/loop.h>
#include <chalk/main.h>
#include <chalk/nvme_admin.h>

#include <string.h>

#include "nvme_device.h"
#include "nvme_event.h"

#define PATIENCE (20 * CHALK_S)
#define COLD     0x100u /* kelvin: thresholds below and above the controller's temperature */
#define HOT      0x157u

struct world {
    struct chalk_memory *memory;
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
};

static struct chalk_nvme_event event;

static bool open_controller(struct world *w, bool interrupts)
{
    const struct chalk_nvme_options options = {
        .memory = w->memory, .domain = w->domain, .interrupts = interrupts};

    return expect_result(chalk_nvme_open(w->device, &options, &w->nvme), 0,
                         interrupts ? "opening the controller, with interrupts" : "opening the controller") &&
           expect_result(chalk_nvme_watch(w->nvme, CHALK_NVME_WATCH_ALL), 0, "asking for all events");
}

static int set_threshold(struct world *w, uint32_t kelvin)
{
    return chalk_nvme_set_feature(w->nvme, CHALK_NVME_FEATURE_TEMPERATURE, false, 0,
                                  CHALK_NVME_TEMPERATURE(kelvin, 0, 0));
}

static int attach_second(struct world *w, bool attach)
{
    return attach_here(w->nvme, 2, attach);
}

/* ---- in a straight line ---------------------------------------------------------------------------- */

static int next(struct world *w, uint64_t patience)
{
    return next_event(w->nvme, patience, &event);
}

static void too_hot(struct world *w, const char *what)
{
    if (expect_result(next(w, PATIENCE), 0, what)) {
        expect(event.type == CHALK_NVME_EVENT_HEALTH &&
                   strcmp(chalk_nvme_event_name(&event), "temperature is out of bounds") == 0,
               "the temperature is out of bounds");
        expect(event.error == 0 && event.health.temperature == 323 &&
                   (event.health.critical_warning & CHALK_NVME_WARNS_TEMPERATURE) != 0,
               "the health log that comes with it says so too");
    }
}

static void changed(struct world *w, const char *what)
{
    if (expect_result(next(w, PATIENCE), 0, what))
        expect(event.type == CHALK_NVME_EVENT_NOTICE && event.log == CHALK_NVME_LOG_CHANGED &&
                   event.error == 0 && event.count == 1 && event.changed[0] == 2,
               "the second namespace has changed");
}

static void straight(struct world *w)
{
    expect_result(next(w, 100 * CHALK_MS), -EAGAIN, "the next event");
    expect_result(set_threshold(w, COLD), 0, "lowering the temperature threshold");
    too_hot(w, "the next event");
    expect_result(next(w, 100 * CHALK_MS), -EAGAIN, "another");
    expect_result(set_threshold(w, COLD), 0, "lowering it again");
    too_hot(w, "the next event");
    expect_result(set_threshold(w, HOT), 0, "raising it");
    expect_result(next(w, 100 * CHALK_MS), -EAGAIN, "the next event");

    expect_result(attach_second(w, true), 0, "attaching a namespace");
    changed(w, "the next event");
    expect_result(attach_second(w, false), 0, "detaching it");
    changed(w, "the next event");
    expect_result(attach_second(w, true), 0, "attaching it, before a threshold is lowered");
    expect_result(set_threshold(w, COLD), 0, "lowering it");
    changed(w, "the next event");
    too_hot(w, "and the one after that");

    for (unsigned i = 0; i < 3; i++) {
        expect_result(chalk_nvme_reset(w->nvme), 0, "resetting the controller");
        expect_result(next(w, 100 * CHALK_MS), -EAGAIN, "the next event");
        expect_result(set_threshold(w, COLD), 0, "lowering the threshold");
        too_hot(w, "the next event");
    }
    expect_result(chalk_nvme_watch(w->nvme, 0), 0, "asking for no events");
    expect_result(set_threshold(w, COLD), 0, "lowering the threshold");
    expect_result(next(w, 100 * CHALK_MS), -EAGAIN, "the next event");
    expect_result(set_threshold(w, HOT), 0, "raising it");
    expect_result(attach_second(w, false), 0, "detaching the namespace");
    expect_result(chalk_nvme_watch(w->nvme, CHALK_NVME_WATCH_ALL), 0, "asking for all events again");
    changed(w, "what has happened meanwhile");
}

/* ---- in a loop ------------------------------------------------------------------------------------- */

static struct chalk_loop *loop;
static struct world *in_loop;
static unsigned told;

static void await_three(struct chalk_task *self, void *argument)
{
    (void)argument;
    for (told = 0; told < 3; told++)
        if (!expect_result(chalk_nvme_await_event(self, in_loop->nvme, &event, chalk_deadline(PATIENCE)), 0,
                           "a task waits for an event"))
            break;
    expect_result(chalk_nvme_await_event(self, in_loop->nvme, &event, chalk_deadline(100 * CHALK_MS)),
                  -ETIMEDOUT, "and for one that does not come");
    chalk_loop_stop(loop);
}

static void cause_three(struct chalk_task *self, void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 3; i++) {
        chalk_task_sleep(self, chalk_deadline(20 * CHALK_MS));
        if (set_threshold(in_loop, COLD) != 0)
            chalk_loop_stop(loop);
        while (told == i)
            chalk_task_sleep(self, chalk_deadline(CHALK_MS));
    }
}

/* The same with a callback: a poller that asks, whenever the loop turns. */
static unsigned ask(struct chalk_poller *poller)
{
    (void)poller;
    if (chalk_nvme_next_event(in_loop->nvme, &event) != 0)
        return 0;
    if (++told == 3)
        chalk_loop_stop(loop);
    return 1;
}

static void with_loop(struct world *w)
{
    const struct chalk_loop_options options = {.memory = w->memory, .idle = CHALK_IDLE_WAIT};
    struct chalk_poller poller = {.poll = ask, .name = "events", .awake = true};

    in_loop = w;
    if (!expect_result(chalk_loop_create(&options, &loop), 0, "a loop"))
        return;
    expect_result(chalk_task_start(loop, NULL, await_three, NULL, NULL), 0, "a task that waits for events");
    expect_result(chalk_task_start(loop, NULL, cause_three, NULL, NULL), 0, "and one that causes them");
    expect_result(chalk_loop_run(loop), 0, "running both");
    told = 0;
    chalk_loop_add(loop, &poller);
    expect_result(chalk_task_start(loop, NULL, cause_three, NULL, NULL), 0, "a task that causes events");
    expect_result(chalk_loop_run(loop), 0, "running it, with a poller that asks for them");
    expect(told == 3, "three were told");
    chalk_loop_destroy(loop);
}

int chalk_main(int argc, char *argv[])
{
    struct world w = {0};

    (void)argc;
    (void)argv;
    if (!open_nvme(4u << 20, &w.memory, &w.domain, &w.device))
        return 1;
    for (int interrupts = 0; interrupts < 2; interrupts++) {
        if (!open_controller(&w, interrupts))
            break;
        straight(&w);
        chalk_nvme_close(w.nvme);
        if (!open_controller(&w, interrupts))
            break;
        with_loop(&w);
        chalk_nvme_close(w.nvme);
    }
    close_nvme(w.memory, w.domain, w.device);
    return twin_failures != 0;
}
