/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a disk keeps its bytes: nowhere, in memory, or in a file. */
#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

/* So many requests of one store can be under way. */
#define STORE_DEPTH 256

enum store_op {
    STORE_READ,
    STORE_WRITE,
    STORE_WRITE_THROUGH, /* is on the disk when it has finished */
    STORE_FLUSH,
    STORE_ZERO
};

/* The owner's until it is begun, and again when it has finished. */
struct store_request {
    enum store_op op;
    uint64_t offset; /* inside the store, and so is the end */
    void *bytes;
    size_t size;
    int error;  /* errno value, when finished; of STORE_ZERO any: its file system makes no holes */
    int result; /* this and the next: the store's own */
    struct store_request *next;
};

/* Whether a backing is a file. */
bool store_is_file(const char *backing);

/*
 * Opens "null", "ram", "file:PATH" or "raw:PATH". Size 0 takes the file's own. A file that is missing or
 * empty gets the size; any other file must have it. A file that is an image of another format than raw is
 * refused, but for "raw:PATH". Errors (logged): negative errno values.
 */
int store_open(const char *backing, uint64_t size, struct store **store);
void store_close(struct store *store);

uint64_t store_size(const struct store *store);
bool store_is_null(const struct store *store); /* what is read is whatever was in the buffer */
char *store_memory(const struct store *store); /* all of it; NULL: it takes requests */

/* Makes zeroes of it, and gives Linux its space back where that can be: of any store, when no request for the
 * same bytes is under way. Errors: of the file system. */
int store_zero(struct store *store, uint64_t offset, uint64_t size);

/* Of a file: requests take their time. Errors: -EAGAIN (too many at once). */
int store_begin(struct store *store, struct store_request *request);
/* One that has finished; NULL if none has. With `wait`, NULL only if none is under way. */
struct store_request *store_finished(struct store *store, bool wait);
/* A descriptor that can be read when a request of any store has finished; -1: none of them takes time. */
int store_wake(void);

#endif
