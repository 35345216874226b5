/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device answers, as the fuzzer wants it: harnesses of whole drivers are linked with the seam
 * (tests/record/seam.h), and every register, every configuration register and every observed load of memory
 * that the device writes comes through here.
 *
 * Below is a model, which behaves. The input is a list of what is done with its answers, one after the other;
 * a byte is `n << 3 | what`. So a short input gets deep into a driver, and lies there; and so a recording is
 * an input as well, of ANSWER_RAW alone: seeds.py makes it one. With CHALK_FUZZ_SHOW=1 in the environment
 * every step is shown.
 */
#ifndef TESTS_FUZZ_ANSWERS_H
#define TESTS_FUZZ_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum answer {
    ANSWER_TRUE,    /* the next n + 1 are the model's */
    ANSWER_RAW,     /* the next n % 16 + 1 are bytes of the input: see answers.c for long ones; if n is 16 or
                     * more,     not before the driver does something else than the same again */
    ANSWER_FLIP,    /* one bit of the next; of long ones n + 1 bytes somewhere */
    ANSWER_SPECIAL, /* the next is one that likes to be forgotten: all ones, one more, an old one ... */
    ANSWER_AGAIN,   /* the next 8 * (n + 1) are the one before */
    ANSWER_GONE,    /* it is unplugged now */
    ANSWER_INTERRUPT, /* it interrupts now, vector n */
    ANSWER_LATER,     /* 2^(n % 16) ms pass now */
};

/* What there is when the input has come to its end. */
enum answers_end { ANSWERS_END_TRUE, ANSWERS_END_ZERO, ANSWERS_END_GONE };

/* What the harness does with its device. */
struct answers_device {
    void (*unplug)(void);
    void (*interrupt)(unsigned vector);
    void (*work)(void); /* whenever the program looks at the time; NULL: nothing */
};

/* A life begins, with this input. On the fake platform, just reset. */
void answers_begin(const uint8_t *data, size_t size, const struct answers_device *device);

/* The next byte of the input, for the harness itself; 0 at its end. */
uint8_t answers_take(void);

/* So it ends. */
void answers_end(enum answers_end end);

/* How many answers were not the model's. */
extern unsigned answers_lies;

/*
 * The program has `ns` from now on for what it does next; another call sets another limit. Whoever takes
 * longer, or looks at the device for ever, is ended. Time that the input lets pass does not count.
 */
void answers_limit(uint64_t ns);

/* Ends the run unless `condition` holds. */
#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            answers_fail(#condition, __FILE__, __LINE__);                                                    \
    } while (0)
_Noreturn void answers_fail(const char *what, const char *file, int line);

#endif
