/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cold side of pools: making them, moving batches between a core's cache and the ring, and the checks of
 * debug builds. The ring has a slot for every object, so it always has room for one that comes back.
 *
 *     private: | struct chalk_pool | caches | bits | slots of the ring |
 *     arena:   | objects ...                                           |
 */
#include "claims.h"
#include "loans.h"
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/pool.h>
#include <string.h>

#define BATCH  CHALK_POOL_BATCH
#define POISON 0xdb

/* ---- set-up ---- */

static bool is_power_of_two(size_t value)
{
    return value && (value & (value - 1)) == 0;
}

static uint32_t slot_count(uint32_t count)
{
    return count > 1 ? 1u << (32 - __builtin_clz(count - 1)) : 1;
}

static size_t bits_size(uint32_t count)
{
    return ((size_t)count + 63) / 64 * sizeof(uint64_t);
}

/* The books, laid out in what was got zeroed. */
static struct chalk_pool *lay_out(char *books, const struct chalk_pool_options *options, unsigned caches)
{
    struct chalk_pool *pool = (struct chalk_pool *)(void *)books;

    pool->caches = (struct chalk_pool_cache *)(void *)(books + ((sizeof *pool + 127) & ~(size_t)127));
    pool->cache_count = caches;
    for (unsigned i = 0; i < caches; i++)
        pool->caches[i].pool = pool;
    pool->out = (uint64_t *)(void *)(pool->caches + caches);
    chalk_ring_init(&pool->ring, (void **)(void *)((char *)pool->out + bits_size(options->count)),
                    slot_count(options->count));
    return pool;
}

static void fill(struct chalk_pool *pool)
{
#ifdef CHALK_DEBUG
    memset(pool->objects.va, POISON, pool->stride * pool->count);
#endif
    for (uint32_t i = 0; i < pool->count; i++)
        chalk_ring_shared_put(&pool->ring, (char *)pool->objects.va + i * pool->stride);
}

int chalk_pool_create(const struct chalk_pool_options *options, struct chalk_pool **pool)
{
    size_t align = options->align ? options->align : 64, stride, size, books_size;
    unsigned caches = options->caches ? options->caches : 1;
    const char *name = options->name ? options->name : "without a name";
    struct chalk_arena *arena = options->arena ? options->arena : chalk_memory_arena(options->memory);
    struct chalk_dma objects;
    int error = 0;

    if (!is_power_of_two(align) || options->object_size == 0 || options->count == 0 ||
        options->count > 1u << 31)
        return -EINVAL;
    if (options->object_size > SIZE_MAX / 2 || caches > 1u << 16)
        return -ENOMEM;
    stride = (options->object_size + align - 1) & ~(align - 1);
    if (__builtin_mul_overflow(stride, options->count, &size))
        return -ENOMEM;
    books_size = ((sizeof(struct chalk_pool) + 127) & ~(size_t)127) +
                 caches * sizeof(struct chalk_pool_cache) + bits_size(options->count) +
                 slot_count(options->count) * sizeof(void *);

    char *books = chalk_memory_get(options->memory, books_size);
    if (books)
        error = chalk_arena_get(arena, size, align, &objects);
    if (!books || error) {
        chalk_memory_put(options->memory, books, books_size);
        if (error != -EINVAL)
            chalk_log(
                CHALK_ERROR,
                "pool %s needs %zu KiB of shared and %zu KiB of private memory, in one piece each; give "
                "its chalk_memory more",
                name, (size + 1023) >> 10, (books_size + 1023) >> 10);
        return error == -EINVAL ? error : -ENOMEM;
    }
    struct chalk_pool *new = lay_out(books, options, caches);
    new->iova_offset = arena->iova_offset;
    new->object_size = options->object_size;
    new->name = name;
    new->memory = options->memory;
    new->arena = arena;
    new->objects = objects;
    new->stride = stride;
    new->count = options->count;
    new->books_size = books_size;
    fill(new);
    chalk_tenant_add(&new->tenant, "pool ", name, objects.va, size);
    *pool = new;
    return 0;
}

struct chalk_pool_cache *chalk_pool_get_cache(struct chalk_pool *pool, unsigned i)
{
    return i < pool->cache_count ? &pool->caches[i] : NULL;
}

uint32_t chalk_pool_left(const struct chalk_pool *pool)
{
    uint32_t left = chalk_ring_count(&pool->ring);

    for (unsigned i = 0; i < pool->cache_count; i++)
        left += pool->caches[i].count;
    return left;
}

void chalk_pool_destroy(struct chalk_pool *pool)
{
    struct chalk_dma objects = pool->objects;

    if (chalk_pool_left(pool) != pool->count) {
        chalk_log(CHALK_ERROR, "pool %s is destroyed while %u of its %u objects are still in use", pool->name,
                  pool->count - chalk_pool_left(pool), pool->count);
        chalk_exit(134); /* as a failed assertion */
    }
    chalk_tenant_remove(&pool->tenant);
    chalk_arena_put(pool->arena, &objects);
    chalk_memory_put(pool->memory, pool, pool->books_size);
}

/* ---- between a cache and the ring ---- */

static void give_back(struct chalk_pool *pool, void *const *objects, unsigned count)
{
    unsigned put = chalk_ring_shared_put_burst(&pool->ring, objects, count);

    chalk_assert(put == count); /* else there are more objects than the pool has: some were put twice */
}

/* What the cache has, the rest from the ring, and a batch for the next time. */
int chalk_pool_get_rest(struct chalk_pool_cache *cache, void **objects, unsigned count)
{
    struct chalk_pool *pool = cache->pool;
    unsigned wanted = count - cache->count;
    unsigned got = chalk_ring_shared_take_burst(&pool->ring, objects + cache->count, wanted);

    if (got < wanted) {
        if (got)
            give_back(pool, objects + cache->count, got);
        return -ENOMEM;
    }
    chalk_ring_copy(objects, cache->objects, cache->count);
    cache->count = chalk_ring_shared_take_burst(&pool->ring, cache->objects, BATCH);
    return 0;
}

/* The oldest of the cache make room, as they are the coldest. */
void chalk_pool_put_rest(struct chalk_pool_cache *cache, void *const *objects, unsigned count)
{
    if (count > BATCH) {
        give_back(cache->pool, objects, count);
        return;
    }
    give_back(cache->pool, cache->objects, BATCH);
    cache->count -= BATCH;
    memmove(cache->objects, cache->objects + BATCH, cache->count * sizeof(void *));
    chalk_ring_copy(cache->objects + cache->count, objects, count);
    cache->count += count;
}

/* ---- debug builds ---- */

#ifdef CHALK_DEBUG

static size_t index_of(const struct chalk_pool *pool, void *object)
{
    uintptr_t offset = (uintptr_t)object - (uintptr_t)pool->objects.va;

    if (offset >= pool->stride * pool->count || offset % pool->stride != 0)
        chalk_claim_blame(pool->name, "puts into its pool", object, pool->object_size,
                          "which is none of the pool's objects");
    return offset / pool->stride;
}

void chalk_pool_check_get(struct chalk_pool *pool, void *const *objects, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const unsigned char *object = objects[i];
        size_t index = index_of(pool, objects[i]), at = 0;

        __atomic_fetch_or(&pool->out[index / 64], 1ull << index % 64, __ATOMIC_RELAXED);
        while (at < pool->object_size && object[at] == POISON)
            at++;
        if (at == pool->object_size)
            continue;
        chalk_log(CHALK_ERROR,
                  "pool %s: object %zu at %p was written to after it was put: byte %zu is 0x%02x", pool->name,
                  index, objects[i], at, object[at]);
        chalk_exit(134); /* as a failed assertion */
    }
}

void chalk_pool_check_put(struct chalk_pool *pool, void *const *objects, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        size_t index = index_of(pool, objects[i]);
        chalk_loan_check(pool->name, "puts", objects[i], pool->object_size, NULL);
        uint64_t bit = 1ull << index % 64;

        if (!(__atomic_fetch_and(&pool->out[index / 64], ~bit, __ATOMIC_RELAXED) & bit)) {
            chalk_log(CHALK_ERROR, "pool %s: object %zu at %p is put twice", pool->name, index, objects[i]);
            chalk_exit(134); /* as a failed assertion */
        }
        memset(objects[i], POISON, pool->object_size);
    }
}

#endif
