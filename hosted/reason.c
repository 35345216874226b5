/* SPDX-License-Identifier: BSD-2-Clause */
#include "reason.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <chalk/log.h>

const char *hosted_reason(int error)
{
    static _Thread_local char text[128];
    struct rlimit limit;

    error = abs(error);
    if (error == EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0)
        chalk_format(
            text, sizeof text,
            "%s: the limit of this process is %llu; raise it (ulimit -n, or LimitNOFILE= of systemd)",
            strerror(error), (unsigned long long)limit.rlim_cur);
    else if (error == ENFILE)
        chalk_format(text, sizeof text, "%s: root raises the limit with: sysctl fs.file-max=NUMBER",
                     strerror(error));
    else
        chalk_format(text, sizeof text, "%s", strerror(error));
    return text;
}
