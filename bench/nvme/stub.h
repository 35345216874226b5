/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A platform with one NVMe controller in it, for counting what the driver executes: one process, one core,
 * and a device that works only when it is told to, so that nothing it does is counted.
 *
 * Its registers are served by calls, the doorbells of I/O queues are memory, as real ones are: a doorbell is
 * one store. It completes every I/O command without looking at its data.
 */
#ifndef BENCH_NVME_STUB_H
#define BENCH_NVME_STUB_H

#include <chalk/platform.h>

#define STUB_NAME   "0000:00:01.0"
#define STUB_QUEUES 63 /* that it grants; of these the first executes commands */

/* Executes what the submission queue's doorbell has told it of. Returns how many commands that were. */
unsigned stub_run(void);

/* Its namespaces, 1 to so many, all alike; to be set before it is opened. */
extern unsigned stub_namespaces;

/* Accesses of its registers so far, I/O doorbells not among them. */
extern unsigned stub_register_accesses;

#endif
