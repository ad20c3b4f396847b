/* Products of int8 rows and int8 weights, exact for up to 66,000 inputs: the rows are quantised, multiplied and scaled
   back in one parallel region, and the weights are read once, in the order in which they lie.

   The weights lie in blocks of COLUMNS outputs and DEPTH inputs, an output's blocks one after the other; in a block,
   four inputs of each output lie together. Zeros fill the last ones. AMX multiplies a block by 16 rows at once, VNNI
   four inputs of 16 outputs by one row. */

#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

#include "levels.h"

#ifdef __AVX512VNNI__
#include <immintrin.h>
#endif

#define COLUMNS 16
#define DEPTH 64
#define ROWS 16 /* that a tile of AMX has */

enum way { NONE, VNNI, TILES };

#ifdef __AVX512VNNI__

/* `scales` [outputs] multiply the sums. VNNI multiplies unsigned numbers by signed ones: rows are raised by 128, and
   `raised` [outputs] is what that adds. */
struct weights {
    i64 inputs, outputs, way;
    const int8_t *blocks;
    const float *scales;
    const int32_t *raised;
};

/* What becomes of the sums: `out` [rows, outputs]; without `sizes` [rows] they are 1, without `bias` [outputs] 0. */
struct results {
    const float *sizes, *bias;
    void *out;
};

/* Sums of a tile: 16 outputs of each of 16 rows. */
typedef int32_t sums[ROWS * COLUMNS];

#ifdef __AMX_INT8__

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XTILEDATA 18

/* A process asks Linux once for the registers that tiles take. */
static int tiles_granted(void) { return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0; }

/* Eight tiles of 16 rows of 64 bytes. */
struct tile_shapes {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static const struct tile_shapes WHOLE = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* Others on this thread remember which shapes they set last, so they are put back. */
INLINE void take_tiles(struct tile_shapes *before) {
    _tile_storeconfig(before);
    _tile_loadconfig(&WHOLE);
}

INLINE void give_tiles_back(const struct tile_shapes *before) {
    if (before->palette) _tile_loadconfig(before);
    else _tile_release();
}

/* Two tiles of rows, the second of them maybe none, by one or two columns of blocks: sums of (0, 0), (1, 0), (0, 1) and
   (1, 1). */
INLINE void multiply_tiles(const int8_t *first, const int8_t *second, i64 depth, const int8_t *blocks,
                           const int8_t *next, sums *out) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (i64 at = 0; at < depth; at += DEPTH) {
        _tile_loadd(4, first + at, depth);
        _tile_loadd(6, blocks + at * COLUMNS, DEPTH);
        _tile_dpbssd(0, 4, 6);
        if (next) {
            _tile_loadd(7, next + at * COLUMNS, DEPTH);
            _tile_dpbssd(2, 4, 7);
        }
        if (second) {
            _tile_loadd(5, second + at, depth);
            _tile_dpbssd(1, 5, 6);
            if (next) _tile_dpbssd(3, 5, 7);
        }
    }
    _tile_stored(0, out[0], sizeof(int32_t) * COLUMNS);
    _tile_stored(1, out[1], sizeof(int32_t) * COLUMNS);
    _tile_stored(2, out[2], sizeof(int32_t) * COLUMNS);
    _tile_stored(3, out[3], sizeof(int32_t) * COLUMNS);
}

#endif

#define AT_ONCE 8 /* rows whose sums fit into registers, for two columns of blocks */

INLINE void multiply_rows(const int8_t *rows, i64 depth, const int8_t *blocks, const int8_t *next, int32_t *out,
                          int32_t *out_next) {
    __m512i sum[AT_ONCE], sum_next[AT_ONCE];
    for (int row = 0; row < AT_ONCE; row++) sum[row] = sum_next[row] = _mm512_setzero_si512();
    for (i64 at = 0; at < depth; at += 4) {
        __m512i weights = _mm512_loadu_si512(blocks + at * COLUMNS);
        __m512i others = next ? _mm512_loadu_si512(next + at * COLUMNS) : weights;
        for (int row = 0; row < AT_ONCE; row++) {
            int32_t four;
            memcpy(&four, rows + row * depth + at, sizeof four);
            sum[row] = _mm512_dpbusd_epi32(sum[row], _mm512_set1_epi32(four), weights);
            if (next) sum_next[row] = _mm512_dpbusd_epi32(sum_next[row], _mm512_set1_epi32(four), others);
        }
    }
    for (int row = 0; row < AT_ONCE; row++) {
        _mm512_storeu_si512(out + row * COLUMNS, sum[row]);
        if (next) _mm512_storeu_si512(out_next + row * COLUMNS, sum_next[row]);
    }
}

/* As `multiply_tiles`, for `count` rows of each tile. */
INLINE void multiply_vnni(const int8_t *first, const int8_t *second, i64 count, i64 depth, const int8_t *blocks,
                          const int8_t *next, sums *out) {
    for (i64 row = 0; row < count; row += AT_ONCE)
        multiply_rows(first + row * depth, depth, blocks, next, out[0] + row * COLUMNS, out[2] + row * COLUMNS);
    for (i64 row = 0; second && row < count; row += AT_ONCE)
        multiply_rows(second + row * depth, depth, blocks, next, out[1] + row * COLUMNS, out[3] + row * COLUMNS);
}

INLINE __m512 of_sums(const struct weights *by, const int32_t *sum, i64 output, __mmask16 there) {
    __m512i whole = _mm512_loadu_si512(sum);
    if (by->way == VNNI) whole = _mm512_sub_epi32(whole, _mm512_maskz_loadu_epi32(there, by->raised + output));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(whole), _mm512_maskz_loadu_ps(there, by->scales + output));
}

/* As `put`, for 16 numbers. */
INLINE void put_all(void *to, i64 at, __m512 numbers, __mmask16 there, enum kind kind) {
    if (kind == BF16) {
        __m512i bits = _mm512_castps_si512(numbers);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        __m512i raised = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
        __mmask16 broken = _mm512_cmp_ps_mask(numbers, numbers, _CMP_UNORD_Q);
        __m512i rounded = _mm512_mask_mov_epi32(_mm512_srli_epi32(raised, 16), broken, _mm512_set1_epi32(0x7fc0));
        _mm256_mask_storeu_epi16((uint16_t *)to + at, there, _mm512_cvtepi32_epi16(rounded));
    } else _mm512_mask_storeu_ps((float *)to + at, there, numbers);
}

/* Sums of a tile's rows, from `row` and `output` on, as numbers. */
INLINE void finish(const struct weights *by, const struct results *to, const int32_t *sum, const int32_t *rest, i64 row,
                   i64 count, i64 output, enum kind kind) {
    i64 width = by->outputs - output;
    __mmask16 there = width < COLUMNS ? (1 << width) - 1 : 0xffff;
    __m512 bias = to->bias ? _mm512_maskz_loadu_ps(there, to->bias + output) : _mm512_setzero_ps();
    for (i64 i = 0; i < count; i++) {
        __m512 numbers = of_sums(by, sum + i * COLUMNS, output, there);
        if (rest) {
            __m512 left = of_sums(by, rest + i * COLUMNS, output, there);
            numbers = _mm512_fmadd_ps(left, _mm512_set1_ps(1.0f / REST), numbers);
        }
        __m512 size = _mm512_set1_ps(to->sizes ? to->sizes[row + i] : 1.0f);
        put_all(to->out, (row + i) * by->outputs + output, _mm512_fmadd_ps(numbers, size, bias), there, kind);
    }
}

/* Two columns of blocks, from `output` on, for all rows. */
INLINE void multiply_columns(const struct weights *by, const struct results *to, i64 rows, const int8_t *levels,
                             const int8_t *left, i64 output, enum kind kind) {
    i64 depth = (by->inputs + DEPTH - 1) / DEPTH * DEPTH;
    const int8_t *blocks = by->blocks + output * depth;
    const int8_t *next = output + COLUMNS < by->outputs ? blocks + COLUMNS * depth : 0;
    i64 step = left ? ROWS : 2 * ROWS;
    for (i64 row = 0; row < rows; row += step) {
        sums found[4] __attribute__((aligned(64)));
        const int8_t *first = levels + row * depth;
        const int8_t *second = left ? left + row * depth : row + ROWS < rows ? first + ROWS * depth : 0;
        i64 count = rows - row < ROWS ? rows - row : ROWS, more = rows - row - ROWS;
#ifdef __AMX_INT8__
        if (by->way == TILES) multiply_tiles(first, second, depth, blocks, next, found);
#endif
        if (by->way == VNNI) multiply_vnni(first, second, count, depth, blocks, next, found);
        for (int column = 0; column < (next ? 2 : 1); column++) {
            const int32_t *sum = found[2 * column], *other = found[2 * column + 1];
            i64 at = output + column * COLUMNS;
            finish(by, to, sum, left ? other : 0, row, count, at, kind);
            if (second && !left) finish(by, to, other, 0, row + ROWS, more < ROWS ? more : ROWS, at, kind);
        }
    }
}

/* `out` [rows, outputs] from `in` [rows, inputs], times `factors` [inputs] or 1, of the same kind; without `in` from
   the `levels` that are there, and no sizes. `twice`: what rounding leaves of a row is multiplied as well.

   `levels` has room for the rows, up to whole tiles, of inputs up to whole blocks, and as much again for what is
   multiplied twice; `sizes` for the rows. */
void int8_linear(const struct weights *by, i64 rows, const void *in, const float *factors, const float *bias, int twice,
                 int8_t *levels, float *sizes, void *out, int kind) {
    i64 inputs = by->inputs, depth = (inputs + DEPTH - 1) / DEPTH * DEPTH;
    int8_t *left = twice ? levels + (rows + ROWS - 1) / ROWS * ROWS * depth : 0;
    int flip = by->way == VNNI ? 0x80 : 0;
    struct results to = {sizes, bias, out};
#pragma omp parallel
    {
#pragma omp for
        for (i64 row = 0; row < (in ? rows : 0); row++) {
            int8_t *here = levels + row * depth, *rest = left ? left + row * depth : 0;
            if (kind == BF16) sizes[row] = quantise_row(row * inputs, inputs, in, factors, here, rest, flip, BF16);
            else sizes[row] = quantise_row(row * inputs, inputs, in, factors, here, rest, flip, F32);
        }
#ifdef __AMX_INT8__
        struct tile_shapes before;
        if (by->way == TILES) take_tiles(&before);
#endif
#pragma omp for
        for (i64 output = 0; output < by->outputs; output += 2 * COLUMNS) {
            if (kind == BF16) multiply_columns(by, &to, rows, levels, left, output, BF16);
            else multiply_columns(by, &to, rows, levels, left, output, F32);
        }
#ifdef __AMX_INT8__
        if (by->way == TILES) give_tiles_back(&before);
#endif
    }
}

/* How this processor multiplies: `enum way`. Without either way there is no `int8_linear`. */
int way_of_products(void) {
#ifdef __AMX_INT8__
    return tiles_granted() ? TILES : VNNI;
#else
    return VNNI;
#endif
}

#else

int way_of_products(void) { return NONE; }

#endif
