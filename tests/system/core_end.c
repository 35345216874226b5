/* SPDX-License-Identifier: BSD-2-Clause */
/* core-end HOW: what happens on another core, and to the rest: null, stack, both, exit, and idle for three
 * seconds. */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/main.h>

#include <stdio.h>
#include <string.h>

static const volatile char *volatile nowhere;
static const char *how = "";

static __attribute__((noinline)) int exhaust_stack(unsigned depth)
{
    volatile char frame[1024];

    frame[depth % sizeof frame] = (char)depth;
    return depth == ~0u ? 0 : exhaust_stack(depth + 1) + frame[0];
}

static __attribute__((noinline)) int read_null(void)
{
    return *nowhere;
}

static void run(unsigned core, void *argument)
{
    (void)argument;
    if (!strcmp(how, "stack"))
        exhaust_stack(0);
    if (!strcmp(how, "null") || !strcmp(how, "both"))
        read_null();
    if (!strcmp(how, "exit")) {
        printf("core %u ends everything\n", core);
        chalk_exit(7);
    }
    if (core == 1)
        return; /* an idle core may have run, or sleep, or never have been started */
    for (;;)
        chalk_sleep(core, 3600 * CHALK_S);
}

int chalk_main(int argc, char *argv[])
{
    how = argc > 1 ? argv[1] : "";
    for (unsigned core = 1; core < 3; core++)
        if (chalk_core_start(core, run, NULL) != 0)
            return 2;
    if (!strcmp(how, "idle")) {
        chalk_sleep(0, 3 * CHALK_S);
        return 0;
    }
    for (;;) /* core 0 looks for nothing, and takes no interrupt */
        if (!strcmp(how, "both"))
            read_null();
}
