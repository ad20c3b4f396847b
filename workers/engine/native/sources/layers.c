/* What a layer does to each row between its products. The rows of every tensor lie one after the other.

   A row is read by one thread. Fewer numbers than a thread's start is worth are computed by one. */

#include "levels.h"

#define WORTH_A_THREAD 8192

/* The sum of the squares of a row. */
INLINE float squares(const void *in, i64 from, i64 size, enum kind kind) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (i64 i = 0; i < size; i++) sum += get(in, from + i, kind) * get(in, from + i, kind);
    return sum;
}

INLINE void norm_row(i64 from, i64 size, const void *in, const void *weight, float epsilon, void *out, enum kind kind) {
    float scale = 1.0f / sqrtf(squares(in, from, size, kind) / (float)size + epsilon);
    for (i64 i = 0; i < size; i++)
        put(out, from + i, stored(get(in, from + i, kind) * scale, kind) * get(weight, i, kind), kind);
}

/* RMSNorm of `in` [rows, size]: scaled, rounded, and multiplied by `weight` [size]. */
void rms_norm(i64 rows, i64 size, const void *in, const void *weight, float epsilon, void *out, int kind) {
#pragma omp parallel for if (rows * size > WORTH_A_THREAD)
    for (i64 row = 0; row < rows; row++) {
        if (kind == BF16) norm_row(row * size, size, in, weight, epsilon, out, BF16);
        else norm_row(row * size, size, in, weight, epsilon, out, F32);
    }
}

INLINE void rotate_head(void *head, i64 at, i64 size, const void *cosines, const void *sines, i64 turn,
                        enum kind kind) {
    i64 half = size / 2;
    for (i64 i = 0; i < half; i++) {
        float first = get(head, at + i, kind), second = get(head, at + half + i, kind);
        float kept = stored(first * get(cosines, turn + i, kind), kind);
        float other = stored(second * get(cosines, turn + half + i, kind), kind);
        put(head, at + i, kept + second * get(sines, turn + i, kind), kind);
        put(head, at + half + i, other + first * get(sines, turn + half + i, kind), kind);
    }
}

/* Turns, in place, the first `size` numbers of the first `heads` heads of `joined` [rows, stride], each of `dim`.
   `cosines` and `sines` [rows, size]; the first half of the sines has the other sign. */
void rotate(i64 rows, i64 stride, i64 heads, i64 dim, i64 size, void *joined, const void *cosines, const void *sines,
            int kind) {
#pragma omp parallel for if (rows * heads * dim > WORTH_A_THREAD)
    for (i64 row = 0; row < rows; row++)
        for (i64 head = 0; head < heads; head++) {
            i64 at = row * stride + head * dim;
            if (kind == BF16) rotate_head(joined, at, size, cosines, sines, row * size, BF16);
            else rotate_head(joined, at, size, cosines, sines, row * size, F32);
        }
}

INLINE void gate_row(i64 row, i64 size, const void *joined, void *out, enum kind kind) {
    for (i64 i = 0; i < size; i++) {
        float gate = get(joined, 2 * row * size + i, kind), up = get(joined, (2 * row + 1) * size + i, kind);
        float minus = gate < -87.0f ? 87.0f : -gate;
        put(out, row * size + i, stored(gate / (1.0f + exponential(minus)), kind) * up, kind);
    }
}

/* SiLU of the first half of each row of `joined` [rows, 2 size], times the second half. */
void gate_silu(i64 rows, i64 size, const void *joined, void *out, int kind) {
#pragma omp parallel for if (rows * size > WORTH_A_THREAD)
    for (i64 row = 0; row < rows; row++) {
        if (kind == BF16) gate_row(row, size, joined, out, BF16);
        else gate_row(row, size, joined, out, F32);
    }
}

/* Levels of `in` [rows, size] times `factors` [size] or 1, and what they leave over; `sizes` [rows] has the largest. */
void quantise(i64 rows, i64 size, const void *in, const float *factors, int8_t *levels, int8_t *rest, float *sizes,
              int kind) {
#pragma omp parallel for if (rows * size > WORTH_A_THREAD)
    for (i64 row = 0; row < rows; row++) {
        i64 from = row * size;
        int8_t *left = rest ? rest + from : 0;
        if (kind == BF16) sizes[row] = quantise_row(from, size, in, factors, levels + from, left, 0, BF16);
        else sizes[row] = quantise_row(from, size, in, factors, levels + from, left, 0, F32);
    }
}

INLINE void rescale_row(i64 row, i64 size, const float *product, const float *rest, const float *sizes,
                        const float *bias, void *out, enum kind kind) {
    i64 from = row * size;
    for (i64 i = 0; i < size; i++) {
        float sum = product[from + i] + (rest ? rest[from + i] * (1.0f / REST) : 0.0f);
        put(out, from + i, sum * sizes[row] + (bias ? bias[i] : 0.0f), kind);
    }
}

/* Products [rows, size] of levels, and of what they left over, as numbers again. */
void rescale(i64 rows, i64 size, const float *product, const float *rest, const float *sizes, const float *bias,
             void *out, int kind) {
#pragma omp parallel for if (rows * size > WORTH_A_THREAD)
    for (i64 row = 0; row < rows; row++) {
        if (kind == BF16) rescale_row(row, size, product, rest, sizes, bias, out, BF16);
        else rescale_row(row, size, product, rest, sizes, bias, out, F32);
    }
}
