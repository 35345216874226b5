/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast the time stamp counter runs, and what time it is. The processor or the hypervisor says the rate
 * where it can; else the counter is compared for 2 ms with a clock whose rate is known, so that a start stays
 * short.
 */
#include "machine.h"
#include "x86.h"

#include <chalk/clock.h>

#define WINDOW_NS      2000000ull
#define WINDOW_STEPS   1000000u /* reads of the other clock, about a microsecond each */
#define HERTZ_LEAST    100000000ull
#define HERTZ_MOST     10000000000ull
#define FEMTOSECONDS   1000000000000000ull
#define PIT_HERTZ      1193182u /* 8254, and thus every PC */
#define PM_TIMER_HERTZ 3579545u /* ACPI 6.5 4.8.3.3 */

static struct chalk_clock clock;

const struct chalk_clock *chalk_clock_info(void)
{
    return &clock;
}

/* ---- clocks of known rate ---- */

struct reference {
    uint32_t (*read)(void);
    uint32_t mask;
    uint64_t period_fs;
};

static volatile uint32_t *hpet; /* IA-PC HPET 1.0a 2.3 */

static uint32_t hpet_read(void)
{
    return hpet[0xf0 / 4];
}

static uint32_t pm_timer_read(void)
{
    return in32(acpi.pm_timer);
}

/* Channel 2 counts down; 0x80 latches it (8254: counter latch command). */
static uint32_t pit_read(void)
{
    out8(0x43, 0x80);
    uint32_t low = in8(0x42);
    return ~(low | (uint32_t)in8(0x42) << 8);
}

static bool hpet_open(struct reference *r)
{
    if (acpi.hpet == 0 || memory_map_device(acpi.hpet, 1024, CHALK_UNCACHED) != 0)
        return false;
    hpet = (volatile uint32_t *)acpi.hpet;
    hpet[0x10 / 4] = (hpet[0x10 / 4] & ~2u) | 1; /* count, and leave the 8254's interrupts alone */
    *r = (struct reference){hpet_read, UINT32_MAX, hpet[1]};
    return r->period_fs > 0 && r->period_fs <= 100000000; /* 2.3.4: at most 100 ns */
}

static bool pm_timer_open(struct reference *r)
{
    *r = (struct reference){pm_timer_read, 0xffffff, FEMTOSECONDS / PM_TIMER_HERTZ};
    return acpi.pm_timer != 0;
}

static bool pit_open(struct reference *r)
{
    out8(0x61, (uint8_t)((in8(0x61) & ~2u) | 1)); /* gate of channel 2 on, speaker off */
    out8(0x43, 0xb0);                             /* channel 2, both bytes, mode 0, binary */
    out8(0x42, 0xff);
    out8(0x42, 0xff);
    *r = (struct reference){pit_read, 0xffff, FEMTOSECONDS / PIT_HERTZ};
    return true;
}

struct moment {
    uint64_t ticks;
    uint32_t count;
};

/* Both clocks at one moment: of a few tries the one that took least, since a read may be interrupted from
 * below. */
static struct moment moment(const struct reference *r)
{
    struct moment best = {0};
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t before = chalk_ticks();
        uint32_t count = r->read();
        uint64_t took = chalk_ticks() - before;

        if (took < least) {
            least = took;
            best = (struct moment){before + took / 2, count};
        }
    }
    return best;
}

/* The counter's rate in hertz, or 0 if the other clock stands still. */
static uint64_t compare(const struct reference *r)
{
    struct moment start = moment(r), end;
    uint64_t window = WINDOW_NS * 1000000 / r->period_fs;
    unsigned step = 0;

    while (((r->read() - start.count) & r->mask) < window)
        if (++step == WINDOW_STEPS)
            return 0;
    end = moment(r);
    return (uint64_t)((unsigned __int128)(end.ticks - start.ticks) * FEMTOSECONDS /
                      ((unsigned __int128)((end.count - start.count) & r->mask) * r->period_fs));
}

/* ---- the rate ---- */

static bool plausible(uint64_t hertz)
{
    return hertz >= HERTZ_LEAST && hertz <= HERTZ_MOST;
}

/* SDM vol. 2, CPUID leaf 0x15: ratio to a crystal, and the crystal's rate. */
static uint64_t hertz_from_processor(void)
{
    struct cpuid r;

    if (cpuid(0, 0).a < 0x15)
        return 0;
    r = cpuid(0x15, 0);
    return r.a != 0 ? (uint64_t)r.c * r.b / r.a : 0;
}

/* The timing leaf that VMware, KVM and others share: kHz in eax. */
static uint64_t hertz_from_hypervisor(void)
{
    const uint32_t hypervisor = 1u << 31;

    if (!(cpuid(1, 0).c & hypervisor) || cpuid(0x40000000, 0).a < 0x40000010)
        return 0;
    return cpuid(0x40000010, 0).a * 1000ull;
}

static uint64_t hertz_from_other_clocks(void)
{
    static bool (*const open[])(struct reference *) = {hpet_open, pm_timer_open, pit_open};
    struct reference r;
    uint64_t hertz = 0;

    for (unsigned i = 0; i < sizeof open / sizeof open[0] && !plausible(hertz); i++)
        hertz = open[i](&r) ? compare(&r) : 0;
    return hertz;
}

/* ---- the time of day: Motorola MC146818, in UTC ---- */

enum {
    SECONDS = 0,
    MINUTES = 2,
    HOURS = 4,
    DAY = 7,
    MONTH = 8,
    YEAR = 9,
    STATUS_A = 10,
    STATUS_B = 11,
    FIELDS = 6
};

static uint8_t rtc_read(uint8_t index)
{
    out8(0x70, index); /* bit 7 stays clear: it would mask NMIs for good */
    return in8(0x71);
}

/* Twice the same outside of an update (at most 2 ms) is the time. */
static bool rtc_fields(uint8_t now[FIELDS])
{
    static const uint8_t where[FIELDS] = {SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR};
    const uint8_t updating = 0x80;

    for (unsigned try = 0; try < 4000; try++) {
        bool same = true;

        if (rtc_read(STATUS_A) & updating)
            continue;
        for (unsigned i = 0; i < FIELDS; i++) {
            uint8_t value = rtc_read(where[i]);

            same = same && try > 0 && value == now[i];
            now[i] = value;
        }
        if (same)
            return true;
    }
    return false;
}

static unsigned from_bcd(unsigned value)
{
    return (value >> 4) * 10 + (value & 15);
}

/* Seconds since 1970, or 0 when the chip has no time. The century is this one: few machines tell it. */
static uint64_t rtc_seconds(void)
{
    static const unsigned days_before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    const uint8_t afternoon = 0x80, binary = 0x04, hours_24 = 0x02;
    uint8_t now[FIELDS] = {0}, status;
    unsigned f[FIELDS];
    bool pm;

    if (!rtc_fields(now))
        return 0;
    status = rtc_read(STATUS_B);
    pm = !(status & hours_24) && (now[2] & afternoon);
    if (!(status & hours_24))
        now[2] &= (uint8_t)~afternoon;
    for (unsigned i = 0; i < FIELDS; i++)
        f[i] = status & binary ? now[i] : from_bcd(now[i]);
    if (!(status & hours_24))
        f[2] = f[2] % 12 + (pm ? 12 : 0);
    if (f[0] > 59 || f[1] > 59 || f[2] > 23 || f[3] < 1 || f[3] > 31 || f[4] < 1 || f[4] > 12 || f[5] > 99)
        return 0;
    uint64_t years = f[5] + 30u, leap_days = (years + 1) / 4; /* since 1970; 2000 was a leap year */
    uint64_t days = years * 365 + leap_days + days_before[f[4] - 1] + f[3] - 1;
    if (f[4] > 2 && f[5] % 4 == 0)
        days++;
    return ((days * 24 + f[2]) * 60 + f[1]) * 60 + f[0];
}

void clock_start(void)
{
    const unsigned __int128 one = (unsigned __int128)1 << 32;
    uint64_t hertz = hertz_from_processor();

    if (!plausible(hertz))
        hertz = hertz_from_hypervisor();
    if (!plausible(hertz))
        hertz = hertz_from_other_clocks();
    if (!plausible(hertz))
        machine_refuse(
            "no clock to calibrate the time stamp counter with; enable HPET or ACPI in the firmware "
            "(QEMU: -machine hpet=on)");
    clock.hertz = hertz;
    clock.ns_mult = (uint64_t)(one * CHALK_S / hertz);
    clock.ticks_mult = (uint64_t)(one * hertz / CHALK_S);
    clock.wall_ns = rtc_seconds() * CHALK_S;
    clock.wall_ticks = chalk_ticks();
}
