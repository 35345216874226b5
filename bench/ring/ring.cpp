/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What rings cost: a put and a take by one core, and moving elements from one core to another. Beside DPDK's
 * rte_ring, where that is installed, in the same loops. Everything is counted in ticks of the time stamp
 * counter, a call pair (one core) or an element (two cores). bench/peers.py makes the comparison of it.
 */
#include <chalk/clock.h>
#include <chalk/ring.h>

#include <algorithm>
#include <benchmark/benchmark.h>
#include <cstdlib>
#include <sched.h>
#include <string>

#ifdef HAVE_DPDK
#include <rte_ring.h>
#endif

static constexpr unsigned ring_size = 1024, max_burst = 32;

/* ---- the rings: single and shared, ours and theirs
 * --------------------------------------------------------- */

struct chalk_base {
    struct chalk_ring ring;
    void *slots[ring_size];

    void reset()
    {
        chalk_ring_init(&ring, slots, ring_size);
    }
};

struct chalk_single : chalk_base {
    bool put(void *item)
    {
        return chalk_ring_put(&ring, item);
    }
    bool take(void **item)
    {
        return (*item = chalk_ring_take(&ring)) != nullptr;
    }
    unsigned put(void **items, unsigned count)
    {
        return chalk_ring_put_burst(&ring, items, count);
    }
    unsigned take(void **items, unsigned count)
    {
        return chalk_ring_take_burst(&ring, items, count);
    }
};

struct chalk_shared : chalk_base {
    bool put(void *item)
    {
        return chalk_ring_shared_put(&ring, item);
    }
    bool take(void **item)
    {
        return (*item = chalk_ring_shared_take(&ring)) != nullptr;
    }
    unsigned put(void **items, unsigned count)
    {
        return chalk_ring_shared_put_burst(&ring, items, count);
    }
    unsigned take(void **items, unsigned count)
    {
        return chalk_ring_shared_take_burst(&ring, items, count);
    }
};

#ifdef HAVE_DPDK
/* The environment of DPDK is not needed for a ring in memory of one's own. */
struct dpdk_base {
    alignas(128) struct rte_ring ring;
    void *slots[ring_size]; /* directly behind it: rte_ring_get_memsize() */

    void reset()
    {
        static_assert(sizeof(struct rte_ring) % alignof(void *) == 0, "slots follow the ring");
        if (rte_ring_get_memsize(ring_size) > (ssize_t)sizeof(*this) ||
            rte_ring_init(&ring, "bench", ring_size, 0) != 0)
            abort();
    }
};

struct dpdk_single : dpdk_base {
    bool put(void *item)
    {
        return rte_ring_sp_enqueue(&ring, item) == 0;
    }
    bool take(void **item)
    {
        return rte_ring_sc_dequeue(&ring, item) == 0;
    }
    unsigned put(void **items, unsigned count)
    {
        return rte_ring_sp_enqueue_burst(&ring, items, count, nullptr);
    }
    unsigned take(void **items, unsigned count)
    {
        return rte_ring_sc_dequeue_burst(&ring, items, count, nullptr);
    }
};

struct dpdk_shared : dpdk_base {
    bool put(void *item)
    {
        return rte_ring_mp_enqueue(&ring, item) == 0;
    }
    bool take(void **item)
    {
        return rte_ring_mc_dequeue(&ring, item) == 0;
    }
    unsigned put(void **items, unsigned count)
    {
        return rte_ring_mp_enqueue_burst(&ring, items, count, nullptr);
    }
    unsigned take(void **items, unsigned count)
    {
        return rte_ring_mc_dequeue_burst(&ring, items, count, nullptr);
    }
};
#endif

template <class Ring> static Ring &the_ring()
{
    static Ring ring;

    return ring;
}

/* ---- where it runs
 * ----------------------------------------------------------------------------------------- */

/* Moves the caller to the `index`-th processor of those that the program was given; false if there are fewer.
 */
static bool run_on(unsigned index)
{
    static const cpu_set_t given = [] {
        cpu_set_t set;
        sched_getaffinity(0, sizeof(set), &set);
        return set;
    }();

    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &given) && index-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            return sched_setaffinity(0, sizeof(one), &one) == 0;
        }
    return false;
}

static void *some_items[max_burst];

/* ---- one core
 * ---------------------------------------------------------------------------------------------- */

/* Functions of their own, so that callgrind can count their instructions, and each at the start of a line:
 * where one falls may cost or save a third of a pair of some thirty instructions. Burst 0 is the call for one
 * element. */
template <class Ring>
[[gnu::noinline, gnu::aligned(64)]] static void pair(Ring &ring, void **out, unsigned burst)
{
    ring.put(some_items, burst);
    ring.take(out, burst);
}

template <class Ring> [[gnu::noinline, gnu::aligned(64)]] static void pair_of_one(Ring &ring, void **out)
{
    ring.put(some_items[0]);
    ring.take(out);
}

template <class Ring> static void one_core(benchmark::State &state, unsigned burst)
{
    Ring &ring = the_ring<Ring>();
    void *out[max_burst];
    uint64_t start = 0;

    if (!run_on(0))
        state.SkipWithError("cannot pin the thread to a processor");
    ring.reset();
    for (auto _ : state) {
        if (start == 0)
            start = chalk_ticks();
        if (burst)
            pair(ring, out, burst);
        else
            pair_of_one(ring, out);
        benchmark::DoNotOptimize(out);
    }
    state.counters["ticks"] = (double)(chalk_ticks() - start) / (double)state.iterations();
}

/* ---- two cores
 * --------------------------------------------------------------------------------------------- */

/* One iteration is so many elements: a run ends when the consumer has them all. */
static constexpr unsigned elements = 4096;

/* Runs of one length: short enough to often fit between two interruptions, long enough for threads to start.
 */
static constexpr unsigned pairs_of_run = 100000, iterations_of_run = 64;

template <class Ring> static void two_cores(benchmark::State &state, unsigned burst)
{
    Ring &ring = the_ring<Ring>();
    const bool producer = state.thread_index() == 0;
    void *items[max_burst];
    uint64_t start = 0;

    if (!run_on(1) || !run_on(producer ? 0 : 1)) { /* both threads, or none */
        state.SkipWithError("needs two processors");
        return;
    }
    std::copy(some_items, some_items + max_burst, items);
    if (producer)
        ring.reset();
    for (auto _ : state) {
        if (start == 0)
            start = chalk_ticks();
        for (unsigned left = elements; left;) {
            const unsigned count = left < burst ? left : burst;
            const unsigned done = producer ? ring.put(items, count) : ring.take(items, count);

            if (done == 0)
                chalk_pause();
            left -= done;
        }
    }
    if (!producer)
        state.counters["ticks"] = (double)(chalk_ticks() - start) / ((double)state.iterations() * elements);
}

/* ---- the list
 * ---------------------------------------------------------------------------------------------- */

template <class Ring> static void add(const std::string &kind, const std::string &whose)
{
    for (unsigned burst : {0u, 1u, 8u, 32u}) {
        const std::string size = burst ? "burst " + std::to_string(burst) : "single";

        benchmark::RegisterBenchmark((kind + ", one core, " + size + "/" + whose).c_str(), one_core<Ring>,
                                     burst)
            ->Iterations(pairs_of_run);
    }
    for (unsigned burst : {1u, 8u, 32u})
        benchmark::RegisterBenchmark(
            (kind + ", two cores, burst " + std::to_string(burst) + "/" + whose).c_str(), two_cores<Ring>,
            burst)
            ->Iterations(iterations_of_run)
            ->Threads(2)
            ->UseRealTime();
}

int main(int argc, char *argv[])
{
    for (void *&item : some_items)
        item = &item;
    add<chalk_single>("SPSC", "chalk");
    add<chalk_shared>("MPMC", "chalk");
#ifdef HAVE_DPDK
    add<dpdk_single>("SPSC", "rte_ring");
    add<dpdk_shared>("MPMC", "rte_ring");
#endif
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
