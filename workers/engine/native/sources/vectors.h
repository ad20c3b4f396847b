/* Vectors of float32 numbers, of the width that the processor has. */

#include <immintrin.h>

#include "numbers.h"

/* Numbers of a vector; head sizes are multiples of it. */
#ifdef __AVX512F__
#define WIDTH 16
#else
#define WIDTH 8
#endif

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t words __attribute__((vector_size(4 * WIDTH)));

/* WIDTH numbers. Compilers of today widen small ones one by one where they are not told how to do it at once. */
INLINE vec load(const void *from, i64 at, enum kind kind) {
    const void *bits = (const uint16_t *)from + at, *levels = (const int8_t *)from + at;
#ifdef __AVX512F__
    if (kind == BF16) return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(bits)), 16);
    if (kind == I8) return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(levels)));
#else
    if (kind == BF16) return (vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(bits)), 16);
    if (kind == I8) return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(levels)));
#endif
    vec numbers;
    memcpy(&numbers, (const float *)from + at, sizeof numbers);
    return numbers;
}

#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (words){__VA_ARGS__})
#endif

/* Sums of WIDTH vectors, each in its own place of the result, by shuffles that a processor has an instruction for: at
   first within four numbers, and then of fours. */
#ifdef __AVX512F__
#define LOW(a, b) PICK(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH(a, b) PICK(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW_PAIRS(a, b) PICK(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH_PAIRS(a, b) PICK(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define EVEN_FOURS(a, b) PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define ODD_FOURS(a, b) PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
#else
#define LOW(a, b) PICK(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH(a, b) PICK(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW_PAIRS(a, b) PICK(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HIGH_PAIRS(a, b) PICK(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define EVEN_FOURS(a, b) PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define ODD_FOURS(a, b) PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
#endif

INLINE vec sums(const vec *v) {
    vec left[WIDTH];
    for (int i = 0; i < WIDTH / 2; i++) left[i] = LOW(v[2 * i], v[2 * i + 1]) + HIGH(v[2 * i], v[2 * i + 1]);
    for (int i = 0; i < WIDTH / 4; i++)
        left[i] = LOW_PAIRS(left[2 * i], left[2 * i + 1]) + HIGH_PAIRS(left[2 * i], left[2 * i + 1]);
    for (int fours = WIDTH / 4; fours > 1; fours /= 2)
        for (int i = 0; i < fours / 2; i++)
            left[i] = EVEN_FOURS(left[2 * i], left[2 * i + 1]) + ODD_FOURS(left[2 * i], left[2 * i + 1]);
    return left[0];
}
