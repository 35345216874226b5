/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which Chalk this is: of the headers that a program was compiled with (the macros), and of the archive that
 * it is linked to (the functions). Before 1.0.0 any minor version may change the interface; afterwards a
 * major one does, a minor one adds to it, and a patch changes nothing of it (semver.org 2.0.0).
 */
#ifndef CHALK_VERSION_H
#define CHALK_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_VERSION_MAJOR 0
#define CHALK_VERSION_MINOR 1
#define CHALK_VERSION_PATCH 0

/* Numbers to be compared, also by #if: each part is below 1000. */
#define CHALK_VERSION_NUMBER(major, minor, patch) ((major)*1000000 + (minor)*1000 + (patch))
#define CHALK_VERSION                             CHALK_VERSION_NUMBER(CHALK_VERSION_MAJOR, CHALK_VERSION_MINOR, CHALK_VERSION_PATCH)

/* CHALK_VERSION of the headers: each source file that includes this one defines it, and the linker keeps the
 * program's. */
__attribute__((weak)) unsigned chalk_program_version = CHALK_VERSION;

/*
 * The platform's, at the start: compares that with the archive. Errors: -EINVAL (the headers are of another
 * version, whose interface may differ; logged, with the cure).
 */
int chalk_version_check(void);

/* CHALK_VERSION of the archive. */
unsigned chalk_version(void);

/* The same for people: "0.1.0". */
const char *chalk_version_text(void);

#ifdef __cplusplus
}
#endif
#endif
