/* SPDX-License-Identifier: BSD-2-Clause */
/* words: its arguments, and what it knows of its environment. */
#include <chalk/log.h>
#include <chalk/main.h>

#include <stdio.h>
#include <stdlib.h>

int chalk_main(int argc, char *argv[])
{
    const char *value = getenv("CHALK_WORD");

    for (int i = 1; i < argc; i++)
        printf("[%s]", argv[i]);
    printf(" CHALK_WORD %s\n", value != NULL ? value : "is not set");
    chalk_log(CHALK_INFO, "of level info");
    return 0;
}
