/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a pool costs: a burst of objects got and put by one core, from its cache. Beside DPDK's rte_mempool,
 * where that is installed, in the same loop. Counted in ticks of the time stamp counter, an object.
 */
#include <chalk/clock.h>
#include <chalk/hosted.h>
#include <chalk/pool.h>

#include <benchmark/benchmark.h>
#include <string>

#ifdef HAVE_DPDK
#include <rte_eal.h>
#include <rte_mempool.h>
#endif

static constexpr unsigned object_count = 4096, object_size = 2048, max_burst = 32;

struct chalk_objects {
    static inline struct chalk_pool_cache *cache;

    static bool open()
    {
        chalk_memory_options sizes = {};
        chalk_pool_options options = {};
        chalk_pool *pool;

        sizes.shared_size = object_count * object_size;
        options.name = "bench";
        options.object_size = object_size;
        options.count = object_count;
        if (chalk_memory_create(&sizes, &options.memory) != 0 || chalk_pool_create(&options, &pool) != 0)
            return false;
        cache = chalk_pool_get_cache(pool, 0);
        return true;
    }
    static bool get(void **objects, unsigned count)
    {
        return chalk_pool_get_burst(cache, objects, count) == 0;
    }
    static void put(void **objects, unsigned count)
    {
        chalk_pool_put_burst(cache, objects, count);
    }
};

#ifdef HAVE_DPDK
struct dpdk_objects {
    static inline rte_mempool *pool;

    /* Its environment without hugepages, devices or other processors; a cache of the size that ours has. */
    static bool open()
    {
        static char arguments[][32] = {"bench",       "--no-huge", "--no-pci", "--no-telemetry",
                                       "--no-shconf", "-m",        "64",       "--log-level=1",
                                       "-l",          "0"};
        static char *argv[sizeof(arguments) / sizeof(arguments[0])];
        int argc = 0;

        for (char *argument : arguments)
            argv[argc++] = argument;
        if (rte_eal_init(argc, argv) < 0)
            return false;
        pool = rte_mempool_create("bench", object_count, object_size, 2 * CHALK_POOL_BATCH, 0, nullptr,
                                  nullptr, nullptr, nullptr, SOCKET_ID_ANY, 0);
        return pool != nullptr;
    }
    static bool get(void **objects, unsigned count)
    {
        return rte_mempool_get_bulk(pool, objects, count) == 0;
    }
    static void put(void **objects, unsigned count)
    {
        rte_mempool_put_bulk(pool, objects, count);
    }
};
#endif

template <class Objects> static bool is_open()
{
    static const bool opened = Objects::open();

    return opened;
}

/* A function of its own for each constant burst, so that callgrind can count its instructions. */
template <class Objects, unsigned burst> [[gnu::noinline]] static bool pair(void **objects)
{
    if (!Objects::get(objects, burst))
        return false;
    benchmark::ClobberMemory();
    Objects::put(objects, burst);
    return true;
}

template <class Objects, unsigned burst> static void get_and_put(benchmark::State &state)
{
    void *objects[max_burst];
    uint64_t start = 0;

    if (!is_open<Objects>()) {
        state.SkipWithError("no pool could be made");
        return;
    }
    for (auto _ : state) {
        if (start == 0)
            start = chalk_ticks();
        if (!pair<Objects, burst>(objects)) {
            state.SkipWithError("the pool is empty");
            break;
        }
    }
    state.counters["ticks"] = (double)(chalk_ticks() - start) / ((double)state.iterations() * burst);
}

template <class Objects, unsigned burst> static void add(const std::string &whose)
{
    benchmark::RegisterBenchmark(("pool, burst " + std::to_string(burst) + "/" + whose).c_str(),
                                 get_and_put<Objects, burst>);
}

template <class Objects> static void add_all(const std::string &whose)
{
    add<Objects, 1>(whose);
    add<Objects, 8>(whose);
    add<Objects, 32>(whose);
}

int main(int argc, char *argv[])
{
    chalk_start_options options = {};

    options.ordinary_pages = true; /* as the peer: what is measured never touches the objects */
    if (chalk_start(&options) != 0)
        return 1;
    add_all<chalk_objects>("chalk");
#ifdef HAVE_DPDK
    add_all<dpdk_objects>("rte_mempool");
#endif
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
