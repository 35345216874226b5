/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PRP lists, from scatter segments to page addresses. Pure: what it writes depends on its arguments alone.
 *
 * That it writes no more entries than there is room for is proved: tests/proof/wp.py.
 */
#include "prp.h"

/*@ requires is_page(page);
    assigns \nothing;
    ensures \result == rest(address, page); */
static inline uint64_t in_page(uint64_t address, uint64_t page)
{
    return address & (page - 1);
}

/* Whether the edges of a piece are pages' where they have to be: inside of the data. */
/*@ requires is_page(page);
    assigns \nothing;
    ensures \result && !first ==> rest(piece.address, page) == 0;
    ensures \result && !last ==> rest((uint64_t)(piece.address + piece.size), page) == 0; */
static inline bool edges_are_right(struct nvme_piece piece, bool first, bool last, uint64_t page)
{
    if (first ? (piece.address & 3) != 0 : in_page(piece.address, page) != 0)
        return false;
    return last || in_page(piece.address + piece.size, page) == 0;
}

/* Writes the addresses of a piece's pages, of which it need not fill the last; returns how many. */
/*@ requires is_page(page) && 0 < piece.size && \valid(list + (0 .. pages(piece.size, page) - 1));
    assigns list[0 .. pages(piece.size, page) - 1];
    ensures \result == pages(piece.size, page); */
static inline size_t add_pages(struct nvme_piece piece, uint64_t page, uint64_t *list)
{
    size_t count = 0;

    /*@ loop invariant 0 < piece.size;
        loop invariant count + pages(piece.size, page) == pages(\at(piece.size, Pre), page);
        loop assigns count, piece, list[0 .. pages(\at(piece.size, Pre), page) - 1];
        loop variant piece.size; */
    for (; piece.size > page; piece.size -= page, piece.address += page)
        list[count++] = piece.address;
    list[count++] = piece.address;
    return count;
}

int chalk_nvme_prp_list(const struct nvme_data *data, uint64_t page, uint64_t *list, uint64_t list_iova,
                        struct nvme_prp *prp)
{
    uint64_t bytes = data->bytes, left = bytes, second = 0;
    size_t entries = 0;

    /*@ loop invariant i <= data->count && left <= bytes && entries + left <= bytes;
        loop invariant i == 0 ==> left == bytes && entries == 0;
        loop invariant left != 0 ==> entries + pages(left, page) <= pages(bytes, page);
        loop assigns i, left, second, entries, *prp, list[0 .. pages(bytes, page) - 1];
        loop variant left; */
    for (unsigned i = 0; left != 0; i++) {
        struct nvme_piece piece = nvme_piece(data, i, left);

        left -= piece.size;
        if (piece.size == 0 || !edges_are_right(piece, i == 0, left == 0, page))
            return -EINVAL;

        if (i == 0) {
            uint64_t in_first = page - in_page(piece.address, page);

            prp->prp1 = piece.address;
            if (piece.size <= in_first)
                continue;
            piece.address += in_first;
            piece.size -= in_first;
        }
        /*@ assert left != 0 ==> rest(piece.size, page) == 0 &&
                pages(piece.size + left, page) == pages(piece.size, page) + pages(left, page); */
        if (entries == 0)
            second = piece.address; /* kept: the list is memory that a device can write */
        entries += add_pages(piece, page, list + entries);
    }
    if (bytes == 0)
        return -EINVAL;
    prp->prp2 = entries > 1 ? list_iova : second;
    return 0;
}
