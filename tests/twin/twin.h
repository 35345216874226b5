/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One line for each thing that holds, the same in both worlds: so only what the contract promises is printed,
 * and never a number that a world may choose.
 */
#ifndef TESTS_TWIN_H
#define TESTS_TWIN_H

#include <chalk/error.h>

#include <stdbool.h>
#include <stdio.h>

static unsigned twin_failures;

static inline bool expect(bool holds, const char *what)
{
    printf("%s %s\n", holds ? "ok    " : "NOT OK", what);
    fflush(stdout); /* or a message of Chalk's may come in the middle of a line */
    twin_failures += !holds;
    return holds;
}

/* That a call returned what it should; what it returned instead is printed only when it did not. */
static inline bool expect_result(int result, int wanted, const char *what)
{
    if (result == wanted)
        printf("ok     %s: %d\n", what, result);
    else
        printf("NOT OK %s: %d (%s), not %d\n", what, result, chalk_error_name(result), wanted);
    fflush(stdout);
    twin_failures += result != wanted;
    return result == wanted;
}

#endif
