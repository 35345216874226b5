/* SPDX-License-Identifier: BSD-2-Clause */
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/version.h>

#define TEXT(number)                #number
#define DOTTED(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

/* Two versions have the same interface if they are the same here: before 1.0.0 each minor version may change
 * it, afterwards a major one does. */
static unsigned interface(unsigned version)
{
    return version < CHALK_VERSION_NUMBER(1, 0, 0) ? version / 1000 * 1000 : version / 1000000 * 1000000;
}

int chalk_version_check(void)
{
    unsigned program = chalk_program_version;

    if (interface(program) == interface(CHALK_VERSION))
        return 0;
    chalk_log(CHALK_ERROR,
              "this program was compiled with the headers of Chalk %u.%u.%u and linked to the archive of %s: "
              "compile it anew with the headers that are beside the archive",
              program / 1000000, program / 1000 % 1000, program % 1000, chalk_version_text());
    return -EINVAL;
}

unsigned chalk_version(void)
{
    return CHALK_VERSION;
}

const char *chalk_version_text(void)
{
    return DOTTED(CHALK_VERSION_MAJOR, CHALK_VERSION_MINOR, CHALK_VERSION_PATCH);
}
