/* Numbers as the kernels read and write them: float32, bfloat16 as its bits, and 8-bit levels.

   A kind is a constant wherever a kernel is called, so that the compiler makes a loop of its own for each. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef int64_t i64;

enum kind { F32, BF16, I8 };

#define INLINE static inline __attribute__((always_inline))

INLINE float of_bits(uint32_t bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

INLINE uint32_t bits_of(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

/* To the nearest, ties to even, as PyTorch rounds; NaN stays NaN. */
INLINE uint16_t to_bfloat16(float number) {
    uint32_t bits = bits_of(number);
    return number != number ? 0x7fc0 : (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

INLINE float get(const void *from, i64 at, enum kind kind) {
    if (kind == BF16) return of_bits((uint32_t)((const uint16_t *)from)[at] << 16);
    if (kind == I8) return ((const int8_t *)from)[at];
    return ((const float *)from)[at];
}

INLINE void put(void *to, i64 at, float number, enum kind kind) {
    if (kind == BF16) ((uint16_t *)to)[at] = to_bfloat16(number);
    else ((float *)to)[at] = number;
}

/* What is left of a number once it has been stored. */
INLINE float stored(float number, enum kind kind) {
    return kind == BF16 ? of_bits((uint32_t)to_bfloat16(number) << 16) : number;
}

/* e^x up to 87, within 2e-7 of it, as a polynomial that compilers vectorise (Moshier: Cephes); 0 below -87. */
INLINE float exponential(float x) {
    float near = x < -87.0f ? -87.0f : x;
    float power = __builtin_rintf(near * 1.44269504f);
    float rest = __builtin_fmaf(power, -0.693359375f, near);
    rest = __builtin_fmaf(power, 2.12194440e-4f, rest);
    float sum = 1.9875691500e-4f;
    sum = __builtin_fmaf(sum, rest, 1.3981999507e-3f);
    sum = __builtin_fmaf(sum, rest, 8.3334519073e-3f);
    sum = __builtin_fmaf(sum, rest, 4.1665795894e-2f);
    sum = __builtin_fmaf(sum, rest, 1.6666665459e-1f);
    sum = __builtin_fmaf(sum, rest, 5.0000001201e-1f);
    sum = __builtin_fmaf(sum, rest * rest, rest) + 1.0f;
    return x < -87.0f ? 0.0f : sum * of_bits((uint32_t)((int32_t)power + 127) << 23);
}
