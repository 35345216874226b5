/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Frama-C reads before each source, besides what the compiler reads: the words of the contracts that are
 * not of ACSL itself, and C that Frama-C does not know.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* No proof is about what other cores do, */
#undef _Atomic
#define _Atomic(type) type
#undef atomic_load_explicit
#define atomic_load_explicit(address, order) (*(address))
#define __atomic_load_n(address, order)      (*(address))

/* nor about layout, which is the compiler's to check, nor about such numbers. */
#define _Static_assert(condition, why) struct nothing
#define _Alignas(bytes)
#define __int128 long long

/*
 * What functions of the library do, in the eyes of those who call them. A load of memory that a device writes
 * gives any value, and another one the next time. The others change nothing that a proof is about.
 */
struct chalk_mmio;
struct chalk_block_queue;
struct chalk_block_request;

/*@ requires \valid_read((uint32_t *)address);
    assigns \nothing; */
static inline uint32_t chalk_dma_load32(const volatile void *address);
/*@ assigns \nothing; */
static inline void chalk_mmio_write32(const struct chalk_mmio *window, size_t offset, uint32_t value);
/*@ assigns \nothing; */
static inline uint64_t chalk_ticks(void);
/*@ assigns \nothing; */
static inline void chalk_take_back(const void *key);
/*@ assigns \nothing; */
static inline void chalk_block_completed(const struct chalk_block_queue *queue,
                                         const struct chalk_block_request *request, int error,
                                         uint32_t words);

/*
 * Pages. is_page(p): p is the size of a page, 1 << 12 to 1 << 27 [Base 3.1.3.1, CAP.MPSMAX]. rest(a, p) is
 * `a` modulo p; pages(n, p) is n / p, rounded up. The axioms are what the provers need to know of them;
 * pages.smt2 proves each.
 */
/* clang-format off */
/*@ axiomatic pages {
        predicate is_page(integer p);
        logic integer rest(integer a, integer p);
        logic integer pages(integer n, integer p);

        axiom mask: \forall uint64_t a, p; is_page(p) ==> rest(a, p) == (a & (uint64_t)(p - 1));
        axiom small: \forall uint64_t a, p; is_page(p) ==>
            0 <= rest(a, p) < p && (a < p ==> rest(a, p) == a);
        axiom step: \forall uint64_t a, b, p; is_page(p) && a == b + p ==> rest(a, p) == rest(b, p);
        axiom aligned: \forall uint64_t a, b, c, p;
            is_page(p) && c == (uint64_t)(a + b) && rest(a, p) == 0 ==> rest(c, p) == rest(b, p);
        axiom beyond: \forall uint64_t a, b, c, d, p;
            is_page(p) && c == (uint64_t)(a + b) && b + rest(a, p) == d + p ==> rest(c, p) == rest(d, p);

        axiom none: \forall uint64_t p; is_page(p) ==> pages(0, p) == 0;
        axiom one: \forall uint64_t n, p; is_page(p) && 0 < n <= p ==> pages(n, p) == 1;
        axiom next: \forall uint64_t n, m, p; is_page(p) && 0 < n && m == n + p ==>
            pages(m, p) == pages(n, p) + 1;
        axiom more: \forall uint64_t n, m, p; is_page(p) && n <= m ==> pages(n, p) <= pages(m, p);
        axiom fewer: \forall uint64_t n, p; is_page(p) && 0 < n ==> 0 < pages(n, p) <= n;
        axiom whole: \forall uint64_t n, m, p; is_page(p) && rest(n, p) == 0 ==>
            pages(n + m, p) == pages(n, p) + pages(m, p);
    } */
/* clang-format on */
