/* SPDX-License-Identifier: BSD-2-Clause */
/* Where an application starts, in both worlds. */
#ifndef CHALK_MAIN_H
#define CHALK_MAIN_H

#include <chalk/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The application's own. It runs on core 0; argv is the command line (bare: the kernel's). What it returns is
 * the exit status: 0 for success. It may use libc (glibc hosted, musl bare) and everything in <chalk/...>.
 */
int chalk_main(int argc, char *argv[]);

/* The library's own, in debug builds: logs who still holds which memory. The platform calls it when
 * chalk_main() has returned, or in chalk_stop(). In release builds there is none. */
__attribute__((weak)) void chalk_main_ended(void);

#ifdef __cplusplus
}
#endif
#endif
