/* SPDX-License-Identifier: BSD-2-Clause */
/* Mistakes that end the program, made in a child of the test. */
#ifndef HOSTED_MISUSE_H
#define HOSTED_MISUSE_H

#include "hosted_console.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What a child says that ends in mistake number `which`, with the status of a failed assertion. */
static inline void expect_misuse(int (*mistake)(unsigned which), unsigned which, const char *text)
{
    int channel[2], status;
    pid_t child;

    assert_int_equal(pipe(channel), 0);
    child = fork();
    if (child == 0) {
        dup2(channel[1], STDERR_FILENO);
        console_echo = true;
        (void)mistake(which);
        _exit(0);
    }
    close(channel[1]);
    console_clear();
    console.size = (size_t)read(channel[0], console.text, sizeof console.text - 1);
    close(channel[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 134);
    if (!said(text))
        fail_msg("mistake %u: '%s' is not in: %s", which, text, console.text);
}

#endif
