/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver of examples/edu.c and its model. The program has its own steps: it is run as it is. It comes to
 * its end whatever the device does; and if that does nothing wrong, the answers are right.
 */
#include "scenario.h"

#include "tools/models/edu.h"

#include <chalk/clock.h>
#include <chalk/main.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char answers[] = "identity 010000ed\n"
                              "3! = 6\n"
                              "6! = 720\n"
                              "9! = 362880\n"
                              "12! = 479001600\n"
                              "copied: there and back again\n";

static const struct scenario *scenario;
static struct edu_model model;
static char said[512];

/* What the program prints. */
int sim_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
int sim_say(const char *format, ...)
{
    char text[128];
    va_list list;
    int size;

    va_start(list, format);
    size = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    chalk_console(text, strlen(text), true);
    if (strlen(said) + strlen(text) < sizeof said)
        strcat(said, text);
    return size;
}

static void run(unsigned core, void *argument)
{
    char name[] = "edu", *argv[] = {name, NULL};
    int status = chalk_main(1, argv);

    (void)core, (void)argument;
    if (scenario->script.count == 0 && (status != 0 || strcmp(said, answers) != 0))
        sim_fail("a device without a fault gives status %d and\n%s", status, said);
}

static void run_scenario(const struct scenario *given)
{
    static struct scenario copy;

    copy = *given;
    scenario = &copy;
    said[0] = '\0';
    edu_model_init(&model, &sim_world);
    model.model.script = scenario->script.count != 0 ? &copy.script : NULL;
    scenario_run(scenario, &model.model, true, run);
}

static const char *const none[] = {NULL};
static const char *const faults[] = {
    "completion factorial %1: ignore",
    "completion copy %1: ignore",
    "completion factorial %1: late %2",
    "completion copy %1: late %2",
    "command factorial %1: ignore",
    "command copy %1: ignore",
    "interrupt %1: ignore",
    "interrupt %1: twice",
    "interrupt %1: mute",
    "interrupt %1: storm 20",
    "time %2: vanish",
    "completion copy %1: vanish",
    "completion factorial %1: vanish",
    "read status %1: vanish",
    NULL,
};
static const char *const lies[] = {
    "command factorial %1: garbage",  "command copy %1: garbage",
    "command copy %1: short %1",      "read interrupt-status %1: value %3",
    "read dma-command %1-: value 1",  "read factorial %1: value %3",
    "read identity 1: value %3",      "write interrupt-acknowledge %1: ignore",
    "write factorial %1: ignore",     "write dma-command %1: ignore",
    "write dma-command %1: value %3", NULL,
};

const struct driver driver = {.names = &edu_names,
                              .failures = none,
                              .passing = none,
                              .faults = faults,
                              .lies = lies,
                              .changes = none,
                              .run = run_scenario};
