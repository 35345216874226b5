/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that rules all the memory it owns: it claims every span, so that nobody else gets a byte, and
 * runs an allocator of its own on them. On bare metal that is the machine's memory. A Linux process owns what
 * it asks for, so it asks first.
 *
 * The allocator is the one of Kernighan and Ritchie (The C Programming Language, 8.7): a ring of free pieces
 * in the order of their addresses, first fit; what is freed is joined with its neighbours.
 */
#include <chalk/claim.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/random.h>

#include <stdio.h>
#include <string.h>

#define SPANS  64
#define BLOCKS 2000

/* ---- the allocator ---- */

struct piece {
    struct piece *next;
    size_t size; /* bytes, with this head */
};

static struct piece ring = {.next = &ring};
static size_t unused; /* bytes in the ring */

static void give(void *memory, size_t size)
{
    struct piece *piece = memory, *before = &ring;

    while (before->next != &ring && before->next < piece)
        before = before->next;
    *piece = (struct piece){before->next, size};
    before->next = piece;
    unused += size;
    if (piece->next != &ring && (char *)piece + piece->size == (char *)piece->next) {
        piece->size += piece->next->size;
        piece->next = piece->next->next;
    }
    if (before != &ring && (char *)before + before->size == (char *)piece) {
        before->size += piece->size;
        before->next = piece->next;
    }
}

static void *own_malloc(size_t size)
{
    size = (size + sizeof(struct piece) + 15) & ~(size_t)15;
    for (struct piece *before = &ring, *piece = ring.next; piece != &ring;
         before = piece, piece = piece->next) {
        if (piece->size < size)
            continue;
        if (piece->size - size >= 2 * sizeof(struct piece)) { /* what is taken is its end */
            piece->size -= size;
            piece = (struct piece *)(void *)((char *)piece + piece->size);
            piece->size = size;
        } else {
            before->next = piece->next;
        }
        unused -= piece->size;
        return piece + 1;
    }
    return NULL;
}

static void own_free(void *memory)
{
    struct piece *piece = (struct piece *)memory - 1;

    give(piece, piece->size);
}

/* ---- the program ---- */

/* Every span of RAM, or nothing: what is in the ring afterwards is all there is. */
static int claim_everything(struct chalk_claim claims[SPANS], unsigned *count)
{
    struct chalk_span span;
    int error = 0;

    *count = 0;
    if (chalk_span_get(0, &span) == -ENOENT)
        error = chalk_span_grow((size_t)16 << 20, 0, 0, UINT64_MAX, &span);
    for (unsigned i = 0; error == 0 && *count < SPANS && chalk_span_get(i, &span) == 0; i++) {
        if (span.kind != CHALK_SPAN_RAM)
            continue;
        error = chalk_claim_span(i, "own-memory", &claims[*count]);
        if (error == 0) {
            give(claims[*count].va, claims[*count].size);
            ++*count;
        }
    }
    return error;
}

static bool use_it(void)
{
    static unsigned char *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    size_t before = unused;
    uint64_t random = 1;
    bool intact = true;

    for (unsigned round = 0; round < 10 * BLOCKS; round++) {
        unsigned i = (unsigned)chalk_random_below(&random, BLOCKS);

        if (blocks[i]) {
            for (size_t at = 0; at < sizes[i]; at++)
                intact &= blocks[i][at] == (unsigned char)i;
            own_free(blocks[i]);
            blocks[i] = NULL;
            continue;
        }
        sizes[i] = 1 + (size_t)chalk_random_below(&random, 2000);
        blocks[i] = own_malloc(sizes[i]);
        if (!blocks[i])
            return false;
        memset(blocks[i], (int)i, sizes[i]);
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        if (blocks[i])
            own_free(blocks[i]);
    printf("%u blocks came and went, each %s\n", 10 * BLOCKS, intact ? "intact" : "DAMAGED");
    printf("afterwards %s is free\n", unused == before ? "all of it" : "NOT all of it");
    return intact && unused == before;
}

int chalk_main(int argc, char *argv[])
{
    static struct chalk_claim claims[SPANS];
    unsigned count;
    int error = claim_everything(claims, &count);
    bool good = false;

    (void)argc;
    (void)argv;
    if (error)
        fprintf(stderr, "own-memory: %s\n", chalk_error_name(error));
    else
        printf("all memory is ours: %s\n",
               unused >= (size_t)16 << 20 ? "16 MiB or more" : "less than 16 MiB");
    if (!error && count > 0)
        printf("a second claim of it: %s\n",
               chalk_error_name(chalk_claim_span(0, "a stranger", &(struct chalk_claim){0})));
    if (!error)
        good = use_it();
    while (count > 0)
        chalk_claim_release(&claims[--count]);
    return good ? 0 : 1;
}
