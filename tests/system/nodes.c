/* SPDX-License-Identifier: BSD-2-Clause */
/* nodes: which NUMA node each span and each core is on; and that memory is found near the node asked for. */
#include <chalk/claim.h>
#include <chalk/main.h>

#include <stdio.h>

int chalk_main(int argc, char *argv[])
{
    struct chalk_core_info core;
    struct chalk_claim claim;
    struct chalk_span span;

    (void)argc;
    (void)argv;
    for (unsigned i = 0; chalk_span_get(i, &span) == 0; i++)
        printf("span at 0x%llx, %zu KiB: node %d\n", (unsigned long long)span.iova, span.size >> 10,
               CHALK_NODE_NUMBER(span.node));
    for (unsigned i = 0; chalk_core_get_info(i, &core) == 0; i++)
        printf("core %u: node %d\n", i, CHALK_NODE_NUMBER(core.node));
    for (int node = 0; node < 2; node++) {
        if (chalk_claim_memory(CHALK_PAGE, CHALK_NODE(node), UINT64_MAX, "nodes", &claim))
            return 1;
        printf("asked for node %d: got node %d\n", node, CHALK_NODE_NUMBER(claim.node));
        chalk_claim_release(&claim);
    }
    printf("asked for node 7: %d\n",
           chalk_claim_memory(CHALK_PAGE, CHALK_NODE(7), UINT64_MAX, "nodes", &claim));
    return 0;
}
