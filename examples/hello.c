/* SPDX-License-Identifier: BSD-2-Clause */
/* The smallest program: the same source is a Linux process and a bootable image. */
#include <chalk/main.h>

#include <stdio.h>

int chalk_main(int argc, char *argv[])
{
    (void)argc;
    (void)argv;
    puts("hello from Chalk");
    return 0;
}
