/* SPDX-License-Identifier: BSD-2-Clause */
/* What a program printed, and whether it arrived. */
#ifndef HOSTED_OUTPUT_H
#define HOSTED_OUTPUT_H

/*
 * Keeps descriptors 0 to 2 from becoming something else, before anything is opened: one that is closed
 * becomes /dev/null, opened so that the use it has fails with EBADF as before. Ignores SIGXFSZ: a write
 * beyond the limit of file sizes (ulimit -f) fails with EFBIG, of which hosted_output_finish() tells, and
 * does not end the process.
 */
void hosted_output_start(void);

/*
 * Flushes standard output, at a program's end. Returns `status`; or if something that was printed could not
 * be written (a full disk, a closed descriptor; logged), 1 in place of 0.
 */
int hosted_output_finish(int status);

#endif
