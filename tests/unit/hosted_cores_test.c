/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cores of the hosted platform: up and down, threads that come and go, and waits that lose nothing, with
 * io_uring and with ppoll. Everything here is Linux's own but the console.
 */
#define _GNU_SOURCE
#include "hosted/cores.h"
#include "hosted/events.h"
#include "hosted/thread.h"
#include "hosted_console.h"
#include "hosted_misuse.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/hosted.h>
#include <chalk/log.h>

unsigned long long fake_ticks(void);
unsigned long long fake_ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (unsigned long long)high << 32 | low;
}

static unsigned open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static unsigned descriptors;

/* A wake-up that is lost ends in a wait without end: the alarm ends the test instead. */
static int start_with(struct chalk_start_options options)
{
    alarm(50);
    descriptors = open_descriptors();
    return chalk_start(&options);
}

static int start_poll(void **state)
{
    (void)state;
    return start_with((struct chalk_start_options){.no_uring = true});
}

static int start_ring(void **state)
{
    (void)state;
    return start_with((struct chalk_start_options){.no_uring = false});
}

static int start_signals(void **state)
{
    (void)state;
    return start_with((struct chalk_start_options){.handle_signals = true, .pin = true});
}

static int stop(void **state)
{
    (void)state;
    chalk_stop();
    alarm(0);
    return open_descriptors() == descriptors ? 0 : -1;
}

static _Atomic(uint32_t) *events(unsigned core)
{
    return &hosted_core(core)->events;
}

static unsigned core_count(void)
{
    unsigned count = 0;

    while (hosted_core(count) != NULL)
        count++;
    return count;
}

/* ---- up and down ---------------------------------------------------------------------------------- */

static void goes_up_and_down_again(void **state)
{
    (void)state;
    assert_int_equal(chalk_start(NULL), -EBUSY);
    for (unsigned i = 0; i < 20; i++) {
        chalk_stop();
        assert_int_equal(open_descriptors(), descriptors);
        assert_int_equal(chalk_start(NULL), 0);
    }
}

/* The first core alone would be a surprise. */
static void a_list_of_cores_with_a_mistake_is_none(void **state)
{
    (void)state;
    chalk_stop();
    assert_int_equal(chalk_start(&(struct chalk_start_options){.cores = "0,,1"}), -EINVAL);
    assert_int_equal(chalk_start(NULL), 0);
}

static int adopted[2];

static void *adopt_and_leave(void *argument)
{
    int *number = argument;

    for (unsigned i = 0; i < 50; i++) {
        *number = chalk_core_adopt();
        if (*number < 0)
            return NULL;
        chalk_core_wait((unsigned)*number, *events((unsigned)*number), chalk_deadline(10000));
        chalk_core_leave((unsigned)*number);
    }
    return NULL;
}

static void threads_become_cores_and_leave(void **state)
{
    struct chalk_core_info info;
    pthread_t thread;

    (void)state;
    if (core_count() < 2)
        skip();
    pthread_create(&thread, NULL, adopt_and_leave, &adopted[0]);
    pthread_join(thread, NULL);
    assert_int_equal(adopted[0], 1);
    assert_int_equal(chalk_core_get_info(1, &info), 0);
    assert_false(info.running);
}

static void *adopt_twice(void *argument)
{
    (void)argument;
    adopted[0] = chalk_core_adopt();
    adopted[1] = chalk_core_adopt();
    if (adopted[0] > 0)
        chalk_core_leave((unsigned)adopted[0]);
    return NULL;
}

/* Two cores that are one thread would wait for each other. */
static void a_thread_is_one_core(void **state)
{
    struct chalk_core_info info;
    pthread_t thread;

    (void)state;
    console_clear();
    assert_int_equal(chalk_core_adopt(), -EBUSY); /* it has called chalk_start() */
    assert_true(said("the calling thread is core 0"));
    if (core_count() < 2)
        return;
    console_clear();
    pthread_create(&thread, NULL, adopt_twice, NULL);
    pthread_join(thread, NULL);
    assert_int_equal(adopted[0], 1);
    assert_int_equal(adopted[1], -EBUSY);
    assert_true(said("the calling thread is core 1"));
    assert_int_equal(chalk_core_get_info(1, &info), 0);
    assert_false(info.running);
}

static void note(unsigned core, void *argument)
{
    *(_Atomic(unsigned) *)argument += core;
    chalk_core_wake(0);
}

static void linger(unsigned core, void *argument)
{
    _Atomic(bool) *end = argument;

    while (!*end)
        chalk_core_wait(core, *events(core), chalk_deadline(CHALK_S));
}

static void a_core_is_started_again_when_it_has_ended(void **state)
{
    struct chalk_core_info info;
    _Atomic(unsigned) sum = 0;
    static _Atomic(bool) end;

    (void)state;
    if (core_count() < 2)
        skip();
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(chalk_core_start(1, note, &sum), 0);
        do {
            chalk_core_wait(0, *events(0), chalk_deadline(CHALK_MS));
            chalk_core_get_info(1, &info);
        } while (info.running);
    }
    assert_int_equal(sum, 50);
    end = false;
    assert_int_equal(chalk_core_start(1, linger, &end), 0);
    assert_int_equal(chalk_core_start(1, linger, &end), -EBUSY);
    end = true; /* chalk_stop() waits for it */
}

/* ---- waits ---------------------------------------------------------------------------------------- */

#define WAKES 5000

static _Atomic(unsigned) sent;

static void *wake_often(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < WAKES; i++) {
        sent++;
        chalk_core_wake(0);
        for (unsigned pause = i % 64; pause > 0; pause--)
            chalk_pause();
    }
    return NULL;
}

static void no_wake_is_lost(void **state)
{
    pthread_t senders[2];

    (void)state;
    sent = 0;
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&senders[i], NULL, wake_often, NULL);
    for (;;) {
        uint32_t seen = *events(0);

        if (sent == 2 * WAKES)
            break;
        chalk_core_wait(0, seen, CHALK_FOREVER);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(senders[i], NULL);
}

static struct source *sources[3];
static int fds[3];
static _Atomic(uint32_t) counters[3];
static _Atomic(unsigned) round_done;

/* Fires each source once it was told to, as the kernel would. */
static void *fire(void *argument)
{
    const uint64_t one = 1;

    (void)argument;
    for (unsigned i = 0; i < 1000; i++) {
        while (round_done < i)
            chalk_pause();
        for (unsigned s = 0; s < 3; s++)
            if (write(fds[s], &one, sizeof one) != (ssize_t)sizeof one)
                return NULL;
    }
    return NULL;
}

static void no_interrupt_is_lost(void **state)
{
    pthread_t thread;

    (void)state;
    round_done = 0;
    for (unsigned s = 0; s < 3; s++) {
        counters[s] = 0;
        fds[s] = eventfd(0, EFD_CLOEXEC);
        assert_int_equal(hosted_source_add(hosted_core(0), fds[s], &counters[s], &sources[s]), 0);
    }
    pthread_create(&thread, NULL, fire, NULL);
    while (round_done < 1000) {
        uint32_t seen = *events(0);

        if (counters[0] + counters[1] + counters[2] == 3 * (round_done + 1))
            round_done++;
        else
            chalk_core_wait(0, seen, CHALK_FOREVER);
    }
    pthread_join(thread, NULL);
    for (unsigned s = 0; s < 3; s++)
        hosted_source_remove(hosted_core(0), sources[s]);
}

static _Atomic(bool) over;

/* Adds, fires and removes sources of a core that another thread is. */
static void *come_and_go(void *argument)
{
    static _Atomic(uint32_t) counter;
    const uint64_t one = 1;

    (void)argument;
    for (unsigned i = 0; i < 500; i++) {
        struct source *source;
        int fd = eventfd(0, EFD_CLOEXEC);
        uint32_t before;

        if (hosted_source_add(hosted_core(0), fd, &counter, &source) != 0)
            break;
        chalk_core_wake(0);
        if (i % 2 != 0 && write(fd, &one, sizeof one) < 0)
            break;
        for (unsigned pause = i % 128; pause > 0; pause--)
            chalk_pause();
        hosted_source_remove(hosted_core(0), source);
        before = counter;
        for (unsigned pause = 256; pause > 0; pause--)
            chalk_pause();
        if (before != counter)
            return "it changed after its removal";
    }
    over = true;
    chalk_core_wake(0);
    return NULL;
}

static void sources_come_and_go_while_their_core_sleeps(void **state)
{
    pthread_t thread;
    void *complaint;

    (void)state;
    over = false;
    pthread_create(&thread, NULL, come_and_go, NULL);
    for (;;) {
        uint32_t seen = *events(0);

        if (over)
            break;
        chalk_core_wait(0, seen, chalk_deadline(CHALK_S));
    }
    pthread_join(thread, &complaint);
    assert_null(complaint);
}

static void *take_the_source_three_times(void *argument)
{
    const uint64_t one = 1;

    for (unsigned i = 0; i < 3; i++) {
        if (chalk_core_adopt() != 1 || (i == 1 && write(*(int *)argument, &one, sizeof one) != sizeof one))
            return argument;
        chalk_core_wait(1, *events(1), chalk_deadline(CHALK_MS));
        chalk_core_leave(1);
    }
    return NULL;
}

/* A core that leaves with reads in flight takes nothing along; the next one on it goes on. */
static void a_source_survives_its_thread(void **state)
{
    _Atomic(uint32_t) counter = 0;
    struct source *source;
    pthread_t thread;
    void *failed;
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)state;
    if (core_count() < 2)
        skip();
    assert_int_equal(hosted_source_add(hosted_core(1), fd, &counter, &source), 0);
    pthread_create(&thread, NULL, take_the_source_three_times, &fd);
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_int_equal(counter, 1);
    hosted_source_remove(hosted_core(1), source);
}

/* ---- an eventfd that another process has, too --------------------------------------------------- */

static int stolen_from = -1;
static unsigned stolen;

/* Linux's own; then, between the look at an eventfd and the read of it, the other process takes the count. */
int ppoll(struct pollfd *polls, nfds_t count, const struct timespec *time, const sigset_t *mask)
{
    struct timespec limit = time != NULL ? *time : (struct timespec){0};
    int ready = (int)syscall(SYS_ppoll, polls, count, time != NULL ? &limit : NULL, mask, _NSIG / 8);
    struct iovec taken = {&(uint64_t){0}, sizeof(uint64_t)};

    if (stolen_from >= 0)
        stolen += preadv2(stolen_from, &taken, 1, -1, RWF_NOWAIT) == (ssize_t)sizeof(uint64_t);
    return ready;
}

static void wait_ns(uint64_t ns)
{
    chalk_core_wait(0, *events(0), chalk_deadline(ns));
}

/* A read that waited for the count would keep the core, and its lock, for ever. */
static void a_stolen_count_is_not_waited_for(void **state)
{
    _Atomic(uint32_t) counter = 0;
    struct source *source;
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)state;
    assert_int_equal(hosted_source_add(hosted_core(0), fd, &counter, &source), 0);
    wait_ns(CHALK_MS);
    stolen = 0;
    stolen_from = fd;
    assert_int_equal(eventfd_write(fd, 1), 0);
    wait_ns(20 * CHALK_MS);
    stolen_from = -1;
    if (!hosted_core(0)->uses_ring)
        assert_int_equal(stolen, 1);
    assert_int_equal(counter + stolen, 1);
    assert_int_equal(eventfd_write(fd, 1), 0);
    wait_ns(CHALK_S);
    assert_int_equal(counter + stolen, 2);
    hosted_source_remove(hosted_core(0), source);
}

/* ---- guard pages ---------------------------------------------------------------------------------- */

#define PAGE ((size_t)4096)
#define MANY                                                                                                 \
    ((size_t)40000) /* pages that each divide a mapping in three: more than vm.max_map_count lets be */

/* Linux cannot divide a mapping when there are as many as it allows. */
static void a_guard_page_too_many_is_a_lack_of_memory(void **state)
{
    char *all = mmap(NULL, 2 * MANY * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct chalk_span span;
    size_t count = 0;
    int error;

    (void)state;
    assert_ptr_not_equal(all, MAP_FAILED);
    assert_int_equal(chalk_span_grow(5 * PAGE, PAGE, 0, UINT64_MAX, &span), 0);
    assert_int_equal(chalk_page_guard((char *)span.va + PAGE, "first"), 0);
    assert_int_equal(chalk_page_guard((char *)span.va + PAGE, NULL), 0);
    while (count < MANY && mprotect(all + 2 * count * PAGE, PAGE, PROT_READ) == 0)
        count++;
    error = chalk_page_guard((char *)span.va + PAGE, "second");
    munmap(all, 2 * MANY * PAGE);
    if (count == MANY)
        skip();
    assert_int_equal(error, -ENOMEM);
}

/* ---- embedding ------------------------------------------------------------------------------------ */

static pthread_barrier_t all_here;

/* Becomes a core, waits as one, and is one while all others are. */
static void *be_a_core(void *argument)
{
    struct chalk_core_info info;
    int core = chalk_core_adopt();

    pthread_barrier_wait(&all_here);
    if (core <= 0 || chalk_core_get_info((unsigned)core, &info) != 0 || !info.running)
        return argument;
    chalk_core_wait((unsigned)core, *info.events, chalk_deadline(CHALK_MS));
    pthread_barrier_wait(&all_here);
    chalk_core_leave((unsigned)core);
    return NULL;
}

#define POOL 100 /* threads: more than this machine has processors, or else the test shows little */

static void a_pool_of_threads_can_be_cores(void **state)
{
    pthread_t threads[POOL], late;
    void *failed = NULL, *one;
    struct chalk_core_info info;

    (void)state;
    chalk_stop();
    assert_int_equal(start_with((struct chalk_start_options){.no_uring = true, .threads = POOL + 1}), 0);
    pthread_barrier_init(&all_here, NULL, POOL + 1);
    for (unsigned i = 0; i < POOL; i++)
        pthread_create(&threads[i], NULL, be_a_core, &all_here);
    pthread_barrier_wait(&all_here);
    if (core_count() == POOL + 1) { /* and there are no more */
        pthread_create(&late, NULL, adopt_and_leave, &adopted[0]);
        pthread_join(late, NULL);
        assert_int_equal(adopted[0], -ENOSPC);
    }
    pthread_barrier_wait(&all_here);
    for (unsigned i = 0; i < POOL; i++) {
        pthread_join(threads[i], &one);
        failed = one != NULL ? one : failed;
    }
    pthread_barrier_destroy(&all_here);
    assert_null(failed);
    assert_int_equal(chalk_core_get_info(POOL, &info), 0);
    assert_int_equal(info.node, 0); /* where it is, nobody knows */
    if (sysconf(_SC_NPROCESSORS_ONLN) <= POOL)
        assert_int_equal(chalk_core_get_info(POOL + 1, &info), -ENOENT);
    console_clear();
    chalk_stop();
    assert_int_equal(chalk_start(&(struct chalk_start_options){.threads = UINT_MAX}), -EINVAL);
    assert_true(said("threads are too many"));
    assert_int_equal(start_with((struct chalk_start_options){.no_uring = true}), 0);
}

static int level_of(const char *name)
{
    setenv("CHALK_LOG", name, 1);
    chalk_stop();
    assert_int_equal(start_with((struct chalk_start_options){.no_uring = true}), 0);
    unsetenv("CHALK_LOG");
    console_clear();
    for (int level = CHALK_TRACE; level >= CHALK_ERROR; level--) {
        chalk_log((enum chalk_level)level, "a message");
        if (said("a message"))
            return level;
    }
    return -1;
}

static void the_environment_says_how_much_is_logged(void **state)
{
    (void)state;
    assert_int_equal(level_of("trace"), CHALK_TRACE);
    assert_int_equal(level_of("error"), CHALK_ERROR);
    assert_int_equal(level_of("info"), CHALK_INFO);
    assert_int_equal(level_of("nonsense"), CHALK_INFO); /* as it was */
    assert_int_equal(level_of("warning"), CHALK_WARNING);
}

static int call(unsigned which)
{
    static const uint64_t forever = CHALK_FOREVER;
    struct chalk_bus_info bus = {0};
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    struct chalk_core_info core;
    struct chalk_span span;

    switch (which) {
    case 0:
        return chalk_span_get(0, &span);
    case 1:
        return chalk_bus_next(&bus);
    case 2:
        return chalk_device_open("0000:00:00.0", &domain, &device);
    case 3:
        return chalk_core_get_info(0, &core);
    case 4:
        chalk_core_wait(0, 0, forever);
        return 0;
    case 5:
        chalk_core_wake(0);
        return 0;
    case 6:
        return chalk_core_adopt();
    case 7:
        return chalk_span_grow(4096, 4096, 0, UINT64_MAX, &span);
    default:
        return -EINVAL;
    }
}

/* Whoever forgets chalk_start() is told so, whatever comes first. */
static void nothing_works_before_the_start_and_says_so(void **state)
{
    (void)state;
    chalk_stop();
    for (unsigned which = 0; which < 8; which++)
        expect_misuse(call, which, "calls chalk_start()");
    assert_int_equal(start_with((struct chalk_start_options){.no_uring = true}), 0);
}

/* ---- numbers of cores ----------------------------------------------------------------------------- */

static int use_wrong_core(unsigned which)
{
    switch (which) {
    case 0:
        chalk_core_wake(5000);
        return 0;
    case 1:
        chalk_core_wait(5000, 0, 0);
        return 0;
    case 2:
        chalk_core_leave(5000);
        return 0;
    case 3:
        chalk_sleep(5000, CHALK_MS);
        return 0;
    default:
        return -EINVAL;
    }
}

static int use_core_of_another(unsigned which)
{
    if (which == 0)
        chalk_core_wait(1, 0, 0);
    else
        chalk_core_leave(1);
    return 0;
}

static void a_core_that_is_not_there_is_named(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 4; which++)
        expect_misuse(use_wrong_core, which, "there is no core 5000; there ");
    if (core_count() > 1) {
        expect_misuse(use_core_of_another, 0, "the calling thread is not core 1");
        expect_misuse(use_core_of_another, 1, "the calling thread has not adopted core 1");
    }
    console_clear();
    assert_int_equal(chalk_core_start(5000, NULL, NULL), -ENOENT);
    assert_true(said("chalk_core_start(): there is no core 5000"));
    assert_int_equal(chalk_core_join(0, 5000, 0), -ENOENT);
    assert_true(said("chalk_core_join(): there is no core 5000"));
}

/* ---- NUMA nodes ----------------------------------------------------------------------------------- */

static void no_node_is_any_and_one_that_is_not_there_is_named(void **state)
{
    struct chalk_core_info info;
    struct chalk_span span;

    (void)state;
    assert_int_equal(chalk_span_grow(PAGE, PAGE, 0, UINT64_MAX, &span), 0);
    assert_int_equal(chalk_core_get_info(0, &info), 0);
    if (info.node != 0)
        assert_int_equal(chalk_span_grow(PAGE, PAGE, info.node, UINT64_MAX, &span), 0);
    assert_int_equal(span.node, info.node != 0 ? info.node : span.node);
    console_clear();
    assert_int_equal(chalk_span_grow(PAGE, PAGE, CHALK_NODE(1000), UINT64_MAX, &span), -EINVAL);
    assert_true(said("no NUMA node 1000"));
    assert_int_equal(chalk_span_grow(PAGE, PAGE, CHALK_NODE(5000), UINT64_MAX, &span), -EINVAL);
    assert_true(said("no NUMA node 5000"));
}

static void a_span_that_cannot_be_says_why(void **state)
{
    static const struct {
        size_t size, page;
        const char *text;
    } cases[] = {
        {PAGE, 3, "pages of 3 bytes"},      {PAGE, 2048, "from 4096 to 1 GiB"},
        {PAGE, PAGE + 1, "a power of two"}, {PAGE, (size_t)1 << 63, "from 4096 to 1 GiB"},
        {0, PAGE, "a span of 0 bytes"},
    };
    struct chalk_span span;

    (void)state;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        console_clear();
        assert_int_equal(chalk_span_grow(cases[i].size, cases[i].page, 0, UINT64_MAX, &span), -EINVAL);
        if (!said(cases[i].text))
            fail_msg("'%s' is not in: %s", cases[i].text, console.text);
    }
}

/* ---- system calls that are refused ---------------------------------------------------------------- */

/* For the rest of this process, which is a child, system call `number` ends with EPERM (seccomp(2)). */
static void forbid(unsigned number)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
}

/* Runs it in a child without that system call. What it returns is 0 if all is well. */
static void run_without(unsigned number, int (*run)(void))
{
    int status;
    pid_t child;

    chalk_stop();
    child = fork();
    if (child == 0) {
        forbid(number);
        _exit(run());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(start_with((struct chalk_start_options){.no_uring = true}), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

static void *nothing(void *argument)
{
    return argument;
}

static int threads_and_cores(void)
{
    char list[16];
    pthread_t thread;

    if (hosted_thread_start(&thread, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    snprintf(list, sizeof list, "%d", sched_getcpu());
    if (chalk_start(&(struct chalk_start_options){.no_uring = true, .cores = list}) != 0)
        return 2;
    chalk_stop();
    if (!said("cannot be pinned"))
        return 3;
    if (chalk_start(&(struct chalk_start_options){.no_uring = true, .cores = "8191"}) != -EINVAL)
        return 4;
    return 0;
}

/* A thread that cannot be moved stays where it is. */
static void nothing_needs_to_move_threads(void **state)
{
    (void)state;
    run_without(SYS_sched_setaffinity, threads_and_cores);
}

static int memory_on_a_node(void)
{
    struct chalk_span span;

    if (chalk_start(&(struct chalk_start_options){.no_uring = true}) != 0)
        return 1;
    if (chalk_span_grow(4096, 4096, 0, UINT64_MAX, &span) != 0)
        return 2;
    if (chalk_span_grow(4096, 4096, CHALK_NODE(0), UINT64_MAX, &span) != -ENOMEM || !said("mbind: "))
        return 3;
    chalk_stop();
    return 0;
}

/* Which call refused memory is said, instead of a lack of it. */
static void a_refused_call_is_named(void **state)
{
    (void)state;
    run_without(SYS_mbind, memory_on_a_node);
}

/* ---- signals -------------------------------------------------------------------------------------- */

static _Atomic(unsigned) chained;

static void earlier(int signal)
{
    (void)signal;
    chained++;
}

static void the_first_sigint_asks_and_hands_on(void **state)
{
    struct sigaction now;
    uint32_t seen;

    (void)state;
    chalk_stop();
    chained = 0;
    signal(SIGINT, earlier);
    assert_int_equal(start_signals(NULL), 0);
    assert_false(chalk_exit_requested());
    seen = *events(0);
    raise(SIGINT);
    assert_true(chalk_exit_requested());
    assert_int_equal(chained, 1);
    chalk_core_wait(0, seen, CHALK_FOREVER);
    chalk_stop();
    assert_int_equal(sigaction(SIGINT, NULL, &now), 0);
    assert_ptr_equal(now.sa_handler, earlier);
    signal(SIGINT, SIG_DFL);
    assert_int_equal(start_signals(NULL), 0);
    assert_false(chalk_exit_requested());
}

int main(void)
{
#define BOTH(test)                                                                                           \
    cmocka_unit_test_setup_teardown(test, start_poll, stop),                                                 \
        cmocka_unit_test_setup_teardown(test, start_ring, stop)
    const struct CMUnitTest tests[] = {
        BOTH(goes_up_and_down_again),
        cmocka_unit_test_setup_teardown(a_list_of_cores_with_a_mistake_is_none, start_poll, stop),
        BOTH(threads_become_cores_and_leave),
        BOTH(a_thread_is_one_core),
        BOTH(a_core_is_started_again_when_it_has_ended),
        BOTH(no_wake_is_lost),
        BOTH(no_interrupt_is_lost),
        BOTH(sources_come_and_go_while_their_core_sleeps),
        BOTH(a_source_survives_its_thread),
        BOTH(a_stolen_count_is_not_waited_for),
        cmocka_unit_test_setup_teardown(a_guard_page_too_many_is_a_lack_of_memory, start_poll, stop),
        cmocka_unit_test_setup_teardown(no_node_is_any_and_one_that_is_not_there_is_named, start_ring, stop),
        cmocka_unit_test_setup_teardown(a_span_that_cannot_be_says_why, start_ring, stop),
        cmocka_unit_test_setup_teardown(a_pool_of_threads_can_be_cores, start_poll, stop),
        cmocka_unit_test_setup_teardown(the_environment_says_how_much_is_logged, start_poll, stop),
        cmocka_unit_test_setup_teardown(nothing_works_before_the_start_and_says_so, start_poll, stop),
        cmocka_unit_test_setup_teardown(a_core_that_is_not_there_is_named, start_poll, stop),
        cmocka_unit_test_setup_teardown(nothing_needs_to_move_threads, start_poll, stop),
        cmocka_unit_test_setup_teardown(a_refused_call_is_named, start_poll, stop),
        cmocka_unit_test_setup_teardown(the_first_sigint_asks_and_hands_on, start_signals, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
