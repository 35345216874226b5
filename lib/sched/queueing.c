/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three ways to decide which task is next: a list, a list for each priority with a bit for each list, and a
 * pairing heap of deadlines (Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap", 1986), which is put to
 * in constant time and taken from in logarithmic time, amortized, and needs no memory but the tasks' own.
 */
#include "fifo.h"

/* ---- first come, first served ---- */

static void fifo_put(struct chalk_queueing *queueing, struct chalk_task *task)
{
    fifo_append((struct chalk_fifo *)queueing, task);
}

static struct chalk_task *fifo_take(struct chalk_queueing *queueing)
{
    return fifo_remove((struct chalk_fifo *)queueing);
}

struct chalk_queueing *chalk_fifo_start(struct chalk_fifo *fifo)
{
    *fifo = (struct chalk_fifo){.queueing = {fifo_put, fifo_take}, .last = &fifo->first};
    return &fifo->queueing;
}

/* ---- priorities ---- */

static void priority_put(struct chalk_queueing *queueing, struct chalk_task *task)
{
    struct chalk_priority *priority = (struct chalk_priority *)queueing;
    unsigned rank = task->rank < CHALK_PRIORITIES ? (unsigned)task->rank : CHALK_PRIORITIES - 1;

    priority->occupied |= 1ull << rank;
    fifo_append(&priority->ranks[rank], task);
}

static struct chalk_task *priority_take(struct chalk_queueing *queueing)
{
    struct chalk_priority *priority = (struct chalk_priority *)queueing;
    struct chalk_fifo *fifo;
    struct chalk_task *task;

    if (priority->occupied == 0)
        return NULL;
    fifo = &priority->ranks[__builtin_ctzll(priority->occupied)];
    task = fifo_remove(fifo);
    if (fifo->first == NULL)
        priority->occupied &= priority->occupied - 1;
    return task;
}

struct chalk_queueing *chalk_priority_start(struct chalk_priority *priority)
{
    *priority = (struct chalk_priority){.queueing = {priority_put, priority_take}};
    for (unsigned rank = 0; rank < CHALK_PRIORITIES; rank++)
        chalk_fifo_start(&priority->ranks[rank]);
    return &priority->queueing;
}

/* ---- the earliest deadline ---- */

static bool before(const struct chalk_task *a, const struct chalk_task *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->order < b->order;
}

/* Of two heaps one: the later root becomes the first child of the other. */
static struct chalk_task *meld(struct chalk_task *a, struct chalk_task *b)
{
    struct chalk_task *root = before(a, b) ? a : b, *child = root == a ? b : a;

    child->next = root->child;
    root->child = child;
    return root;
}

/* Of a list of heaps one: pairs from the left, then all of them from the right. */
static struct chalk_task *meld_all(struct chalk_task *list)
{
    struct chalk_task *pairs = NULL, *root = NULL, *next;

    while (list != NULL) {
        struct chalk_task *a = list, *b = list->next;

        list = b != NULL ? b->next : NULL;
        a = b != NULL ? meld(a, b) : a;
        a->next = pairs;
        pairs = a;
    }
    for (; pairs != NULL; pairs = next) {
        next = pairs->next;
        root = root != NULL ? meld(root, pairs) : pairs;
    }
    return root;
}

static void edf_put(struct chalk_queueing *queueing, struct chalk_task *task)
{
    struct chalk_edf *edf = (struct chalk_edf *)queueing;

    task->child = task->next = NULL;
    task->order = edf->order++;
    edf->root = edf->root != NULL ? meld(edf->root, task) : task;
}

static struct chalk_task *edf_take(struct chalk_queueing *queueing)
{
    struct chalk_edf *edf = (struct chalk_edf *)queueing;
    struct chalk_task *task = edf->root;

    if (task != NULL)
        edf->root = meld_all(task->child);
    return task;
}

struct chalk_queueing *chalk_edf_start(struct chalk_edf *edf)
{
    *edf = (struct chalk_edf){.queueing = {edf_put, edf_take}};
    return &edf->queueing;
}
