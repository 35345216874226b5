/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting. A core keeps one read in flight in its io_uring for each eventfd, so that looking for events costs
 * no system call (a completion is a word in shared memory), and sleeping costs one for all of them. Where
 * io_uring is disabled, ppoll() does the same, more slowly.
 *
 * An eventfd of an interrupt is also another process's if the device is a process, which can take the count
 * that made it readable. So no read here waits for the count; io_uring's wait in the kernel.
 *
 * No wake-up is lost. The sleeper sets `parked`, then a full fence, then looks at the event word again; the
 * waker changes the word, then a full fence, then looks at `parked`. One of the two sees the other.
 */
#define _GNU_SOURCE
#include "events.h"
#include "reason.h"
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/log.h>

struct source {
    struct source *next;
    _Atomic(uint32_t) *counter; /* NULL: it only wakes */
    int fd;
    bool dead;      /* removed; freed when nothing looks at it any more */
    bool armed;     /* in flight in the ring, or in the poll set */
    bool cancelled; /* the ring was told */
    uint64_t value; /* where the ring's read puts the eventfd's count */
};

#define RING_ENTRIES 64

static struct core *own_core(unsigned number)
{
    struct core *core = hosted_core_of(number, "chalk_core_wait");

    if (!pthread_equal(core->thread, pthread_self()))
        chalk_misuse("chalk_core_wait(): the calling thread is not core %u: each core waits for itself",
                     number);
    return core;
}

/* ---- sources, under the core's lock ---- */

static void free_source(struct core *core, struct source *source)
{
    struct source **link = &core->sources;

    while (*link != source)
        link = &(*link)->next;
    *link = source->next;
    if (source->fd >= 0 && source->fd != core->wake_fd)
        close(source->fd);
    free(source);
}

static void free_dead(struct core *core)
{
    struct source *next;

    for (struct source *source = core->sources; source != NULL; source = next) {
        next = source->next;
        if (source->dead && !source->armed)
            free_source(core, source);
    }
}

/* The eventfd's count was read: it happened. */
static void deliver(struct core *core, const struct source *source, uint64_t value)
{
    if (source->counter == NULL)
        return; /* the waker has changed the event word itself */
    atomic_fetch_add_explicit(source->counter, (uint32_t)value, memory_order_relaxed);
    atomic_fetch_add_explicit(&core->events, 1, memory_order_relaxed);
}

/* Takes the eventfd's count without waiting for one. Returns false if there is none. */
static bool take_count(int fd, uint64_t *value)
{
    struct iovec count = {value, sizeof *value};
    ssize_t size = preadv2(fd, &count, 1, -1, RWF_NOWAIT);

    if (size < 0 && errno == EOPNOTSUPP) /* Linux before 5.8 */
        size = read(fd, value, sizeof *value);
    return size == (ssize_t)sizeof *value;
}

/* ---- with a ring ---- */

static struct io_uring_sqe *next_entry(struct core *core)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&core->ring);

    if (entry == NULL && io_uring_submit(&core->ring) >= 0)
        entry = io_uring_get_sqe(&core->ring);
    if (entry == NULL)
        atomic_store(&core->changed, 1); /* again at the next wait */
    return entry;
}

static void arm(struct core *core, struct source *source)
{
    struct io_uring_sqe *entry = next_entry(core);

    if (entry == NULL)
        return;
    io_uring_prep_read(entry, source->fd, &source->value, sizeof source->value, 0);
    io_uring_sqe_set_data(entry, source);
    source->armed = true;
    core->reads++;
}

static void cancel(struct core *core, struct source *source)
{
    struct io_uring_sqe *entry = next_entry(core);

    if (entry == NULL)
        return;
    io_uring_prep_cancel(entry, source, 0);
    io_uring_sqe_set_data(entry, NULL);
    source->cancelled = true;
}

static void finish(struct core *core, struct source *source, int result)
{
    pthread_mutex_lock(&core->lock);
    source->armed = false;
    core->reads--;
    if (source->dead) {
        free_source(core, source);
    } else {
        if (result == (int)sizeof source->value)
            deliver(core, source, source->value);
        else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN)
            chalk_log(CHALK_ERROR, "io_uring cannot read an interrupt's eventfd: %s", hosted_reason(result));
        if (!source->cancelled)
            arm(core, source);
    }
    pthread_mutex_unlock(&core->lock);
}

static void reap(struct core *core)
{
    struct io_uring_cqe *completion;

    while (io_uring_peek_cqe(&core->ring, &completion) == 0) {
        struct source *source = io_uring_cqe_get_data(completion);
        int result = completion->res;

        io_uring_cqe_seen(&core->ring, completion);
        if (source != NULL)
            finish(core, source, result);
    }
}

static void update_ring(struct core *core)
{
    for (struct source *source = core->sources; source != NULL; source = source->next) {
        if (source->dead && source->armed && !source->cancelled)
            cancel(core, source);
        else if (!source->dead && !source->armed)
            arm(core, source);
    }
}

static void sleep_in_ring(struct core *core, const struct timespec *time)
{
    struct __kernel_timespec limit;
    struct io_uring_cqe *completion;

    if (time != NULL)
        limit = (struct __kernel_timespec){.tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec};
    io_uring_submit_and_wait_timeout(&core->ring, &completion, 1, time != NULL ? &limit : NULL, NULL);
    reap(core);
}

/* ---- without ---- */

static void update_polls(struct core *core)
{
    unsigned count = 0;

    for (struct source *source = core->sources; source != NULL; source = source->next) {
        source->armed = false;
        count++;
    }
    if (count > core->poll_room) {
        struct pollfd *polls = realloc(core->polls, count * sizeof *polls);
        struct source **polled = realloc(core->polled, count * sizeof *polled);

        core->polls = polls != NULL ? polls : core->polls;
        core->polled = polled != NULL ? polled : core->polled;
        if (polls != NULL && polled != NULL)
            core->poll_room = count;
        else
            atomic_store(&core->changed, 1); /* again at the next wait */
    }
    core->poll_count = 0;
    for (struct source *source = core->sources; source != NULL; source = source->next) {
        if (source->dead || core->poll_count == core->poll_room)
            continue;
        core->polls[core->poll_count] = (struct pollfd){.fd = source->fd, .events = POLLIN};
        core->polled[core->poll_count++] = source;
        source->armed = true;
    }
}

static void sleep_in_poll(struct core *core, const struct timespec *time)
{
    uint64_t value;

    if (ppoll(core->polls, core->poll_count, time, NULL) <= 0)
        return;
    pthread_mutex_lock(&core->lock);
    for (unsigned i = 0; i < core->poll_count; i++)
        if ((core->polls[i].revents & POLLIN) != 0 && take_count(core->polls[i].fd, &value))
            deliver(core, core->polled[i], value);
    pthread_mutex_unlock(&core->lock);
}

/* ---- the core ---- */

static void update(struct core *core)
{
    pthread_mutex_lock(&core->lock);
    atomic_store(&core->changed, 0);
    if (core->uses_ring)
        update_ring(core);
    else
        update_polls(core);
    free_dead(core);
    pthread_mutex_unlock(&core->lock);
}

/* Looks for events without sleeping. */
static void collect(struct core *core)
{
    if (atomic_load(&core->changed) != 0)
        update(core);
    if (core->uses_ring) {
        /* Reads that were armed again reach the kernel here; there are none unless an event came since the
         * last call. */
        if (io_uring_sq_ready(&core->ring) != 0)
            io_uring_submit(&core->ring);
        reap(core);
    } else if (core->poll_count > 1) {
        sleep_in_poll(core, &(struct timespec){0});
    }
}

/* Sleeps until something comes, or about until the deadline. */
static void sleep_until(struct core *core, uint64_t deadline)
{
    struct timespec time = {0};
    uint64_t now = chalk_ticks();

    if (atomic_load(&core->changed) != 0)
        update(core);
    if (deadline != CHALK_FOREVER && deadline > now) {
        uint64_t ns = chalk_ticks_to_ns(deadline - now) + 1;

        time = (struct timespec){.tv_sec = (time_t)(ns / CHALK_S), .tv_nsec = (long)(ns % CHALK_S)};
    }
    if (core->uses_ring)
        sleep_in_ring(core, deadline != CHALK_FOREVER ? &time : NULL);
    else
        sleep_in_poll(core, deadline != CHALK_FOREVER ? &time : NULL);
}

void chalk_core_wait(unsigned number, uint32_t seen, uint64_t deadline)
{
    struct core *core = own_core(number);

    /* Somebody who is always late must hear of interrupts, too. */
    if (atomic_load_explicit(&core->events, memory_order_acquire) != seen || chalk_expired(deadline)) {
        collect(core);
        return;
    }
    while (!chalk_expired(deadline)) {
        if (core->uses_ring)
            reap(core);
        atomic_store_explicit(&core->parked, 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&core->events, memory_order_acquire) != seen)
            break;
        sleep_until(core, deadline);
    }
    atomic_store_explicit(&core->parked, 0, memory_order_relaxed);
}

void chalk_core_wake(unsigned number)
{
    struct core *core = hosted_core_of(number, "chalk_core_wake");
    uint64_t one = 1;

    /* A locked instruction is a full fence (SDM vol. 3, 9.2.2). */
    atomic_fetch_add_explicit(&core->events, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&core->parked, memory_order_relaxed) != 0 &&
        atomic_exchange_explicit(&core->parked, 0, memory_order_seq_cst) != 0) {
        int saved = errno; /* a signal handler may be calling */

        if (write(core->wake_fd, &one, sizeof one) < 0)
            chalk_log(CHALK_ERROR, "cannot wake core %u: %s", number, hosted_reason(errno));
        errno = saved;
    }
}

/* ---- sources come and go ---- */

int hosted_source_add(struct core *core, int fd, _Atomic(uint32_t) *counter, struct source **source)
{
    struct source *added = calloc(1, sizeof *added);

    if (added == NULL)
        return -ENOMEM;
    added->fd = fd;
    added->counter = counter;
    pthread_mutex_lock(&core->lock);
    added->next = core->sources;
    core->sources = added;
    atomic_store(&core->changed, 1);
    pthread_mutex_unlock(&core->lock);
    *source = added;
    return 0;
}

/*
 * On the core itself: cancels the reads of the dead, and closes their descriptors. What the ring has been
 * given holds on to the file itself, not to the number. Their memory goes when the cancelled reads are
 * reaped, in the next wait: to reap them here could let other counters change outside of it.
 */
static void let_go(struct core *core)
{
    update(core);
    if (!core->uses_ring)
        return;
    while (io_uring_sq_ready(&core->ring) != 0)
        if (io_uring_submit(&core->ring) <= 0)
            return;
    pthread_mutex_lock(&core->lock);
    for (struct source *source = core->sources; source != NULL; source = source->next)
        if (source->dead && source->cancelled && source->fd >= 0) {
            close(source->fd);
            source->fd = -1;
        }
    pthread_mutex_unlock(&core->lock);
}

/*
 * Only what is armed is looked at outside of the lock, and only the core arms it, in its waits. So a source
 * that came since the last wait goes at once: else a core that polls and never waits would gather them.
 */
void hosted_source_remove(struct core *core, struct source *source)
{
    bool open;

    pthread_mutex_lock(&core->lock);
    source->counter = NULL;
    source->dead = true;
    atomic_store(&core->changed, 1);
    open = core->open;
    free_dead(core);
    pthread_mutex_unlock(&core->lock);
    if (open && pthread_equal(core->thread, pthread_self()))
        let_go(core);
}

/* ---- a thread becomes a core ---- */

/* Linux says EPERM where io_uring is disabled, or a filter forbids it, and ENOSYS where it has none. */
static const char *ring_cure(int error)
{
    return error == -EPERM ? ";\n  if it was disabled, root allows it with: sysctl kernel.io_uring_disabled=0"
                           : "";
}

static bool open_ring(struct core *core)
{
    static atomic_bool told;
    int error;

    if (hosted_options()->no_uring)
        return false;
    error = io_uring_queue_init(RING_ENTRIES, &core->ring, 0);
    if (error == 0 && (core->ring.features & IORING_FEAT_FAST_POLL) == 0) {
        /* Before Linux 5.7 each read of an eventfd would keep a kernel thread. */
        io_uring_queue_exit(&core->ring);
        error = -ENOSYS;
    }
    if (error != 0 && !atomic_exchange(&told, true))
        chalk_log(CHALK_WARNING, "io_uring cannot be used (%s), so waiting uses ppoll, which is slower%s",
                  hosted_reason(error), ring_cure(error));
    return error == 0;
}

int hosted_events_open(struct core *core)
{
    struct source *wake;
    int error;

    if (core->wake_fd < 0)
        core->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (core->wake_fd < 0)
        return -errno;
    error = hosted_source_add(core, core->wake_fd, NULL, &wake);
    if (error != 0)
        return error;
    core->uses_ring = open_ring(core);
    pthread_mutex_lock(&core->lock);
    core->thread = pthread_self();
    core->open = true;
    pthread_mutex_unlock(&core->lock);
    update(core);
    return 0;
}

static void close_ring(struct core *core)
{
    uint64_t deadline = chalk_deadline(CHALK_S);

    pthread_mutex_lock(&core->lock);
    for (struct source *source = core->sources; source != NULL; source = source->next)
        if (source->armed && !source->cancelled)
            cancel(core, source);
    pthread_mutex_unlock(&core->lock);
    /* Until a read is back, the kernel may still write into its source. */
    while (core->reads > 0 && !chalk_expired(deadline))
        sleep_in_ring(core, &(struct timespec){.tv_nsec = 10 * CHALK_MS});
    io_uring_queue_exit(&core->ring);
    core->reads = 0;
}

void hosted_events_close(struct core *core)
{
    if (core->uses_ring)
        close_ring(core);
    core->uses_ring = false;
    free(core->polls);
    free(core->polled);
    core->polls = NULL;
    core->polled = NULL;
    core->poll_count = core->poll_room = 0;
    pthread_mutex_lock(&core->lock);
    core->open = false;
    for (struct source *source = core->sources; source != NULL; source = source->next) {
        source->armed = source->cancelled = false;
        if (source->fd == core->wake_fd)
            source->dead = true;
    }
    free_dead(core);
    pthread_mutex_unlock(&core->lock);
}

void hosted_events_free(struct core *core)
{
    while (core->sources != NULL)
        free_source(core, core->sources);
    if (core->wake_fd >= 0)
        close(core->wake_fd);
    core->wake_fd = -1;
}
