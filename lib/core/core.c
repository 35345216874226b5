/* SPDX-License-Identifier: BSD-2-Clause */
/* What starting, joining and sleeping are in terms of the contract. */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/log.h>

#define LOOK_NS CHALK_MS /* nobody is told when a core ends: so it is looked for, seldom */

unsigned chalk_core_count(void)
{
    struct chalk_core_info info;
    unsigned count = 0;

    while (chalk_core_get_info(count, &info) == 0)
        count++;
    return count;
}

int chalk_core_check(unsigned core, const char *call)
{
    struct chalk_core_info info;
    unsigned count;

    if (chalk_core_get_info(core, &info) == 0)
        return 0;
    count = chalk_core_count();
    chalk_log(CHALK_ERROR, "%s(): there is no core %u; there %s %u, numbered from 0", call, core,
              count == 1 ? "is" : "are", count);
    return -ENOENT;
}

int chalk_core_start_any(void (*entry)(unsigned, void *), void *argument)
{
    struct chalk_core_info info;
    int error = -EBUSY;

    for (unsigned core = 0; error == -EBUSY && chalk_core_get_info(core, &info) == 0; core++)
        if (!info.running) {
            error = chalk_core_start(core, entry, argument);
            if (error == 0)
                return (int)core;
        }
    return error;
}

void chalk_sleep_until(unsigned self, uint64_t deadline)
{
    struct chalk_core_info info;

    if (chalk_core_get_info(self, &info) != 0) {
        (void)chalk_core_check(self, "chalk_sleep_until");
        chalk_exit(134); /* as a failed assertion, and as chalk_core_wait() does */
    }
    while (!chalk_expired(deadline))
        chalk_core_wait(self, *info.events, deadline);
}

int chalk_core_join(unsigned self, unsigned core, uint64_t deadline)
{
    struct chalk_core_info info;

    if (chalk_core_check(core, "chalk_core_join") != 0)
        return -ENOENT;
    while (chalk_core_get_info(core, &info) == 0 && info.running) {
        uint64_t look = chalk_deadline(LOOK_NS);

        if (chalk_expired(deadline))
            return -ETIMEDOUT;
        chalk_sleep_until(self, look < deadline ? look : deadline);
    }
    return 0;
}
