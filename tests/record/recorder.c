/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes down what passes between a driver and its device, into the file that CHALK_RECORD names. A step that
 * is like the one before, with the same answer, is a driver that polls: it is written once.
 */
#include "seam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const bool seam_replays = false;

static FILE *file;

static void begin(void)
{
    const char *path = getenv("CHALK_RECORD");

    file = path != NULL ? fopen(path, "w") : NULL;
    if (file == NULL) {
        fprintf(
            stderr,
            "this program records what it does with its device: name a file to write, CHALK_RECORD=FILE\n");
        exit(2);
    }
}

void seam_step(const char *step, void *answer, size_t size)
{
    static char *last;
    char *line = malloc(SEAM_STEP_SIZE + SEAM_TEXT_SIZE(size) + 8), *end;
    uint64_t number = 0;

    if (file == NULL)
        begin();
    if (line == NULL)
        abort();
    end = line + sprintf(line, "%s", step);
    if (size > 8) {
        end += sprintf(end, " = ");
        seam_print(end, answer, size);
    } else if (size != 0) {
        memcpy(&number, answer, size);
        sprintf(end, " = %#llx", (unsigned long long)number);
    }
    if (last == NULL || strcmp(line, last) != 0)
        fprintf(file, "%s\n", line);
    fflush(file); /* the program may end anywhere */
    free(last);
    last = line;
}

void seam_place_span(uint64_t iova)
{
    (void)iova;
}
