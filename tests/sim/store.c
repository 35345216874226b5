/* SPDX-License-Identifier: BSD-2-Clause */
/* Stores in memory whose requests take their time, and finish in any order. */
#include "sim.h"

#include "tools/models/store.h"

#include <chalk/error.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 1 << 20 };

/* Nanoseconds that a request takes, at most: usually, and seldom, of a slow store. */
enum { USUAL = 20000, SLOW = 1 << 26, SELDOM = 32 };

struct store {
    uint64_t size;
    struct {
        struct store_request *request;
        uint64_t due;
    } under_way[STORE_DEPTH];
    unsigned count;
    bool slow;
    char bytes[SIZE];
};

static struct store stores[SIM_STORES];

struct store *store_begin_run(unsigned which, size_t size, bool slow)
{
    struct store *store = &stores[which];

    if (size > SIZE)
        abort();
    store->size = size;
    store->count = 0;
    store->slow = slow;
    memset(store->bytes, 0, size);
    return store;
}

/* Namespaces are not created here. */
int store_open(const char *backing, uint64_t size, struct store **store)
{
    (void)backing, (void)size, (void)store;
    return -ENOMEM;
}

void store_close(struct store *store)
{
    (void)store;
}

uint64_t store_due(void)
{
    uint64_t due = UINT64_MAX;

    for (const struct store *store = stores; store < stores + SIM_STORES; store++)
        for (unsigned i = 0; i < store->count; i++)
            if (store->under_way[i].due < due)
                due = store->under_way[i].due;
    return due;
}

uint64_t store_size(const struct store *of)
{
    return of->size;
}

bool store_is_null(const struct store *of)
{
    (void)of;
    return false;
}

char *store_memory(const struct store *of)
{
    (void)of;
    return NULL;
}

int store_begin(struct store *of, struct store_request *request)
{
    if (of->count == STORE_DEPTH)
        return -EAGAIN;
    of->under_way[of->count].request = request;
    of->under_way[of->count++].due = sim_now() + sim_below(of->slow && sim_below(SELDOM) == 0 ? SLOW : USUAL);
    return 0;
}

static void move(struct store *of, const struct store_request *request)
{
    if (request->op == STORE_READ)
        memcpy(request->bytes, of->bytes + request->offset, request->size);
    else if (request->op == STORE_WRITE || request->op == STORE_WRITE_THROUGH)
        memcpy(of->bytes + request->offset, request->bytes, request->size);
    else if (request->op == STORE_ZERO)
        memset(of->bytes + request->offset, 0, request->size);
}

int store_zero(struct store *of, uint64_t offset, uint64_t size)
{
    memset(of->bytes + offset, 0, size);
    return 0;
}

struct store_request *store_finished(struct store *of, bool wait)
{
    for (unsigned i = 0; i < of->count; i++) {
        struct store_request *request = of->under_way[i].request;

        if (!wait && of->under_way[i].due > sim_now())
            continue;
        of->under_way[i] = of->under_way[--of->count];
        move(of, request);
        request->error = 0;
        return request;
    }
    return NULL;
}

int store_wake(void)
{
    return -1;
}
