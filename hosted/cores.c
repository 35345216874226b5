/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cores are the processors that Linux lets this process use, or those that the program named. A core runs a
 * thread: the one that called chalk_start() is core 0, others are started, or adopted. They are tied to their
 * processors only when that was asked.
 */
#define _GNU_SOURCE
#include "cores.h"
#include "crash.h"
#include "events.h"
#include "reason.h"
#include "state.h"
#include "sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/log.h>

#define NO_PROCESSOR UINT_MAX /* of its own: it shares those of the process */

#define MOST_THREADS 65536u

static struct core *cores;
static unsigned core_count;

/* The processors that this process might use before any thread was pinned. */
static cpu_set_t *allowed;
static size_t allowed_size;

struct core *hosted_core(unsigned number)
{
    return number < core_count ? &cores[number] : NULL;
}

struct core *hosted_core_of(unsigned number, const char *call)
{
    struct core *core = hosted_core(number);

    if (core == NULL) {
        hosted_require_up();
        (void)chalk_core_check(number, call);
        chalk_exit(134); /* as a failed assertion */
    }
    return core;
}

static bool running(const struct core *core)
{
    enum core_state state = atomic_load(&core->state);

    return state == CORE_STARTED || state == CORE_ADOPTED;
}

void hosted_cores_wake(void)
{
    for (unsigned i = 0; i < core_count; i++)
        if (running(&cores[i]))
            chalk_core_wake(i);
}

/* The node of a processor is the nodeN link in its folder. */
static unsigned node_of(unsigned processor)
{
    char path[64];
    struct dirent *entry;
    unsigned number, node = 0;
    DIR *folder;

    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u", processor);
    folder = opendir(path);
    if (folder == NULL)
        return 0;
    while (node == 0 && (entry = readdir(folder)) != NULL)
        if (sscanf(entry->d_name, "node%u", &number) == 1)
            node = CHALK_NODE(number);
    closedir(folder);
    return node;
}

int chalk_core_get_info(unsigned number, struct chalk_core_info *info)
{
    struct core *core = hosted_core(number);
    char siblings[256];
    const char *folder = "/sys/devices/system/cpu/cpu";

    if (core == NULL) {
        hosted_require_up();
        return -ENOENT;
    }
    if (core->processor == NO_PROCESSOR) {
        *info = (struct chalk_core_info){.running = running(core), .events = &core->events};
        return 0;
    }
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

static bool pins(void)
{
    return hosted_options()->pin || hosted_options()->cores != NULL;
}

static void pin(const struct core *core)
{
    cpu_set_t *set;

    if (!pins() || core->processor == NO_PROCESSOR || (set = calloc(1, allowed_size)) == NULL)
        return;
    CPU_SET_S(core->processor, allowed_size, set);
    if (sched_setaffinity(0, allowed_size, set) != 0)
        chalk_log(CHALK_WARNING, "core %u cannot be pinned to processor %u (%s): it may move",
                  (unsigned)(core - cores), core->processor, hosted_reason(errno));
    free(set);
}

static void unpin(void)
{
    if (pins())
        sched_setaffinity(0, allowed_size, allowed);
}

static void *run(void *argument)
{
    struct core *core = argument;
    unsigned number = (unsigned)(core - cores);
    int error;

    if (core->processor == NO_PROCESSOR)
        unpin(); /* from where it was started */
    else
        pin(core);
    hosted_crash_enter();
    error = hosted_events_open(core);
    if (error == 0) {
        core->entry(number, core->argument);
        hosted_events_close(core);
    } else {
        chalk_log(CHALK_ERROR, "core %u cannot start: %s", number, hosted_reason(error));
    }
    hosted_crash_leave();
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
    int error = chalk_core_check(number, "chalk_core_start");
    struct core *core = hosted_core(number);

    if (error != 0)
        return error;
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
    hosted_crash_enter();
    return (int)number;
}

/* The core that the calling thread is; -1: none. */
static int own_number(void)
{
    for (unsigned i = 0; i < core_count; i++) {
        bool own;

        pthread_mutex_lock(&cores[i].lock);
        own = cores[i].open && pthread_equal(cores[i].thread, pthread_self());
        pthread_mutex_unlock(&cores[i].lock);
        if (own)
            return (int)i;
    }
    return -1;
}

int chalk_core_adopt(void)
{
    int result = -ENOSPC, own;

    hosted_lock();
    own = own_number();
    if (own >= 0) {
        chalk_log(CHALK_ERROR, "chalk_core_adopt(): the calling thread is core %d, and can be no other", own);
        result = -EBUSY;
    }
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
    if (atomic_load(&core->state) != CORE_ADOPTED || !pthread_equal(core->thread, pthread_self()))
        chalk_misuse("chalk_core_leave(): the calling thread has not adopted core %u",
                     (unsigned)(core - cores));
    hosted_events_close(core);
    hosted_crash_leave();
    if (core->processor != NO_PROCESSOR)
        unpin();
    atomic_store(&core->state, CORE_FREE);
}

void chalk_core_leave(unsigned number)
{
    hosted_lock();
    leave(hosted_core_of(number, "chalk_core_leave"));
    hosted_unlock();
}

/* The kernel refuses a set with fewer bits than it has itself. */
static int ask_allowed(void)
{
    for (allowed_size = 128; allowed_size <= 1u << 17; allowed_size *= 2) {
        allowed = calloc(1, allowed_size);
        if (allowed == NULL)
            return -ENOMEM;
        if (sched_getaffinity(0, allowed_size, allowed) == 0)
            return 0;
        free(allowed);
    }
    allowed = NULL;
    return -errno;
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
    free(allowed);
    allowed = NULL;
}

static bool in_list(const char *list, unsigned processor)
{
    return hosted_list_rank(list, processor + 1) > hosted_list_rank(list, processor);
}

/* Isolated processors are what a polling core is best put on; Linux gives them to who asks by name. */
static void notice_isolated(void)
{
    char isolated[256];

    if (hosted_sysfs_text(isolated, sizeof isolated, "/sys/devices/system/cpu/isolated") <= 0)
        return;
    for (unsigned processor = 0; processor < 8 * allowed_size; processor++)
        if (in_list(isolated, processor) && CPU_ISSET_S(processor, allowed_size, allowed))
            return;
    chalk_log(CHALK_INFO, "processors %s are isolated, and not used; to use them, set CHALK_CORES=%s",
              isolated, isolated);
}

/*
 * Whether this process may run on each of these processors: Linux leaves out the others silently. Where it
 * refuses to move threads at all (seccomp, as in some containers), it is those that the process has already.
 */
static bool may_use(const cpu_set_t *chosen, cpu_set_t *granted)
{
    if (sched_setaffinity(0, allowed_size, chosen) == 0) {
        if (sched_getaffinity(0, allowed_size, granted) != 0)
            return false;
    } else {
        if (errno != EPERM && errno != ENOSYS)
            return false;
        CPU_AND_S(allowed_size, granted, chosen, allowed);
    }
    return CPU_EQUAL_S(allowed_size, chosen, granted);
}

static int choose(cpu_set_t *chosen, const char *list)
{
    cpu_set_t *granted = calloc(1, allowed_size);
    int error = granted != NULL ? 0 : -ENOMEM;

    for (unsigned processor = 0; processor < 8 * allowed_size; processor++)
        if (in_list(list, processor))
            CPU_SET_S(processor, allowed_size, chosen);
    if (error == 0 && (!hosted_list_valid(list) || !may_use(chosen, granted) ||
                       CPU_COUNT_S(allowed_size, chosen) != (int)hosted_list_rank(list, UINT_MAX))) {
        chalk_log(CHALK_ERROR,
                  "cores '%s' (CHALK_CORES) is not a list of processors that this process may use; see "
                  "/sys/devices/system/cpu/online, and its cpuset",
                  list);
        error = -EINVAL;
    }
    sched_setaffinity(0, allowed_size, allowed);
    free(granted);
    return error;
}

static int make_cores(const cpu_set_t *chosen)
{
    unsigned processors = (unsigned)CPU_COUNT_S(allowed_size, chosen), processor = 0;
    unsigned count = hosted_options()->threads > processors ? hosted_options()->threads : processors;

    cores = aligned_alloc(_Alignof(struct core), count * sizeof *cores);
    if (cores == NULL)
        return -ENOMEM;
    memset(cores, 0, count * sizeof *cores);
    for (core_count = 0; core_count < count; core_count++, processor++) {
        while (core_count < processors && !CPU_ISSET_S(processor, allowed_size, chosen))
            processor++;
        cores[core_count].processor = core_count < processors ? processor : NO_PROCESSOR;
        cores[core_count].wake_fd = -1;
        pthread_mutex_init(&cores[core_count].lock, NULL);
    }
    return 0;
}

static int choose_and_make_cores(void)
{
    const char *list = hosted_options()->cores;
    cpu_set_t *chosen = calloc(1, allowed_size);
    int error = chosen != NULL ? 0 : -ENOMEM;

    if (error == 0 && list != NULL)
        error = choose(chosen, list);
    else if (error == 0 && hosted_options()->pin)
        notice_isolated();
    if (error == 0)
        error = make_cores(list != NULL ? chosen : allowed);
    free(chosen);
    return error;
}

int hosted_cores_start(void)
{
    int error;

    if (hosted_options()->threads > MOST_THREADS) {
        chalk_log(CHALK_ERROR, "%u threads are too many: %u can be cores", hosted_options()->threads,
                  MOST_THREADS);
        return -EINVAL;
    }
    error = ask_allowed();
    if (error == 0)
        error = choose_and_make_cores();
    if (error == 0)
        error = adopt(0);
    if (error != 0) {
        if (error != -EINVAL) /* which has said why */
            chalk_log(CHALK_ERROR, "core 0 cannot start: %s", hosted_reason(error));
        free_cores();
    }
    return error;
}

bool hosted_cores_await(void)
{
    uint64_t deadline = chalk_deadline(CHALK_S);

    for (unsigned i = 1; i < core_count; i++) {
        while (running(&cores[i]) && !chalk_expired(deadline)) {
            chalk_core_wake(i);
            nanosleep(&(struct timespec){.tv_nsec = CHALK_MS}, NULL);
        }
        if (running(&cores[i])) {
            chalk_log(CHALK_WARNING, "core %u still runs, so the platform stays up until the process ends",
                      i);
            return false;
        }
    }
    return true;
}

void hosted_cores_stop(void)
{
    for (unsigned i = 1; i < core_count; i++)
        join(&cores[i]);
    leave(&cores[0]);
    free_cores();
}
