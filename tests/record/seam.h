/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What passes between a driver and its device, one step a line: "STEP", or "STEP = ANSWER" where the device
 * (or the platform) answered something. seam.c sees the steps, in a program that is linked with the
 * instrumented library and SEAM_WRAPS (meson.build). Either recorder.c writes them down, or replayer.c takes
 * the answers from what was written down, and there is no device; or tests/fuzz/answers.c makes them up.
 */
#ifndef TESTS_RECORD_SEAM_H
#define TESTS_RECORD_SEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEAM_STEP_SIZE 512

/* Whether answers do not come from the device: then memory is answered before it is loaded, not after. */
extern const bool seam_replays;

/*
 * One step of the driver, and the `size` bytes that answer it: what came, for the recorder; to be filled in,
 * by the replayer; to be left or changed, by the fuzzer. Up to 8 bytes are shown as a number.
 */
void seam_step(const char *step, void *answer, size_t size);

/* Another life of the driver: all windows of the one before are gone. */
void seam_begin(void);

/* The replayer's next span begins at `iova`. */
void seam_place_span(uint64_t iova);

/* Writes bytes as hexadecimal digits, a run of n zero bytes as -n-. Returns the end of the text. */
char *seam_print(char *text, const void *bytes, size_t size);
/* Reads `size` bytes of that kind. False if the text is of something else. */
bool seam_parse(const char *text, void *bytes, size_t size);
/* The longest text for `size` bytes. */
#define SEAM_TEXT_SIZE(size) (2 * (size) + 1)

#endif
