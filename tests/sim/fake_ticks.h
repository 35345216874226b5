/* SPDX-License-Identifier: BSD-2-Clause */
/* Put before every source: the time stamp counter is the simulation's, and whoever pauses looks at it. */
#ifndef SIM_FAKE_TICKS_H
#define SIM_FAKE_TICKS_H

#ifndef __ASSEMBLER__
unsigned long long sim_look(void);
#endif
#define __builtin_ia32_rdtsc sim_look
#define __builtin_ia32_pause (void)sim_look

#endif
