/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The last words: what happened, the registers, and who called whom. Nothing is trusted on the way: frames
 * are followed only upwards through readable memory, and a fault in here ends it at once.
 */
#include "cores.h"
#include "x86.h"

#include <chalk/log.h>
#include <string.h>

enum { VECTOR_BREAKPOINT = 3, VECTOR_PAGE_FAULT = 14 };

/* SDM vol. 3 4.7: the error code of a page fault */
#define FAULT_WRITE    0x02u
#define FAULT_RESERVED 0x08u
#define FAULT_FETCH    0x10u

#define DEPTH_MAX 32u /* frames shown */
#define SCAN_MAX  64u /* words looked at for a caller that kept no frame pointer */

extern const char chalk_text_start[], chalk_text_end[];

/* SDM vol. 3 table 6-1 */
static const char *const exception_names[32] = {
    "division error",
    "debug trap",
    "non-maskable interrupt (a hardware error, or somebody asked)",
    "libc gave up: abort(), a failed assertion, or a damaged heap",
    "overflow trap",
    "bound range exceeded",
    "invalid opcode",
    "no x87 unit",
    "double fault",
    "coprocessor overrun",
    "invalid task state",
    "segment not present",
    "stack segment fault",
    "general protection fault (a wild address, or a privileged register)",
    "page fault",
    "exception 15",
    "x87 error",
    "misaligned access",
    "machine check",
    "SIMD floating-point error",
    "virtualization exception",
    "control protection fault",
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    char text[256];
    va_list list;
    int size;

    va_start(list, format);
    size = chalk_format_list(text, sizeof text, format, list);
    va_end(list);
    if (size > 0)
        serial_write(text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

/* A panic that panics has nothing more to say. Of several cores that panic, one has the word. */
static void enter_once(void)
{
    static bool entered;

    cores_stop_others();
    if (entered) {
        say("chalk: panic during a panic\n");
        machine_exit(PANIC_STATUS);
    }
    entered = true;
}

/* ---- who called whom ---- */

static void say_place(unsigned depth, uint64_t address, bool is_return, bool guess)
{
    uint64_t offset = 0;
    const char *name = symbols_find(address - is_return, &offset);

    say("  #%-2u 0x%08lx %s+0x%lx%s\n", depth, address, name != NULL ? name : "?", offset + is_return,
        guess ? " ?" : "");
}

static bool in_text(uint64_t address)
{
    return address > (uint64_t)chalk_text_start && address < (uint64_t)chalk_text_end;
}

/* Whether the instruction before `address` is a call: E8 rel32, or FF /2 of two to seven bytes. */
static bool follows_call(uint64_t address)
{
    const uint8_t *code = (const uint8_t *)address;

    if (!in_text(address - 7) || !in_text(address))
        return false;
    if (code[-5] == 0xe8)
        return true;
    for (int n = 2; n <= 7; n++)
        if (code[-n] == 0xff && (code[1 - n] >> 3 & 7) == 2)
            return true;
    return false;
}

/* Whether the function around `rip` keeps a frame pointer: push %rbp; mov %rsp, %rbp. libc's do not. */
static bool has_frame(uint64_t rip)
{
    static const uint8_t prologue[] = {0x55, 0x48, 0x89, 0xe5};
    uint64_t offset;

    return symbols_find(rip, &offset) != NULL && offset >= sizeof prologue &&
           memcmp((const void *)(rip - offset), prologue, sizeof prologue) == 0;
}

/* Between the stack pointer and the next frame lie the return addresses of functions without one; or
 * leftovers. */
static unsigned say_guesses(unsigned depth, uint64_t rsp, uint64_t rbp)
{
    for (unsigned i = 0; i < SCAN_MAX && depth < DEPTH_MAX; i++, rsp += 8) {
        if (rsp == rbp + 8 || !memory_readable(rsp))
            break;
        if (follows_call(*(const uint64_t *)rsp))
            say_place(depth++, *(const uint64_t *)rsp, true, true);
    }
    return depth;
}

static void backtrace(uint64_t rip, uint64_t rbp, uint64_t rsp)
{
    unsigned depth = 0;

    say_place(depth++, rip, false, false);
    if (!has_frame(rip))
        depth = say_guesses(depth, rsp & ~7ull, rbp);
    while (depth < DEPTH_MAX && memory_readable(rbp) && memory_readable(rbp + 8)) {
        const uint64_t *frame = (const uint64_t *)rbp;

        if (!in_text(frame[1]))
            break;
        say_place(depth++, frame[1], true, false);
        if (frame[0] <= rbp)
            break;
        rbp = frame[0];
    }
}

/* ---- what happened ---- */

static void say_page_fault(const struct trap_frame *frame, uint64_t address)
{
    const char *stack = memory_guarded(address);
    const char *access = frame->error & FAULT_FETCH   ? "execution"
                         : frame->error & FAULT_WRITE ? "write"
                                                      : "read";

    if (frame->error & FAULT_RESERVED)
        say("page fault: broken page tables at 0x%lx\n", address);
    else if (stack != NULL)
        say("page fault: %s at 0x%lx: the guard page of the %s, which overflowed\n", access, address, stack);
    else
        say("page fault: %s at 0x%lx: %s\n", access, address, memory_describe(address));
}

static void say_registers(const struct trap_frame *f)
{
    say("  rip %016lx  rflags %016lx  cr2 %016lx  error %lx\n", f->rip, f->rflags, cr2_read(), f->error);
    say("  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    say("  rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
    say("  r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
    say("  r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
}

_Noreturn void panic_exception(const struct trap_frame *frame)
{
    const char *name = frame->vector < 32 ? exception_names[frame->vector] : NULL;

    enter_once();
    say("\nchalk: panic on core %u: ", core_self()->number);
    if (frame->vector == VECTOR_PAGE_FAULT)
        say_page_fault(frame, cr2_read());
    else
        say("%s\n", name != NULL ? name : "reserved exception");
    say_registers(frame);
    backtrace(frame->vector == VECTOR_BREAKPOINT ? frame->rip - 1 : frame->rip, frame->rbp, frame->rsp);
    machine_exit(PANIC_STATUS);
}

_Noreturn void panic(const char *format, ...)
{
    char text[256];
    va_list list;
    uint64_t here = (uint64_t)__builtin_frame_address(0);

    enter_once();
    va_start(list, format);
    chalk_format_list(text, sizeof text, format, list);
    va_end(list);
    say("\nchalk: panic on core %u: %s\n", core_self()->number, text);
    backtrace((uint64_t)__builtin_return_address(0), *(uint64_t *)here, here);
    machine_exit(PANIC_STATUS);
}
