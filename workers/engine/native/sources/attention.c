/* Attention of single queries over pages (Dao et al.: "Flash-Decoding", 2023).

   A part is what some positions of a text give one KV head: for each of its query heads the mixed values, the highest
   score and the sum of weights relative to it. Parts are computed in any order and then put together. Their lengths do
   not depend on what else a step has, so neither does an answer, to the last bit.

   Keys wait for memory. While one block of a text is multiplied, what comes next is fetched. */

#include <immintrin.h>
#include <omp.h>

#include "numbers.h"

/* Numbers of a vector; head sizes are multiples of it. */
#ifdef __AVX512F__
#define WIDTH 16
#else
#define WIDTH 8
#endif
#define BLOCK 64 /* positions whose scores are computed together, a multiple of WIDTH */
#define LINE 64  /* bytes that come from memory at once */

/* Part `i` has the positions from `begins[i]` to before `ends[i]` of row `part_rows[i]`; a row's parts are those from
   `first_parts[row]` on, and its pages those from `first_pages[row]` on. */
typedef struct {
    i64 parts, rows, heads, kv_heads, dim, page_size;
    const i64 *part_rows, *begins, *ends, *first_parts, *pages, *first_pages;
} Plan;

/* Keys and values as [pages, kv_heads, page_size, dim]; of 8-bit levels also the largest magnitude of each vector. */
typedef struct {
    const void *keys, *values;
    const float *key_sizes, *value_sizes;
} Store;

typedef struct {
    const void *numbers;
    i64 stride;
    float scale, softcap;
} Queries;

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

/* The vector of a slot; 8-bit levels times their unit. */
INLINE void load_slot(const void *from, const float *sizes, i64 slot, i64 vecs, vec *into, enum kind kind) {
    for (i64 i = 0; i < vecs; i++) {
        into[i] = load(from, (slot * vecs + i) * WIDTH, kind);
        if (kind == I8) into[i] *= sizes[slot] * (1.0f / 127.0f);
    }
}

INLINE void fetch(const void *from, i64 slot, i64 dim, enum kind kind) {
    i64 bytes = dim * (kind == F32 ? 4 : kind == BF16 ? 2 : 1);
    for (i64 at = 0; at < bytes; at += LINE) __builtin_prefetch((const char *)from + slot * bytes + at);
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

/* Where the positions of the block from `first` on lie, and how many they are. */
INLINE i64 find(const Plan *plan, i64 row, i64 kv_head, i64 first, i64 end, i64 *slots) {
    const i64 *pages = plan->pages + plan->first_pages[row];
    i64 size = plan->page_size, count = end - first < BLOCK ? end - first : BLOCK;
    for (i64 t = 0, page = first / size, offset = first % size; t < count; t++, offset++) {
        if (offset == size) page++, offset = 0;
        slots[t] = (pages[page] * plan->kv_heads + kv_head) * size + offset;
    }
    return count;
}

/* Scores of a block for each query head of the group; beyond `count` they say nothing. */
INLINE void score(const vec *queries, const Store *store, const i64 *slots, i64 count, i64 group, i64 vecs,
                  float *scores, enum kind in_store) {
    vec products[group * WIDTH], key[vecs];
    for (i64 tile = 0; tile < count; tile += WIDTH) {
        for (i64 t = 0; t < WIDTH; t++) {
            i64 slot = slots[tile + t < count ? tile + t : count - 1];
            fetch(store->values, slot, vecs * WIDTH, in_store);
            load_slot(store->keys, store->key_sizes, slot, vecs, key, in_store);
            for (i64 g = 0; g < group; g++) {
                vec product = queries[g * vecs] * key[0];
                for (i64 i = 1; i < vecs; i++) product += queries[g * vecs + i] * key[i];
                products[g * WIDTH + t] = product;
            }
        }
        for (i64 g = 0; g < group; g++) {
            vec found = sums(products + g * WIDTH);
            memcpy(scores + g * BLOCK + tile, &found, sizeof found);
        }
    }
}

INLINE void cap(float *scores, i64 count, float softcap) {
    for (i64 t = 0; t < count; t++) {
        float twice = 2.0f * scores[t] / softcap;
        scores[t] = softcap * (1.0f - 2.0f / (1.0f + exponential(twice > 80.0f ? 80.0f : twice)));
    }
}

/* Scores become weights relative to the highest so far. Returns what earlier weights are worth now. */
INLINE float weigh(float *scores, i64 count, float *highest, float *total) {
    float top = *highest, sum = 0.0f;
#pragma omp simd reduction(max : top)
    for (i64 t = 0; t < count; t++) top = scores[t] > top ? scores[t] : top;
#pragma omp simd reduction(+ : sum)
    for (i64 t = 0; t < count; t++) {
        scores[t] = exponential(scores[t] - top);
        sum += scores[t];
    }
    float kept = *total == 0.0f ? 0.0f : exponential(*highest - top);
    *highest = top;
    *total = *total * kept + sum;
    return kept;
}

INLINE void attend(const Plan *plan, const Store *store, const Queries *queries, i64 part, i64 kv_head, i64 group,
                   i64 dim, float *mixed, enum kind in_rows, enum kind in_store) {
    i64 row = plan->part_rows[part], end = plan->ends[part], vecs = dim / WIDTH, upcoming[BLOCK], slots[BLOCK];
    float scores[group * BLOCK], kept[group], *highest = mixed + group * dim, *total = highest + group;
    vec query[group * vecs], values[BLOCK * vecs], sum[vecs];
    memset(mixed, 0, (size_t)(group * dim) * sizeof *mixed);
    for (i64 g = 0; g < group; g++) {
        highest[g] = -INFINITY, total[g] = 0.0f;
        i64 at = row * queries->stride + (kv_head * group + g) * dim;
        for (i64 i = 0; i < vecs; i++)
            query[g * vecs + i] = load(queries->numbers, at + i * WIDTH, in_rows) * queries->scale;
    }
    i64 count = find(plan, row, kv_head, plan->begins[part], end, upcoming);
    for (i64 first = plan->begins[part]; first < end; first += BLOCK) {
        i64 here = count;
        memcpy(slots, upcoming, sizeof slots);
        count = find(plan, row, kv_head, first + here, end, upcoming);
        score(query, store, slots, here, group, vecs, scores, in_store);
        for (i64 g = 0; g < group; g++) {
            if (queries->softcap > 0.0f) cap(scores + g * BLOCK, here, queries->softcap);
            kept[g] = weigh(scores + g * BLOCK, here, highest + g, total + g);
        }
        for (i64 t = 0; t < here; t++) {
            if (t < count) fetch(store->keys, upcoming[t], dim, in_store);
            load_slot(store->values, store->value_sizes, slots[t], vecs, values + t * vecs, in_store);
        }
        for (i64 g = 0; g < group; g++) {
            for (i64 i = 0; i < vecs; i++) sum[i] = load(mixed, g * dim + i * WIDTH, F32) * kept[g];
            for (i64 t = 0; t < here; t++)
                for (i64 i = 0; i < vecs; i++) sum[i] += scores[g * BLOCK + t] * values[t * vecs + i];
            memcpy(mixed + g * dim, sum, (size_t)dim * sizeof *mixed);
        }
    }
}

/* A row's parts for query head `g` of a KV head, put together. */
INLINE void combine(const Plan *plan, const float *parts, i64 row, i64 kv_head, i64 g, i64 group, void *out,
                    enum kind kind) {
    i64 dim = plan->dim, stride = plan->kv_heads * group * (dim + 2);
    const float *first = parts + plan->first_parts[row] * stride + kv_head * group * (dim + 2);
    const float *end = parts + plan->first_parts[row + 1] * stride;
    float top = -INFINITY, total = 0.0f, mixed[dim];
    memset(mixed, 0, sizeof mixed);
    for (const float *part = first; part < end; part += stride) {
        float highest = part[group * dim + g];
        top = highest > top ? highest : top;
    }
    for (const float *part = first; part < end; part += stride) {
        float weight = exponential(part[group * dim + g] - top);
        total += weight * part[group * dim + group + g];
        for (i64 d = 0; d < dim; d++) mixed[d] += weight * part[g * dim + d];
    }
    for (i64 d = 0; d < dim; d++) put(out, (row * plan->heads + kv_head * group + g) * dim + d, mixed[d] / total, kind);
}

#define ATTEND(dim, in_rows, in_store) attend(plan, store, queries, part, kv_head, group, dim, mixed, in_rows, in_store)
#define ATTEND_SIZES(in_rows, in_store)                                                                                \
    if (plan->dim == 64) ATTEND(64, in_rows, in_store);                                                                \
    else if (plan->dim == 128) ATTEND(128, in_rows, in_store);                                                         \
    else ATTEND(plan->dim, in_rows, in_store)

/* Into `out` [rows, heads, dim]; `parts` has room for [parts, kv_heads, heads of one, dim + 2]. */
void decode(const Plan *plan, const Store *store, const Queries *queries, float *parts, void *out, int in_rows,
            int in_store) {
    i64 group = plan->heads / plan->kv_heads;
#pragma omp parallel
    {
#pragma omp for schedule(dynamic, 1)
        for (i64 each = 0; each < plan->parts * plan->kv_heads; each++) {
            i64 part = each / plan->kv_heads, kv_head = each % plan->kv_heads;
            float *mixed = parts + each * group * (plan->dim + 2);
            if (in_rows == BF16 && in_store == BF16) { ATTEND_SIZES(BF16, BF16); }
            else if (in_rows == BF16) { ATTEND_SIZES(BF16, I8); }
            else if (in_store == I8) { ATTEND_SIZES(F32, I8); }
            else { ATTEND_SIZES(F32, F32); }
        }
#pragma omp for schedule(static)
        for (i64 each = 0; each < plan->rows * plan->heads; each++) {
            i64 row = each / plan->heads, head = each % plan->heads;
            if (in_rows == BF16) combine(plan, parts, row, head / group, head % group, group, out, BF16);
            else combine(plan, parts, row, head / group, head % group, group, out, F32);
        }
    }
}

/* Keys and then values of `tokens`, [tokens, kv_heads] vectors of so many bytes each, to `places` in a layer. */
void write_tokens(char *layer, const i64 *places, i64 tokens, i64 kv_heads, i64 bytes, const char *keys, i64 key_stride,
                  const char *values, i64 value_stride) {
#pragma omp parallel for if (tokens * kv_heads * bytes > 65536)
    for (i64 token = 0; token < tokens; token++)
        for (i64 head = 0; head < kv_heads; head++) {
            const i64 *place = places + token * kv_heads + head;
            memcpy(layer + place[0] * bytes, keys + token * key_stride + head * bytes, (size_t)bytes);
            memcpy(layer + place[tokens * kv_heads] * bytes, values + token * value_stride + head * bytes, (size_t)bytes);
        }
}

/* How many threads `decode` would be given here. */
int threads(void) { return omp_get_max_threads(); }
