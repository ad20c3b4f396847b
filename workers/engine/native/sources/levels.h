/* Rows as whole numbers from -127 to 127, and one size for each. */

#include "numbers.h"

#define LEVELS 127.0f
#define LEAST 1e-30f
/* What rounding leaves is at most half a level, and takes all levels when multiplied by this. */
#define REST (2.0f * LEVELS)

INLINE float scaled(const void *in, i64 from, i64 i, const float *factors, enum kind kind) {
    return get(in, from + i, kind) * (factors ? factors[i] : 1.0f);
}

INLINE float largest_of(i64 from, i64 size, const void *in, const float *factors, enum kind kind) {
    float largest = LEAST, odd = 0.0f;
#pragma omp simd reduction(max : largest) reduction(+ : odd)
    for (i64 i = 0; i < size; i++) {
        float number = scaled(in, from, i, factors, kind), magnitude = number < 0.0f ? -number : number;
        largest = magnitude > largest ? magnitude : largest;
        odd += number * 0.0f;
    }
    return largest + odd; /* NaN where the row has a NaN or an infinity */
}

/* The levels of a row of `in`, and what they leave over; `flip` is 0x80 for levels raised by 128. Gives the largest. */
INLINE float quantise_row(i64 from, i64 size, const void *in, const float *factors, int8_t *restrict levels,
                          int8_t *restrict rest, int flip, enum kind kind) {
    float largest = largest_of(from, size, in, factors, kind), unit = LEVELS / largest;
    for (i64 i = 0; i < size; i++) {
        float exact = scaled(in, from, i, factors, kind) * unit, level = __builtin_rintf(exact);
        levels[i] = (int8_t)((int32_t)level ^ flip);
        if (rest) rest[i] = (int8_t)((int32_t)__builtin_rintf((exact - level) * REST) ^ flip);
    }
    return largest;
}
