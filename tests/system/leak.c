/* SPDX-License-Identifier: BSD-2-Clause */
/* leak: ends without giving its memory back. The debug and instrumented builds say so; a release does not
 * care. */
#include <chalk/main.h>
#include <chalk/memory.h>

int chalk_main(int argc, char *argv[])
{
    struct chalk_memory *memory;

    (void)argc;
    (void)argv;
    return chalk_memory_create(&(struct chalk_memory_options){.shared_size = CHALK_PAGE, .name = "forgotten"},
                               &memory);
}
