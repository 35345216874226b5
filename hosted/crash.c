/* SPDX-License-Identifier: BSD-2-Clause */
/* See crash.h. Everything here runs in a signal handler, so it makes system calls and formats text, no more;
 * memory is read through Linux, which says what cannot be. */
#define _GNU_SOURCE
#include "crash.h"
#include "cores.h"
#include "guard.h"
#include "signals.h"
#include "symbols.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include <chalk/log.h>
#include <chalk/platform.h>

/* SDM vol. 3 4.7: the error code of a page fault */
#define FAULT_WRITE 0x02
#define FAULT_FETCH 0x10

#define DEPTH_MAX 32u  /* frames shown */
#define SCAN_MAX  512u /* words looked at for callers of code without frame pointers, as glibc's is */

static const int ends[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
#define ENDS (sizeof ends / sizeof ends[0])

static struct sigaction earlier[ENDS];
static bool taken[ENDS], handling;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char text[384];
    va_list list;
    int size;

    va_start(list, format);
    size = chalk_format_list(text, sizeof text, format, list);
    va_end(list);
    (void)chalk_console(text, size < (int)sizeof text ? (size_t)size : sizeof text - 1, true);
}

/* ---- who called whom ---- */

static uint64_t word(uint64_t address)
{
    uint64_t value;

    return hosted_memory_read(address, &value, sizeof value) ? value : 0;
}

/* Of a return address it is the call, one byte before, that has the name. */
static void say_place(unsigned depth, uint64_t address, bool is_return, bool guess)
{
    struct hosted_place place;
    char text[256];

    (void)hosted_place_find(address - is_return, &place);
    place.address += is_return;
    hosted_place_format(address, &place, text, sizeof text);
    say("  #%-2u 0x%012lx %s%s\n", depth, address, text, guess ? " ?" : "");
}

/* Whether the instruction before `address` is a call: E8 rel32, or FF /2 of two to seven bytes. */
static bool follows_call(uint64_t address)
{
    struct hosted_place place;
    unsigned char code[7];

    if (address < 4096 || !hosted_memory_read(address - sizeof code, code, sizeof code))
        return false;
    if (!hosted_place_find(address, &place) || !place.executable)
        return false;
    if (code[2] == 0xe8)
        return true;
    for (unsigned n = 2; n <= sizeof code; n++)
        if (code[sizeof code - n] == 0xff && (code[sizeof code - n + 1] >> 3 & 7) == 2)
            return true;
    return false;
}

/* Whether the function around `rip` keeps a frame pointer, and has set it: push %rbp; mov %rsp, %rbp. */
static bool has_frame(uint64_t rip)
{
    static const unsigned char prologue[] = {0x55, 0x48, 0x89, 0xe5};
    unsigned char code[sizeof prologue];
    struct hosted_place place;

    return hosted_place_find(rip, &place) && place.function[0] != '\0' && rip - place.start >= sizeof code &&
           hosted_memory_read(place.start, code, sizeof code) && memcmp(code, prologue, sizeof code) == 0;
}

/*
 * Above the stack pointer lie the return addresses of functions without a frame; or leftovers. Up to the
 * frame that `rbp` names, if that is one: there the chain goes on.
 */
static unsigned say_guesses(unsigned depth, uint64_t rsp, uint64_t rbp)
{
    for (unsigned i = 0; i < SCAN_MAX && depth < DEPTH_MAX && rsp != rbp + 8; i++, rsp += 8)
        if (follows_call(word(rsp)))
            say_place(depth++, word(rsp), true, true);
    return depth;
}

static bool is_above(uint64_t rbp, uint64_t rsp)
{
    return rbp >= rsp && rbp - rsp < (8u << 20) && rbp % 8 == 0;
}

static void backtrace(uint64_t rip, uint64_t rbp, uint64_t rsp)
{
    unsigned depth = 0;

    say_place(depth++, rip, false, false);
    if (!has_frame(rip))
        depth = say_guesses(depth, rsp & ~7ull, rbp);
    while (depth < DEPTH_MAX && is_above(rbp, rsp) && follows_call(word(rbp + 8))) {
        say_place(depth++, word(rbp + 8), true, false);
        rsp = rbp + 8;
        rbp = word(rbp);
    }
}

/* ---- what happened ---- */

static void say_page_fault(const siginfo_t *info, const greg_t *registers)
{
    const char *access = (registers[REG_ERR] & FAULT_FETCH) != 0   ? "execution"
                         : (registers[REG_ERR] & FAULT_WRITE) != 0 ? "write"
                                                                   : "read";
    uintptr_t address = (uintptr_t)info->si_addr;
    const char *guarded = hosted_guard_name(address);

    if (info->si_code != SEGV_MAPERR && info->si_code != SEGV_ACCERR)
        say("general protection fault (a wild address, or a privileged instruction)\n");
    else if (guarded != NULL)
        say("page fault: %s at 0x%lx: the guard page of the %s, which overflowed\n", access, address,
            guarded);
    else if (address - ((uintptr_t)registers[REG_RSP] - 65536) < 65536 + 4096)
        say("page fault: %s at 0x%lx: beside the stack, which overflowed\n", access, address);
    else if (address < 4096)
        say("page fault: %s at 0x%lx: the null page\n", access, address);
    else
        say("page fault: %s at 0x%lx: %s\n", access, address,
            info->si_code == SEGV_MAPERR ? "nothing is mapped there" : "what is there forbids it");
}

static void say_what(int signal, const siginfo_t *info, const greg_t *registers)
{
    if (signal == SIGSEGV)
        say_page_fault(info, registers);
    else if (signal == SIGBUS)
        say("bus error at %p: the file behind that memory was cut short, or memory or a device failed\n",
            info->si_addr);
    else if (signal == SIGILL)
        say("invalid opcode\n");
    else if (signal == SIGFPE)
        say("division error, or another one of arithmetic\n");
    else
        say("libc gave up: abort(), a failed assertion, or a damaged heap\n");
}

static void say_who(void)
{
    for (unsigned i = 0; hosted_core(i) != NULL; i++) {
        const struct core *core = hosted_core(i);

        if (core->open && pthread_equal(core->thread, pthread_self())) {
            say("\nchalk: crash on core %u: ", i);
            return;
        }
    }
    say("\nchalk: crash on a thread that is no core: ");
}

static void say_registers(const greg_t *r)
{
    say("  rip %016llx  rflags %016llx  cr2 %016llx  error %llx\n", r[REG_RIP], r[REG_EFL], r[REG_CR2],
        r[REG_ERR]);
    say("  rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx\n", r[REG_RAX], r[REG_RBX], r[REG_RCX],
        r[REG_RDX]);
    say("  rsi %016llx  rdi %016llx  rbp %016llx  rsp %016llx\n", r[REG_RSI], r[REG_RDI], r[REG_RBP],
        r[REG_RSP]);
    say("  r8  %016llx  r9  %016llx  r10 %016llx  r11 %016llx\n", r[REG_R8], r[REG_R9], r[REG_R10],
        r[REG_R11]);
    say("  r12 %016llx  r13 %016llx  r14 %016llx  r15 %016llx\n", r[REG_R12], r[REG_R13], r[REG_R14],
        r[REG_R15]);
}

/* Of several threads that crash, one has the word; and a crash in here ends it. */
static void report(int signal, const siginfo_t *info, const ucontext_t *context)
{
    static atomic_flag reporting = ATOMIC_FLAG_INIT;
    const greg_t *registers = context->uc_mcontext.gregs;

    if (atomic_flag_test_and_set(&reporting))
        return;
    say_who();
    say_what(signal, info, registers);
    say_registers(registers);
    backtrace((uint64_t)registers[REG_RIP], (uint64_t)registers[REG_RBP], (uint64_t)registers[REG_RSP]);
}

/* ---- signals ---- */

/* Without an earlier handler what did this is done again, and ends the process as if this one had never been
 * there: but for a signal that was sent, which has to be sent again. */
static void on_crash(int signal, siginfo_t *info, void *context)
{
    unsigned i = 0;

    while (i + 1 < ENDS && ends[i] != signal)
        i++;
    if (signal == SIGSEGV)
        hosted_guard_tell((uintptr_t)info->si_addr);
    if (hosted_signal_chain(&earlier[i], signal, info, context))
        return;
    if (info->si_code > 0 || signal == SIGABRT)
        report(signal, info, context);
    sigaction(signal, &earlier[i], NULL);
    if (info->si_code <= 0)
        raise(signal);
}

/* A handler cannot run on the stack that has just overflowed. */
static _Thread_local void *handler_stack;

void hosted_crash_enter(void)
{
    stack_t stack = {.ss_size = 65536};
    stack_t before;

    if (!handling || sigaltstack(NULL, &before) != 0 || (before.ss_flags & SS_DISABLE) == 0)
        return;
    stack.ss_sp = malloc(stack.ss_size);
    if (stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0)
        handler_stack = stack.ss_sp;
    else
        free(stack.ss_sp);
}

void hosted_crash_leave(void)
{
    if (handler_stack == NULL)
        return;
    sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
    free(handler_stack);
    handler_stack = NULL;
}

void hosted_crash_start(void)
{
    for (unsigned i = 0; i < ENDS; i++)
        taken[i] = hosted_signal_take(ends[i], on_crash, SA_ONSTACK, &earlier[i]);
    handling = true;
    hosted_crash_enter();
}

void hosted_crash_stop(void)
{
    for (unsigned i = 0; i < ENDS; i++)
        if (taken[i])
            hosted_signal_release(ends[i], on_crash, &earlier[i]);
    hosted_crash_leave();
    handling = false;
}
