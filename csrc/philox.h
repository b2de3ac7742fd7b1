/* Philox4x32-10 (Salmon, Moraes, Dror & Shaw, SC11): random bits as a pure function of a key
 * and a counter. Stream version 1:
 *
 *   counter = (index low, index high, call low, call high | domain << 30), key = (low, high).
 *
 * Domain 0, index k: bits for elements. A group of 64 elements draws counters 8g .. 8g+7;
 * counter k of the group gives words w0..w3, of which (w0, w1) serve elements 4k..4k+3 and
 * (w2, w3) elements 32+4k..32+4k+3, 16 bits each, low half first.
 * Domain 2, index i: the low half of w0 settles element i when its 16 bits tie.
 * Domain 1: normal deviates, see normal.h.
 * Domain 3, as domain 0, in 7 rounds, the fewest that pass BigCrush: bits that the state of a
 * step is rounded by; the call is the step.
 *
 * Words are kept in the low halves of 64-bit lanes. What lies in the high halves is ignored by
 * the multiplication and masked once at the end.
 */
#include "lanes.h"

FR_INLINE void philox4x32(fr_lanes words[4], uint64_t key)
{
    fr_lanes c0 = words[0], c1 = words[1], c2 = words[2], c3 = words[3];
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 10
#elif defined(__clang__)
#pragma clang loop unroll(full)
#endif
    for (int round = 0; round < 10; round++) {
        fr_lanes p0 = fr_wide_product(c0, fr_splat(0xD2511F53u));
        fr_lanes p1 = fr_wide_product(c2, fr_splat(0xCD9E8D57u));
        c0 = (p1 >> 32) ^ c1 ^ fr_splat(k0);
        c2 = (p0 >> 32) ^ c3 ^ fr_splat(k1);
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

/* Four 16-bit pieces per lane, low first. */
FR_INLINE void philox_store(uint16_t *pieces, fr_lanes quads)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    uint64_t each[FR_LANES];
    memcpy(each, &quads, sizeof each);
    for (int e = 0; e < 4 * FR_LANES; e++)
        pieces[e] = (uint16_t)(each[e / 4] >> 16 * (e % 4));
#else
    memcpy(pieces, &quads, sizeof quads);
#endif
}

/* Two 32-bit words per lane, low first. */
FR_INLINE void philox_store_words(uint32_t *words, fr_lanes pairs)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    uint64_t each[FR_LANES];
    memcpy(each, &pairs, sizeof each);
    for (int e = 0; e < 2 * FR_LANES; e++)
        words[e] = (uint32_t)(each[e / 2] >> 32 * (e % 2));
#else
    memcpy(words, &pairs, sizeof pairs);
#endif
}

/* The 64 16-bit pieces of the group that begins at element `first`. */
FR_INLINE void philox_group(uint16_t pieces[FR_MASK_GROUP], uint64_t first, const fr_mask *mask)
{
    const fr_lanes low = fr_splat(0xFFFFFFFFu);
    for (int k = 0; k < 8; k += FR_LANES) {
        fr_lanes index = fr_count_from(first / 8 + (uint64_t)k);
        fr_lanes words[4] = {index, index >> 32, fr_splat(mask->call),
                             fr_splat(mask->call >> 32)};
        philox4x32(words, mask->key);
        fr_lanes front = (words[0] & low) | words[1] << 32;
        fr_lanes back = (words[2] & low) | words[3] << 32;
        philox_store(pieces + 4 * k, front);
        philox_store(pieces + 32 + 4 * k, back);
    }
}

enum { FR_FEW_ROUNDS = 7 };

/* The pieces of two groups in few rounds, which do not wait for each other, by the key words of
 * every round: read from memory they cost nothing, made on the way as much as a product each. */
FR_INLINE void philox_two_groups(uint16_t pieces[2 * FR_MASK_GROUP], uint64_t first,
                                 const uint64_t keys[FR_FEW_ROUNDS][2], uint64_t call)
{
    const fr_lanes low = fr_splat(0xFFFFFFFFu);
    for (int k = 0; k < 8; k += FR_LANES) {
        fr_lanes c[2][4];
        FR_UNROLL
        for (int j = 0; j < 2; j++) {
            c[j][0] = fr_count_from(first / 8 + (uint64_t)(8 * j + k));
            c[j][1] = c[j][0] >> 32;
            c[j][2] = fr_splat(call);
            c[j][3] = fr_splat(call >> 32);
        }
        FR_UNROLL
        for (int round = 0; round < FR_FEW_ROUNDS; round++) {
            FR_UNROLL
            for (int j = 0; j < 2; j++) {
                const fr_lanes p0 = fr_wide_product(c[j][0], fr_splat(0xD2511F53u));
                const fr_lanes p1 = fr_wide_product(c[j][2], fr_splat(0xCD9E8D57u));
                c[j][0] = (p1 >> 32) ^ c[j][1] ^ fr_splat(keys[round][0]);
                c[j][2] = (p0 >> 32) ^ c[j][3] ^ fr_splat(keys[round][1]);
                c[j][1] = p1;
                c[j][3] = p0;
            }
        }
        FR_UNROLL
        for (int j = 0; j < 2; j++) {
            uint16_t *to = pieces + FR_MASK_GROUP * j + 4 * k;
            philox_store(to, (c[j][0] & low) | c[j][1] << 32);
            philox_store(to + 32, (c[j][2] & low) | c[j][3] << 32);
        }
    }
}

FR_INLINE void philox_schedule(uint64_t keys[FR_FEW_ROUNDS][2], uint64_t key)
{
    for (uint32_t round = 0; round < FR_FEW_ROUNDS; round++) {
        keys[round][0] = (uint32_t)key + round * 0x9E3779B9u;
        keys[round][1] = (uint32_t)(key >> 32) + round * 0xBB67AE85u;
        keys[round][0] &= 0xFFFFFFFFu, keys[round][1] &= 0xFFFFFFFFu;
    }
}

/* The 16 further bits that settle a tie of element `index`. */
FR_INLINE uint32_t philox_tie(uint64_t index, const fr_mask *mask)
{
    fr_lanes words[4] = {fr_splat(index), fr_splat(index >> 32), fr_splat(mask->call),
                         fr_splat(mask->call >> 32 | (uint64_t)1 << 31)};
    uint64_t first[FR_LANES];
    philox4x32(words, mask->key);
    memcpy(first, &words[0], sizeof first);
    return (uint32_t)first[0] & 0xFFFFu;
}

/* The pieces of `count` elements from `first`, and the number that those of kept elements lie
 * below: the upper half of the threshold, or 1 where only ties are kept. Writes up to the end of
 * the last group. */
FR_INLINE uint32_t philox_pieces(uint16_t *pieces, int count, uint64_t first, const fr_mask *mask)
{
    const uint32_t upper = (uint32_t)(mask->threshold >> 16);
    const uint32_t lower = (uint32_t)(mask->threshold & 0xFFFFu);
    for (int j = 0; j < count; j += FR_MASK_GROUP)
        philox_group(pieces + j, first + (uint64_t)j, mask);
    if (lower != 0) { /* turn the rare ties into plain keeps (0) and drops (all ones) */
        int ties = 0;
        for (int j = 0; j < count; j++)
            ties |= pieces[j] == upper;
        for (int j = 0; ties && j < count; j++)
            if (pieces[j] == upper)
                pieces[j] = philox_tie(first + (uint64_t)j, mask) < lower ? 0 : 0xFFFF;
    }
    return upper == 0 && lower != 0 ? 1 : upper;
}

/* One block of the generator, for known-answer tests. */
static void philox_block(uint32_t block[4], const uint32_t counter[4], uint64_t key)
{
    fr_lanes words[4];
    for (int w = 0; w < 4; w++)
        words[w] = fr_splat(counter[w]);
    philox4x32(words, key);
    for (int w = 0; w < 4; w++) {
        uint64_t lanes[FR_LANES];
        memcpy(lanes, &words[w], sizeof lanes);
        block[w] = (uint32_t)lanes[FR_LANES - 1];
    }
}
