/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who has which memory. All of it is in the platform's spans (<chalk/platform.h>), which everyone sees; a
 * claim makes a piece of one, or all of it, its owner's alone. Chalk's allocators are clients here like any
 * other: a program that wants to rule a span by itself claims it, and nobody else gets a byte of it.
 *
 * A claim keeps others of this program out; it does not let a device in. Claims are made at set-up: any core
 * may, under one lock.
 */
#ifndef CHALK_CLAIM_H
#define CHALK_CLAIM_H

#include <chalk/log.h>
#include <chalk/platform.h>
#include <chalk/range.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_PAGE ((size_t)4096)

/*
 * One claim. The record is the owner's: it stays where it is until the claim is released, in memory that no
 * device reaches, and the owner only reads it.
 */
struct chalk_claim {
    struct chalk_claim *next, *previous; /* for Chalk, as the next two */
    struct chalk_range position;
    bool counted;      /* as one for devices */
    const char *owner; /* for messages; stays valid as long */
    char *va;
    size_t size;      /* bytes, whole pages */
    uint64_t iova;    /* the address for devices of byte 0 */
    size_t page;      /* bytes: the pages that it is made of; iova = va modulo that */
    unsigned node;    /* CHALK_NODE(), 0: unknown */
    bool lasts;       /* the owner's to set: it is kept until the program ends, and is no leak */
    bool for_devices; /* set by arenas, or by the owner before devices reach it: it holds nothing private, so
                         that the process of a device may be given the span that it lies in */
};

/* What was made in claimed memory, for debug builds: it goes before the claim does. */
struct chalk_tenant {
    struct chalk_range range; /* of addresses */
    const char *what, *name;  /* "pool ", and which */
    const void *va;
    size_t size;
};

/*
 * Claims all of the i-th span, of any kind. Errors: -ENOENT (past the last span), -EBUSY (some of it is
 * claimed; the message says by whom).
 */
int chalk_claim_span(unsigned i, const char *owner, struct chalk_claim *claim);

/*
 * Claims `size` bytes (rounded up to whole pages) of RAM on NUMA node `node` (CHALK_NODE(), 0: any) whose
 * iovas do not exceed `max_address`, from a span that is there or one that is grown. Without a limit, memory
 * beyond 4 GiB comes first. Hosted, what arenas
 * claim and what is claimed by this lie in different spans, as long as there is memory for that. Errors:
 * -EINVAL (no size), as chalk_span_grow().
 */
int chalk_claim_memory(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim *claim);

/*
 * Claims `size` bytes (rounded up to whole pages) at `va`, of a span of any kind. Errors: -EINVAL (no size,
 * not page-aligned, or not all in one span; the message says which), -EBUSY (some of it is claimed; the
 * message says by whom).
 */
int chalk_claim_range(void *va, size_t size, const char *owner, struct chalk_claim *claim);

/* Gives it back; a later claim may have it at once. What was not claimed ends the program, with a message. */
void chalk_claim_release(struct chalk_claim *claim);

/* The i-th claim that there is, the newest first: a copy, for accounting. Errors: -ENOENT (past the last). */
int chalk_claim_get(unsigned i, struct chalk_claim *claim);

/* A claim that overlaps the `size` bytes at `va`: a copy. Errors: -ENOENT (there is none). */
int chalk_claim_find(const void *va, size_t size, struct chalk_claim *claim);

/*
 * For a platform that gives the file of the span at `va` to another process, for ever: makes sure that no
 * private claim lies in that span, now or later. Returns NULL, or the owner of a private claim that is there
 * already, and then nothing has changed.
 */
const char *chalk_claim_expose(const void *va);

/* Logs who holds what, a line a claim, and what is left. */
void chalk_claim_report(enum chalk_level level);

#ifdef __cplusplus
}
#endif
#endif
