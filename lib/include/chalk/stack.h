/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who called whom, for messages about mistakes that were made elsewhere. Chalk and the programs that it
 * builds keep frame pointers, so a stack is a chain of frames; where it leaves code that does not, it ends
 * early.
 */
#ifndef CHALK_STACK_H
#define CHALK_STACK_H

#include <chalk/log.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_STACK_DEPTH 12

/* Return addresses, the innermost first; 0 after the last. */
struct chalk_stack {
    uintptr_t places[CHALK_STACK_DEPTH];
};

/* The stack of the caller, which is not part of it. */
void chalk_stack_take(struct chalk_stack *stack);

/* Logs a line for each place. */
void chalk_stack_log(enum chalk_level level, const struct chalk_stack *stack);

/*
 * Describes a place in the program's text: its function, if the program was not stripped; hosted also the
 * address in the executable or library, for addr2line -e. Without a platform that knows more, it is the
 * address.
 */
void chalk_stack_name(uintptr_t place, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
