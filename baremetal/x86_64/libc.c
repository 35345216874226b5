/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bottom of libc: musl's, unchanged but for its `hlt` (see link/musl.py). Where it would enter a Linux
 * kernel, its `syscall` instruction comes here, in the same ring (cpu.c, trap.S). What a console program
 * needs is answered; the rest is -ENOSYS, which musl reports as any libc does.
 */
#include "arguments.h"
#include "cores.h"
#include "x86.h"

#include <chalk/clock.h>
#include <chalk/log.h>
#include <chalk/main.h>
#include <chalk/version.h>
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#define ARCH_SET_FS 0x1002 /* arch_prctl(2) */

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*loader)(void));

extern const Elf64_Ehdr chalk_image_start[];

/* ---- the console ---- */

static long write_console(long file, const struct iovec *parts, long count)
{
    long written = 0;

    if (file != 1 && file != 2)
        return -EBADF;
    for (long i = 0; i < count; i++)
        written += chalk_console(parts[i].iov_base, parts[i].iov_len, true);
    return written;
}

/* Waits for something to be typed, for the end of the input, or for a request to end, which is the same. */
static long read_console(long file, const struct iovec *parts, long count)
{
    long size = 0;

    if (file != 0)
        return -EBADF;
    for (long i = 0; i < count; i++)
        while (size == 0 && parts[i].iov_len > 0 && !chalk_exit_requested() && !serial_input_ended())
            size = chalk_console(parts[i].iov_base, parts[i].iov_len, false);
    return size;
}

/* ---- time and chance ---- */

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / CHALK_S), .tv_nsec = (long)(ns % CHALK_S)};
}

/* Nanoseconds on a clock of Linux's, -EINVAL if there is no such clock. The processor is all the program's.
 */
static int read_clock(long id, uint64_t *ns)
{
    const struct chalk_clock *c = chalk_clock_info();

    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        *ns = c->wall_ns + chalk_ticks_to_ns(chalk_ticks() - c->wall_ticks);
        return 0;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_PROCESS_CPUTIME_ID:
    case CLOCK_THREAD_CPUTIME_ID:
        *ns = chalk_ticks_to_ns(chalk_ticks());
        return 0;
    default:
        return -EINVAL;
    }
}

static long get_time(long id, struct timespec *now)
{
    uint64_t ns;
    int error = read_clock(id, &ns);

    if (error == 0)
        *now = to_timespec(ns);
    return error;
}

/* A tick is finer than what a timespec can say. */
static long get_resolution(long id, struct timespec *resolution)
{
    uint64_t ns;
    int error = read_clock(id, &ns);

    if (error == 0 && resolution != NULL)
        *resolution = to_timespec(1);
    return error;
}

/*
 * Spins, since only chalk_core_wait() may collect what happens to a core. Ends early when the program is
 * asked to end, as a signal would end it.
 */
static long sleep_for(long id, long flags, const struct timespec *wanted, struct timespec *left)
{
    const bool asked = chalk_exit_requested();
    uint64_t start, ns = UINT64_MAX;

    if (wanted->tv_sec < 0 || wanted->tv_nsec < 0 || wanted->tv_nsec >= (long)CHALK_S ||
        read_clock(id, &start) != 0)
        return -EINVAL;
    if ((uint64_t)wanted->tv_sec < UINT64_MAX / CHALK_S)
        ns = (uint64_t)wanted->tv_sec * CHALK_S + (uint64_t)wanted->tv_nsec;
    if (flags & TIMER_ABSTIME)
        ns = ns > start ? ns - start : 0;
    for (uint64_t deadline = chalk_deadline(ns); !chalk_expired(deadline); chalk_pause()) {
        if (asked || !chalk_exit_requested())
            continue;
        uint64_t now = chalk_ticks();

        if (left != NULL && !(flags & TIMER_ABSTIME))
            *left = to_timespec(deadline > now ? chalk_ticks_to_ns(deadline - now) : 0);
        return -EINTR;
    }
    return 0;
}

/* For libc's own start only, not for keys: without RDRAND it is the time stamp counter, stirred (splitmix64's
 * finalizer). */
static uint64_t chance(void)
{
    uint64_t value;

    if (cpu_random(&value))
        return value;
    value = chalk_ticks();
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ value >> 27) * 0x94d049bb133111ebull;
    return value ^ value >> 31;
}

/* getrandom(2): keys are made of it. -ENOSYS where there is nothing to make them of, as of a kernel without
 * it. */
static long fill_random(char *bytes, size_t size)
{
    size_t done = 0;
    uint64_t value;

    while (done < size && cpu_random(&value)) {
        size_t part = size - done < 8 ? size - done : 8;

        memcpy(bytes + done, &value, part);
        done += part;
    }
    return done > 0 || size == 0 ? (long)done : -ENOSYS;
}

/* ---- system calls ---- */

static _Noreturn void end_thread(void)
{
    if (core_self()->number != 0)
        core_end();
    machine_exit(0); /* the last thread, as far as core 0 is concerned */
}

long libc_system_call(long number, const struct system_call *call)
{
    const long a = call->a, b = call->b, c = call->c, d = call->d;

    switch (number) {
    case SYS_write:
        return write_console(a, &(struct iovec){(void *)b, (size_t)c}, 1);
    case SYS_writev:
        return write_console(a, (const struct iovec *)b, c);
    case SYS_read:
        return read_console(a, &(struct iovec){(void *)b, (size_t)c}, 1);
    case SYS_readv:
        return read_console(a, (const struct iovec *)b, c);
    case SYS_ioctl:
        return -ENOTTY; /* so that isatty() says no, as it does of a hosted program's pipe */
    case SYS_lseek:
        return -ESPIPE; /* likewise */
    case SYS_mmap:
        return heap_map((size_t)b, d);
    case SYS_munmap:
        return heap_unmap((uint64_t)a, (size_t)b);
    case SYS_clock_gettime:
        return get_time(a, (struct timespec *)b);
    case SYS_clock_getres:
        return get_resolution(a, (struct timespec *)b);
    case SYS_nanosleep:
        return sleep_for(CLOCK_MONOTONIC, 0, (const struct timespec *)a, (struct timespec *)b);
    case SYS_clock_nanosleep:
        return sleep_for(a, b, (const struct timespec *)c, (struct timespec *)d);
    case SYS_getrandom:
        return fill_random((char *)a, (size_t)b);
    case SYS_arch_prctl:
        if (a != ARCH_SET_FS)
            return -EINVAL;
        msr_write(MSR_FS_BASE, (uint64_t)b);
        return 0;
    case SYS_set_tid_address:
    case SYS_gettid:
        return (long)core_self()->number + 1;
    case SYS_getpid:
        return 1;
    case SYS_futex: /* whoever waits looks again: libc's locks spin */
    case SYS_sched_yield:
        chalk_pause();
        return 0;
    case SYS_madvise:
        return 0;
    case SYS_clone:
        return core_clone(call);
    case SYS_exit:
        end_thread();
    case SYS_exit_group:
        machine_exit((int)a);
    default:
        return -ENOSYS; /* brk too: malloc then uses mmap alone */
    }
}

/* ---- threads: one for each core that runs ---- */

static void *run_core(void *argument)
{
    struct core *core = argument;

    core->entry(core->number, core->argument);
    return NULL;
}

/*
 * libc is told of a core as of any thread, so that errno and other thread-local variables are the core's own,
 * and so that it takes its locks. The thread's own data is at the top of the stack.
 */
int libc_thread(struct core *core)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstack(&attributes, core->stack, (size_t)(core->stack_top - core->stack));
    return -pthread_create(&thread, &attributes, run_core, core);
}

/* ---- the start ---- */

static struct arguments arguments;

void libc_read_command_line(void)
{
    static const char log[] = "CHALK_LOG=";
    const char *fault = arguments_split(boot.command_line, &arguments);

    if (fault != NULL)
        machine_refuse("%s", fault);
    for (unsigned i = 0; i < arguments.environment_count; i++)
        if (strncmp(arguments.environment[i], log, sizeof log - 1) == 0)
            (void)chalk_log_level_named(arguments.environment[i] + sizeof log -
                                        1); /* which says what is wrong */
}

static bool running;
static _Atomic(struct core *) ending;

/* One core ends the program, in libc's order; the others wait for that. */
_Noreturn void chalk_exit(int status)
{
    struct core *before = NULL;

    if (running && atomic_compare_exchange_strong(&ending, &before, core_self()))
        exit(status); /* as hosted: what was printed is seen */
    while (running && before != core_self())
        chalk_pause();
    machine_exit(status);
}

static int run(int argc, char *argv[], char *environment[])
{
    (void)environment;
    running = true;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a line that was printed is seen, whatever comes next */
    int status = chalk_version_check() == 0 ? chalk_main(argc, argv) : 1;
    devices_stop();
    if (chalk_main_ended != NULL)
        chalk_main_ended();
    chalk_exit(status);
}

/* What Linux leaves on a new program's stack: psABI x86-64 3.4.1. */
_Noreturn void libc_start(void)
{
    static union {
        char *text;
        uint64_t value;
    } stack[ARGUMENTS_MAX + 64]; /* each word is an argument or of the environment */
    const uint64_t auxiliary[][2] = {
        {AT_PAGESZ, MEMORY_PAGE},
        {AT_PHDR, (uint64_t)chalk_image_start + chalk_image_start->e_phoff},
        {AT_PHNUM, chalk_image_start->e_phnum},
        {AT_PHENT, chalk_image_start->e_phentsize},
        {AT_RANDOM, (uint64_t)(uint64_t[2]){chance(), chance()}},
        {AT_UID, 0},
        {AT_EUID, 0},
        {AT_GID, 0},
        {AT_EGID, 0},
        {AT_SECURE, 0},
        {AT_NULL, 0},
    };
    unsigned n = 0;

    stack[n++].text = (char *)symbols_program();
    for (unsigned i = 0; i < arguments.count; i++)
        stack[n++].text = arguments.words[i];
    n++;
    for (unsigned i = 0; i < arguments.environment_count; i++)
        stack[n++].text = arguments.environment[i];
    n++;
    for (unsigned i = 0; i < sizeof auxiliary / sizeof auxiliary[0]; i++) {
        stack[n++].value = auxiliary[i][0];
        stack[n++].value = auxiliary[i][1];
    }
    __libc_start_main(run, (int)arguments.count + 1, &stack[0].text, NULL, NULL, NULL);
    machine_exit(1);
}
