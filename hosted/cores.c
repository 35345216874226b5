/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cores are the processors that Linux lets this process use, in its order. A core runs a thread: the one that
 * called chalk_start() is core 0, others are started, or adopted. They are tied to their processors only when
 * that was asked.
 */
#define _GNU_SOURCE
#include "cores.h"
#include "events.h"
#include "guard.h"
#include "start.h"
#include "sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/log.h>

static struct core *cores;
static unsigned core_count;

struct core *hosted_core(unsigned number)
{
    return number < core_count ? &cores[number] : NULL;
}

static bool running(const struct core *core)
{
    enum core_state state = atomic_load(&core->state);

    return state == CORE_STARTED || state == CORE_ADOPTED;
}

/* The node of a processor is the nodeN link in its folder. */
static int node_of(unsigned processor)
{
    char path[64];
    struct dirent *entry;
    int node = -1;
    DIR *folder;

    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u", processor);
    folder = opendir(path);
    if (folder == NULL)
        return -1;
    while (node < 0 && (entry = readdir(folder)) != NULL)
        if (sscanf(entry->d_name, "node%d", &node) != 1)
            node = -1;
    closedir(folder);
    return node;
}

int chalk_core_info(unsigned number, struct chalk_core_info *info)
{
    struct core *core = hosted_core(number);
    char siblings[256];
    const char *folder = "/sys/devices/system/cpu/cpu";

    if (core == NULL)
        return -ENOENT;
    hosted_sysfs_text(siblings, sizeof siblings, "%s%u/topology/thread_siblings_list", folder,
                      core->processor);
    *info = (struct chalk_core_info){
        .package =
            (unsigned)hosted_sysfs_number(0, "%s%u/topology/physical_package_id", folder, core->processor),
        .core =
            (unsigned)hosted_sysfs_number(core->processor, "%s%u/topology/core_id", folder, core->processor),
        .thread = hosted_list_rank(siblings, core->processor),
        .node = node_of(core->processor),
        .running = running(core),
        .events = &core->events,
    };
    return 0;
}

static void pin(const struct core *core)
{
    cpu_set_t *set;
    size_t size = CPU_ALLOC_SIZE(core->processor + 1);

    if (!hosted_options()->pin || (set = CPU_ALLOC(core->processor + 1)) == NULL)
        return;
    CPU_ZERO_S(size, set);
    CPU_SET_S(core->processor, size, set);
    if (sched_setaffinity(0, size, set) != 0)
        chalk_log(CHALK_WARNING, "cannot pin core %u to processor %u (%s): it may move",
                  (unsigned)(core - cores), core->processor, strerror(errno));
    CPU_FREE(set);
}

static void *run(void *argument)
{
    struct core *core = argument;
    unsigned number = (unsigned)(core - cores);
    int error;

    pin(core);
    hosted_guard_enter();
    error = hosted_events_open(core);
    if (error == 0) {
        core->entry(number, core->argument);
        hosted_events_close(core);
    } else {
        chalk_log(CHALK_ERROR, "core %u cannot start: %s", number, strerror(-error));
    }
    hosted_guard_leave();
    atomic_store(&core->state, CORE_ENDED);
    return NULL;
}

static void join(struct core *core)
{
    if (atomic_load(&core->state) == CORE_ENDED) {
        pthread_join(core->started, NULL);
        atomic_store(&core->state, CORE_FREE);
    }
}

static int start(struct core *core, void (*entry)(unsigned, void *), void *argument)
{
    int error;

    join(core);
    if (running(core))
        return -EBUSY;
    core->entry = entry;
    core->argument = argument;
    atomic_store(&core->state, CORE_STARTED);
    error = pthread_create(&core->started, NULL, run, core);
    if (error != 0)
        atomic_store(&core->state, CORE_FREE);
    return -error;
}

int chalk_core_start(unsigned number, void (*entry)(unsigned, void *), void *argument)
{
    struct core *core = hosted_core(number);
    int error;

    if (core == NULL)
        return -ENOENT;
    hosted_lock();
    error = start(core, entry, argument);
    hosted_unlock();
    return error;
}

static int adopt(unsigned number)
{
    int error = hosted_events_open(&cores[number]);

    if (error != 0)
        return error;
    atomic_store(&cores[number].state, CORE_ADOPTED);
    pin(&cores[number]);
    hosted_guard_enter();
    return (int)number;
}

int chalk_core_adopt(void)
{
    int result = -ENOSPC;

    hosted_lock();
    for (unsigned i = 0; i < core_count && result == -ENOSPC; i++) {
        join(&cores[i]);
        if (!running(&cores[i]))
            result = adopt(i);
    }
    hosted_unlock();
    return result;
}

static void leave(struct core *core)
{
    chalk_assert(atomic_load(&core->state) == CORE_ADOPTED && pthread_equal(core->thread, pthread_self()));
    hosted_events_close(core);
    hosted_guard_leave();
    atomic_store(&core->state, CORE_FREE);
}

void chalk_core_leave(unsigned number)
{
    hosted_lock();
    chalk_assert(number < core_count);
    leave(&cores[number]);
    hosted_unlock();
}

/* The processors that this process may use; as many bits as the kernel has. */
static cpu_set_t *allowed(unsigned *bits)
{
    for (*bits = 1024; *bits <= 1u << 20; *bits *= 2) {
        cpu_set_t *set = CPU_ALLOC(*bits);

        if (set == NULL)
            return NULL;
        if (sched_getaffinity(0, CPU_ALLOC_SIZE(*bits), set) == 0)
            return set;
        CPU_FREE(set);
        if (errno != EINVAL)
            return NULL;
    }
    return NULL;
}

static void free_cores(void)
{
    for (unsigned i = 0; i < core_count; i++) {
        hosted_events_free(&cores[i]);
        pthread_mutex_destroy(&cores[i].lock);
    }
    core_count = 0;
    free(cores);
    cores = NULL;
}

int hosted_cores_start(void)
{
    unsigned bits, count;
    cpu_set_t *set = allowed(&bits);
    int error;

    if (set == NULL)
        return -ENOMEM;
    count = (unsigned)CPU_COUNT_S(CPU_ALLOC_SIZE(bits), set);
    cores = aligned_alloc(_Alignof(struct core), count * sizeof *cores);
    if (cores == NULL) {
        CPU_FREE(set);
        return -ENOMEM;
    }
    memset(cores, 0, count * sizeof *cores);
    for (unsigned i = 0, processor = 0; i < count; processor++) {
        if (!CPU_ISSET_S(processor, CPU_ALLOC_SIZE(bits), set))
            continue;
        cores[i].processor = processor;
        cores[i].wake_fd = -1;
        pthread_mutex_init(&cores[i].lock, NULL);
        i++;
    }
    CPU_FREE(set);
    core_count = count;
    error = adopt(0);
    if (error < 0) {
        chalk_log(CHALK_ERROR, "core 0 cannot start: %s", strerror(-error));
        free_cores();
    }
    return error;
}

void hosted_cores_await(void)
{
    uint64_t deadline = chalk_deadline(CHALK_S);

    for (unsigned i = 1; i < core_count; i++)
        while (running(&cores[i]) && !chalk_expired(deadline)) {
            chalk_core_wake(i);
            nanosleep(&(struct timespec){.tv_nsec = CHALK_MS}, NULL);
        }
}

bool hosted_cores_stop(void)
{
    for (unsigned i = 1; i < core_count; i++) {
        join(&cores[i]);
        if (running(&cores[i])) {
            chalk_log(CHALK_WARNING, "core %u still runs, so the platform stays up until the process ends",
                      i);
            return false;
        }
    }
    leave(&cores[0]);
    free_cores();
    return true;
}
