/* SPDX-License-Identifier: BSD-2-Clause */
/* Put before every source of the unit tests: the time stamp counter is the fake platform's, so time is
 * virtual. */
#ifndef FAKE_TICKS_H
#define FAKE_TICKS_H

#ifndef __ASSEMBLER__
unsigned long long fake_ticks(void);
#endif
#define __builtin_ia32_rdtsc fake_ticks

#endif
