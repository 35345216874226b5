/* SPDX-License-Identifier: BSD-2-Clause */
/* Loans, as the allocators ask about them: nothing unless the build is instrumented. */
#ifndef CHALK_MEMORY_LOANS_H
#define CHALK_MEMORY_LOANS_H

#include <chalk/loan.h>

#ifdef CHALK_INSTRUMENTED

/*
 * Ends the program if a device of `domain` (NULL: of any) owns some of these bytes: "WHO WHAT SIZE bytes at
 * VA", and both stacks.
 */
void chalk_loan_check(const char *who, const char *what, const void *va, size_t size,
                      const struct chalk_domain *domain);

#else

static inline void chalk_loan_check(const char *who, const char *what, const void *va, size_t size,
                                    const struct chalk_domain *domain)
{
    (void)who;
    (void)what;
    (void)va;
    (void)size;
    (void)domain;
}

#endif
#endif
