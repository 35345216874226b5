/* SPDX-License-Identifier: BSD-2-Clause */
#include <chalk/version.h>

#define TEXT(number)                #number
#define DOTTED(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

unsigned chalk_version(void)
{
    return CHALK_VERSION;
}

const char *chalk_version_text(void)
{
    return DOTTED(CHALK_VERSION_MAJOR, CHALK_VERSION_MINOR, CHALK_VERSION_PATCH);
}
