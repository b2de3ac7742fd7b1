/* A byte per number of a state: codes, and the scales of the blocks that they lie in.
 *
 * A block is FR_CODED_BLOCK numbers that lie side by side in a parameter, the last one of a
 * parameter what is left. Of each slot it has a power of two, its scale, in 16 bits: the one that
 * brings its largest number to 0.75 .. 1.5 (a block of zeros has 1). A code is the upper bits of
 * the float |x| / scale + offset: encoding is an addition and a shift, decoding a shift and a
 * subtraction, and nothing is looked up.
 *
 *     signed    1 bit of sign, 4 of exponent, 3 of mantissa   offset 2^-15   steps from 2^-18
 *     unsigned  5 bits of exponent, 3 of mantissa             offset 2^-31   steps from 2^-34
 *
 * So numbers keep three binary digits over 4 or 9 decades below the largest of their block, and
 * below that they are equally spaced. Second moments have no sign and span twice the range of
 * first ones. What is above 0 there keeps a code above 0: a root of 0 would send its parameter
 * far away.
 *
 * All are drawn, first moments too: with three digits, a mean that takes in a tenth of what is
 * new would stop a quarter short of it. A slot is rounded up with the probability of what is cut
 * off, which is exact in the mean to 2^-17 of a step between codes. A second moment moves by a
 * hundredth of such a step at a time, and so wanders by about a fifth around what it should be;
 * were it right in the mean, 1 / sqrt(v), which is convex, would be 1.6 % too large. It is
 * rounded up a little more often, by 9/256 of the smaller part, which makes 1 / sqrt(v) right to
 * a thousandth for gradients that are normally distributed.
 *
 * Bits come from Philox (philox.h), 16 for a number: for a pair of slots and the first 128
 * elements of a block those of (key, step, j 2^60 + element) in domain 3, for slots 2 j and
 * 2 j + 1. Elements 128 to 255 have the same with their bytes exchanged, and the second slot has
 * those of the element 64 further on: numbers that share bits lie apart. What is a code's number
 * stays that number while its block keeps its scale.
 *
 * The two largest codes are infinity and NaN, so each concerns its own element alone; a scale is
 * that of the finite numbers. A mean of squares that float cannot hold, which the rules keep as
 * minus its root (update_tmpl.h), is coded as the square that it stands for: scales go from -298
 * to 256. What is finite stays finite.
 */
#if FR_BYTES == 4

/* The first bits of the offset as a float; codes from here on are infinity and NaN. */
FR_INLINE uint32_t code_base(const int unsign)
{
    return (unsign ? 96u : 112u) << 23;
}

FR_INLINE uint32_t infinite_code(const int unsign)
{
    return unsign ? 254u : 126u;
}

/* The code of a number of at least 0 by its scale, from bit 20 on. */
FR_INLINE uint32_t code_sum(float scaled, uint32_t piece, const int unsign)
{
    const uint32_t base = code_base(unsign), one = 1u << 20;
    const uint32_t raw = bits_of(scaled + float_of(base)), cut = raw & (one - 1);
    const uint32_t near = cut < one - cut ? cut : one - cut;
    const uint32_t more = unsign ? (near >> 5) + (near >> 8) : 0;
    return ((piece << 4) + (8u - base)) + (raw + more);
}

/* And back. */
FR_INLINE float scaled_of(uint32_t sum, const int unsign)
{
    return float_of(sum + code_base(unsign)) - float_of(code_base(unsign));
}

/* The same with the sign, of numbers and by scales that are in the range of float. */
FR_INLINE uint8_t plainly_encoded(float x, float back, uint32_t piece, const int unsign)
{
    const uint32_t bits = bits_of(x);
    if (unsign) {
        const uint32_t sum = code_sum(x * back, piece, 1), least = bits ? 1u << 20 : 0;
        return (uint8_t)((sum > least ? sum : least) >> 20);
    }
    const uint32_t sum = code_sum(float_of(bits & 0x7FFFFFFFu) * back, piece, 0);
    return (uint8_t)((sum | (bits >> 4 & 1u << 27)) >> 20);
}

FR_INLINE float plainly_decoded(uint8_t code, float factor, const int unsign)
{
    if (unsign)
        return scaled_of((uint32_t)code << 20, 1) * factor;
    const uint32_t sum = (uint32_t)(int8_t)code << 20; /* its sign is in all the upper bits */
    const float size = scaled_of(sum & 0x07F00000u, 0) * factor;
    return float_of(bits_of(size) | (sum & 1u << 31));
}

/* The size of what a float stands for: minus a root is a square. */
FR_INLINE double size_of(float x, const int unsign)
{
    return x < 0 && unsign ? (double)x * x : fabs((double)x);
}

/* The float that stands for a size of at least 0; `rooted`: whether one that float cannot hold as
 * a normal number is minus its root. What has been rounded up past the largest float is that. */
FR_INLINE float float_of_size(double size, const int unsign, const int rooted)
{
    if (unsign && (size > 0x1p128 || (rooted && size > 0 && size < FLT_MIN)))
        return -(float)sqrt(size);
    return size > FLT_MAX ? FLT_MAX : (float)size;
}

/* The scale's exponent, whatever the numbers are. */
FR_CALLED int careful_scale(const float *from, ptrdiff_t n, int unsign)
{
    double most = 0;
    int least = -126, exponent;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double size = size_of(from[i], unsign);
        most = size > most && size < (double)INFINITY ? size : most;
        least = unsign && from[i] < 0 ? -1000 : least;
    }
    if (most == 0)
        return 0;
    const double mantissa = frexp(most, &exponent);
    exponent -= mantissa < 0.75;
    return exponent < least ? least : exponent;
}

FR_CALLED void encode_carefully(uint8_t *to, int16_t *scale, const float *from,
                                const uint16_t *pieces, ptrdiff_t n, int unsign)
{
    const int exponent = careful_scale(from, n, unsign);
    for (ptrdiff_t i = 0; i < n; i++) {
        const double size = size_of(from[i], unsign);
        const uint32_t sign = unsign ? 0 : bits_of(from[i]) >> 31 << 7;
        uint32_t code;
        if (size < (double)INFINITY)
            code = code_sum((float)ldexp(size, -exponent), pieces[i], unsign) >> 20;
        else
            code = infinite_code(unsign) + (size != size);
        if (unsign && size > 0 && code == 0)
            code = 1;
        to[i] = (uint8_t)(code | sign);
    }
    *scale = (int16_t)exponent;
}

FR_CALLED void decode_carefully(float *to, const uint8_t *from, int scale, ptrdiff_t n,
                                int unsign, int rooted)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint32_t code = unsign ? from[i] : from[i] & 0x7Fu, first = infinite_code(unsign);
        float x = INFINITY;
        if (code < first)
            x = float_of_size(ldexp((double)scaled_of(code << 20, unsign), scale), unsign,
                              rooted);
        const uint32_t bits = code == first + 1 ? 0x7FC00000u : bits_of(x);
        to[i] = float_of(bits | (unsign ? 0 : (uint32_t)(from[i] >> 7) << 31));
    }
}

/* The largest of the numbers' bits, without their sign where numbers have one. Minus a root has
 * one where others have none, and is beyond all. */
FR_INLINE uint32_t largest_bits(const float *from, ptrdiff_t n, const int unsign)
{
    uint32_t most = 0;
    FR_ROLLED
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint32_t bits = bits_of(from[i]) & (unsign ? 0xFFFFFFFFu : 0x7FFFFFFFu);
        most = bits > most ? bits : most;
    }
    return most;
}

/* `most`: their largest_bits. */
FR_INLINE void encode_block(uint8_t *to, int16_t *scale, const float *from, uint32_t most,
                            const uint16_t *pieces, ptrdiff_t n, const int unsign)
{
    const uint32_t near = (most + (1u << 22)) >> 23;
    const uint32_t exponent = most == 0 ? 127 : near < 1 ? 1 : near;
    if (most > 0x7F800000u || exponent > 253) {
        encode_carefully(to, scale, from, pieces, n, unsign);
        return;
    }
    const float back = float_of((254 - exponent) << 23);
    FR_ELEMENTWISE
    FR_ROLLED
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = plainly_encoded(from[i], back, pieces[i], unsign);
    *scale = (int16_t)((int)exponent - 127);
}

/* Whether all codes are of finite numbers: eight at a time, in whose upper bits the two largest
 * codes carry. */
FR_INLINE int are_finite(const uint8_t *from, ptrdiff_t n, const int unsign)
{
    const uint64_t every = 0x0101010101010101u;
    uint64_t found = 0;
    FR_ROLLED
    for (ptrdiff_t i = 0; i < n / 8; i++) {
        uint64_t codes;
        memcpy(&codes, from + 8 * i, sizeof codes);
        const uint64_t carry = (codes & 0x7F * every) + 2 * every;
        found |= unsign ? carry & codes : carry;
    }
    for (ptrdiff_t i = n / 8 * 8; i < n; i++)
        found |= (unsign ? from[i] : from[i] & 0x7Fu) < infinite_code(unsign) ? 0 : 0x80;
    return (found & 0x80 * every) == 0;
}

/* Two to a scale's exponent. */
FR_INLINE float factor_of(int scale)
{
    return float_of((uint32_t)(scale + 127) << 23);
}

FR_INLINE void decode_block(float *to, const uint8_t *from, int scale, ptrdiff_t n,
                            const int unsign, const int rooted)
{
    if (scale < -92 || scale > 126 || !are_finite(from, n, unsign)) {
        decode_carefully(to, from, scale, n, unsign, rooted);
        return;
    }
    const float factor = factor_of(scale);
    FR_ELEMENTWISE
    FR_ROLLED
    for (ptrdiff_t i = 0; i < n; i++)
        to[i] = plainly_decoded(from[i], factor, unsign);
}

/* Blocks as functions: one of each kind. */
FR_CALLED void decode_signed(float *to, const uint8_t *from, int scale, ptrdiff_t n)
{
    decode_block(to, from, scale, n, 0, 0);
}

FR_CALLED void decode_unsigned(float *to, const uint8_t *from, int scale, ptrdiff_t n, int rooted)
{
    decode_block(to, from, scale, n, 1, rooted);
}

FR_CALLED void encode_signed(uint8_t *to, int16_t *scale, const float *from,
                             const uint16_t *pieces, ptrdiff_t n)
{
    encode_block(to, scale, from, largest_bits(from, n, 0), pieces, n, 0);
}

FR_CALLED void encode_unsigned(uint8_t *to, int16_t *scale, const float *from,
                               const uint16_t *pieces, ptrdiff_t n)
{
    encode_block(to, scale, from, largest_bits(from, n, 1), pieces, n, 1);
}

/* A slot's numbers in one block, and their codes. */
FR_INLINE void decode(float *to, const uint8_t *from, int scale, ptrdiff_t n, int unsign,
                      int rooted)
{
    if (unsign)
        decode_unsigned(to, from, scale, n, rooted);
    else
        decode_signed(to, from, scale, n);
}

FR_INLINE void encode(uint8_t *to, int16_t *scale, const float *from, const uint16_t *pieces,
                      ptrdiff_t n, int unsign)
{
    if (unsign)
        encode_unsigned(to, scale, from, pieces, n);
    else
        encode_signed(to, scale, from, pieces, n);
}

FR_INLINE ptrdiff_t block_of(ptrdiff_t left)
{
    return left < FR_CODED_BLOCK ? left : FR_CODED_BLOCK;
}

/* Floats as a slot of a rule, rounded to the nearest, and a slot as floats. */
static void encode_slot(uint8_t *to, int16_t *scales, const float *from, ptrdiff_t n, int unsign)
{
    uint16_t half[FR_CODED_BLOCK];
    for (int i = 0; i < FR_CODED_BLOCK; i++)
        half[i] = 0x8000;
    for (ptrdiff_t i = 0; i < n; i += FR_CODED_BLOCK)
        encode(to + i, scales + i / FR_CODED_BLOCK, from + i, half, block_of(n - i), unsign);
}

static void decode_slot(float *to, const uint8_t *from, const int16_t *scales, ptrdiff_t n,
                        int unsign)
{
    for (ptrdiff_t i = 0; i < n; i += FR_CODED_BLOCK)
        decode(to + i, from + i, scales[i / FR_CODED_BLOCK], block_of(n - i), unsign, unsign);
}
#endif
