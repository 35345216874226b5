/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools of objects of one size, that devices know: packet buffers, requests, descriptors. Getting and putting
 * costs a few instructions, because each core has a cache of its own: a stack of pointers that nobody else
 * touches. Between the caches is a ring (<chalk/ring.h>), which is visited once a batch.
 *
 *     chalk_pool_create(&options, &pool);
 *     struct chalk_pool_cache *cache = chalk_pool_get_cache(pool, 0);     one core's, kept by its owner
 *     if (chalk_pool_get_burst(cache, buffers, 32) == 0) ...
 *     struct chalk_dma dma = chalk_pool_dma(pool, buffers[0]);        one addition
 *
 * The objects lie in an arena, and reach as far as that is shared; all pointers lie in the private part of a
 * chalk_memory, whose shared part is the arena unless another one is named. An object may be put by another
 * core than the one that got it.
 *
 * Up to 2 * CHALK_POOL_BATCH objects can be in the cache of a core, where other cores do not get them: a pool
 * has that many more for each of its caches than are needed at a time.
 *
 * In debug builds what is put is poisoned, and what is put twice, is not the pool's, or is written to after
 * it was put, ends the program with a message. In others that is not looked for.
 */
#ifndef CHALK_POOL_H
#define CHALK_POOL_H

#include <chalk/memory.h>
#include <chalk/ring.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_POOL_BATCH 64 /* objects that go between a cache and the ring at once */

struct chalk_pool_options {
    struct chalk_memory *memory;
    struct chalk_arena *arena; /* of the objects; NULL: the memory's shared part */
    const char *name;          /* for messages; stays valid as long as the pool */
    size_t object_size;        /* bytes */
    size_t align;              /* of objects, for the program and for devices: a power of two; 0: 64 */
    uint32_t count;            /* objects */
    unsigned caches;           /* cores that use it; 0: 1 */
};

/* Private, but for inline functions. */
struct chalk_pool {
    uint64_t iova_offset; /* an object's iova is its address plus this */
    size_t object_size;
    const char *name;
    struct chalk_memory *memory;
    struct chalk_arena *arena;
    struct chalk_dma objects;
    size_t stride; /* from object to object */
    uint32_t count;
    unsigned cache_count;
    struct chalk_pool_cache *caches;
    uint64_t *out; /* debug builds: a bit an object, set while it is out */
    struct chalk_tenant tenant;
    size_t books_size;
    struct chalk_ring ring;
};

struct chalk_pool_cache {
    struct chalk_pool *pool;
    unsigned count;
    void *objects[2 * CHALK_POOL_BATCH] __attribute__((aligned(16)));
} __attribute__((aligned(128)));

/*
 * Makes a pool, with all its objects in it. What they hold is not defined. Errors: -ENOMEM (the memory has
 * not enough left; the message says how much), -EINVAL (no size, no objects, as chalk_dma_get()).
 */
int chalk_pool_create(const struct chalk_pool_options *options, struct chalk_pool **pool);

/* Gives its memory back. Every object was put, else the program ends with a message; no core uses it any
 * more. */
void chalk_pool_destroy(struct chalk_pool *pool);

/* The i-th cache, for one core alone; NULL if the pool has fewer. */
struct chalk_pool_cache *chalk_pool_get_cache(struct chalk_pool *pool, unsigned i);

/* How many objects are in the pool and its caches; exact when no core uses it. */
uint32_t chalk_pool_left(const struct chalk_pool *pool);

/* The handle of an object. */
static inline struct chalk_dma chalk_pool_dma(const struct chalk_pool *pool, void *object)
{
    struct chalk_dma dma;

    dma.va = object;
    dma.iova = (uintptr_t)object + pool->iova_offset;
    dma.size = pool->object_size;
    return dma;
}

/* What the inline functions leave to be done when the cache has not enough, or no room. */
int chalk_pool_get_rest(struct chalk_pool_cache *cache, void **objects, unsigned count);
void chalk_pool_put_rest(struct chalk_pool_cache *cache, void *const *objects, unsigned count);

#ifdef CHALK_DEBUG
void chalk_pool_check_get(struct chalk_pool *pool, void *const *objects, unsigned count);
void chalk_pool_check_put(struct chalk_pool *pool, void *const *objects, unsigned count);
#else
static inline void chalk_pool_check_get(struct chalk_pool *pool, void *const *objects, unsigned count)
{
    (void)pool;
    (void)objects;
    (void)count;
}
static inline void chalk_pool_check_put(struct chalk_pool *pool, void *const *objects, unsigned count)
{
    (void)pool;
    (void)objects;
    (void)count;
}
#endif

/*
 * Gets `count` objects, or none. Returns -ENOMEM when the pool has not that many; some may be in other cores'
 * caches.
 */
static inline int chalk_pool_get_burst(struct chalk_pool_cache *cache, void **objects, unsigned count)
{
    int error = 0;

    if (__builtin_expect(cache->count >= count, 1)) {
        cache->count -= count;
        chalk_ring_copy(objects, cache->objects + cache->count, count);
    } else {
        error = chalk_pool_get_rest(cache, objects, count);
    }
    if (!error)
        chalk_pool_check_get(cache->pool, objects, count);
    return error;
}

/* Puts `count` objects back, any core's. */
static inline void chalk_pool_put_burst(struct chalk_pool_cache *cache, void *const *objects, unsigned count)
{
    chalk_pool_check_put(cache->pool, objects, count);
    if (__builtin_expect(cache->count <= 2 * CHALK_POOL_BATCH - count && count <= CHALK_POOL_BATCH, 1)) {
        chalk_ring_copy(cache->objects + cache->count, objects, count);
        cache->count += count;
    } else {
        chalk_pool_put_rest(cache, objects, count);
    }
}

/* One object, or NULL when there is none. */
static inline void *chalk_pool_get(struct chalk_pool_cache *cache)
{
    void *object;

    return chalk_pool_get_burst(cache, &object, 1) == 0 ? object : NULL;
}

static inline void chalk_pool_put(struct chalk_pool_cache *cache, void *object)
{
    chalk_pool_put_burst(cache, &object, 1);
}

#ifdef __cplusplus
}
#endif
#endif
