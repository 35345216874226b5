/* SPDX-License-Identifier: BSD-2-Clause */
/* A walk along frame pointers (System V psABI x86-64 3.2.2). */
#include <chalk/stack.h>
#include <string.h>

#define FRAME_MAX ((uintptr_t)64 << 10) /* bytes: a caller that is further away is no caller */

/* Frames lie at multiples of 16, each above the one that it called; anything else is code without them. */
__attribute__((noinline, no_sanitize("address"))) void chalk_stack_take(struct chalk_stack *stack)
{
    const uintptr_t *frame = __builtin_frame_address(0);

    memset(stack, 0, sizeof *stack);
    frame = (const uintptr_t *)frame[0]; /* the caller's own; its return address is the first place */
    for (unsigned i = 0; i < CHALK_STACK_DEPTH && frame[1]; i++) {
        uintptr_t next = frame[0];

        stack->places[i] = frame[1];
        if (next <= (uintptr_t)frame || next - (uintptr_t)frame > FRAME_MAX || next % 16 != 0)
            break;
        frame = (const uintptr_t *)next;
    }
}

void chalk_stack_log(enum chalk_level level, const struct chalk_stack *stack)
{
    char text[128];

    for (unsigned i = 0; i < CHALK_STACK_DEPTH && stack->places[i]; i++) {
        chalk_stack_name(stack->places[i] - 1, text, sizeof text); /* the call, not what follows it */
        chalk_log(level, "  #%-2u %s", i, text);
    }
}

__attribute__((weak)) void chalk_stack_name(uintptr_t place, char *text, size_t size)
{
    chalk_format(text, size, "0x%lx", (unsigned long)place);
}
