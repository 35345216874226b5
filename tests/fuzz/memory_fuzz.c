/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memories and what is taken from them, in the order that the input says: two bytes a step. Every piece is
 * filled with its own number, and has it still when it is given back: so no two pieces ever overlap, and
 * nothing that a device could write is trusted.
 */
#include <chalk/error.h>
#include <chalk/memory.h>
#include <stdlib.h>
#include <string.h>
#include <unit/platform_fake.h>

#define MEMORIES 4
#define PIECES   16

struct piece {
    char *va; /* NULL: none */
    size_t size;
    struct chalk_dma dma; /* va NULL: private */
};

static struct chalk_memory *memories[MEMORIES];
static struct piece pieces[MEMORIES][PIECES];

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void take(unsigned m, struct piece *piece, unsigned choice)
{
    piece->size = 1 + (choice & 7) * 3000;
    memset(&piece->dma, 0, sizeof piece->dma);
    if (choice & 8) {
        size_t align = (size_t)1 << (choice >> 4);
        if (chalk_dma_get(memories[m], piece->size, align, &piece->dma) == 0) {
            piece->va = piece->dma.va;
            require((uintptr_t)piece->va % align == 0 && piece->dma.iova % align == 0);
        }
    } else {
        piece->va = chalk_memory_get(memories[m], piece->size);
    }
    for (size_t i = 0; piece->va && i < piece->size; i++)
        require(piece->va[i] == 0);
    if (piece->va)
        memset(piece->va, (int)(1 + m * PIECES + (unsigned)(piece - pieces[m])), piece->size);
}

static void put_back(unsigned m, struct piece *piece)
{
    for (size_t i = 0; i < piece->size; i++)
        require(piece->va[i] == (char)(1 + m * PIECES + (unsigned)(piece - pieces[m])));
    if (piece->dma.va)
        chalk_dma_put(memories[m], &piece->dma);
    else
        chalk_memory_put(memories[m], piece->va, piece->size);
    piece->va = NULL;
}

static void end(unsigned m)
{
    struct chalk_memory_usage usage;

    for (unsigned i = 0; i < PIECES; i++)
        if (pieces[m][i].va)
            put_back(m, &pieces[m][i]);
    chalk_memory_get_usage(memories[m], &usage);
    require(usage.private_used == 0 && usage.shared_used == 0);
    chalk_memory_destroy(memories[m]);
    memories[m] = NULL;
}

static void step(unsigned what, unsigned choice)
{
    unsigned m = what & (MEMORIES - 1);
    struct piece *piece = &pieces[m][what >> 4];
    struct chalk_memory_options options = {.private_size = (1 + (choice & 15)) * CHALK_PAGE,
                                           .shared_size = (1 + (choice >> 4)) * CHALK_PAGE};

    if (!memories[m])
        (void)chalk_memory_create(&options, &memories[m]);
    else if ((what >> 2 & 3) == 3 && choice == 0)
        end(m);
    else if (piece->va)
        put_back(m, piece);
    else
        take(m, piece, choice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fake_reset();
    fake.grow_limit = 0;
    fake_span_add(CHALK_SPAN_RAM, 48 * CHALK_PAGE, CHALK_PAGE, 0, 0);
    for (size_t i = 0; i + 1 < size; i += 2)
        step(data[i], data[i + 1]);
    for (unsigned m = 0; m < MEMORIES; m++)
        if (memories[m])
            end(m);
    return 0;
}
