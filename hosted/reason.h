/* SPDX-License-Identifier: BSD-2-Clause */
/* Why Linux refused something, in words for a message. */
#ifndef HOSTED_REASON_H
#define HOSTED_REASON_H

/*
 * What errno value `error` (positive or negative) means. Where the cause is a limit of this process or of the
 * machine on open files, that comes with its value and the cure: it can end any call that makes a descriptor.
 * The text lasts until the thread calls this again.
 */
const char *hosted_reason(int error);

#endif
