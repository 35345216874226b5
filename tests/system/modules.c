/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints the boot modules: bare.py boots it with one, and looks whether it is what the loader was given. */
#include <chalk/main.h>
#include <chalk/platform.h>

#include <stdio.h>

int chalk_main(int argc, char *argv[])
{
    struct chalk_span span;

    (void)argc, (void)argv;
    for (unsigned i = 0; chalk_span_get(i, &span) == 0; i++)
        if (span.kind == CHALK_SPAN_MODULE)
            printf("%s, %zu bytes: %.20s\n", span.name, span.size, (const char *)span.va);
    puts("these were all");
    return 0;
}
