/* Attention of single queries over pages (Dao et al.: "Flash-Decoding", 2023).

   A part is a piece of text and the rows that read it, several where texts begin alike. For each of its readers it gives
   the query heads of a KV head their mixed values, the highest score and the sum of weights relative to it. Parts are
   computed in any order, and what they give a row is then put together.

   Keys and values wait for memory. While one block of a piece is multiplied, what comes next is fetched. */

#include <omp.h>

#include "vectors.h"

#define BLOCK 64 /* tokens whose scores are computed together */
#define LINE 64  /* bytes that come from memory at once */
#define TOKENS 4 /* whose scores are one tile, with those of QUERIES */
#define QUERIES (WIDTH / TOKENS)

/* Part `i` is the `tokens[i]` tokens behind the first `skipped[i]` of the pages from `first_pages[i]` on. It is read by
   the rows `readers[first_looks[i]]` to before `readers[first_looks[i + 1]]`, each a look. The looks of a row are
   `row_looks[first_row_looks[row]]` and those that follow. */
typedef struct {
    i64 parts, rows, heads, kv_heads, dim, page_size;
    const i64 *first_pages, *skipped, *tokens, *first_looks, *readers, *first_row_looks, *row_looks, *pages;
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

/* Where the tokens of the block from `first` on lie, and how many they are. */
INLINE i64 find(const Plan *plan, i64 part, i64 kv_head, i64 first, i64 *slots) {
    const i64 *pages = plan->pages + plan->first_pages[part];
    i64 size = plan->page_size, left = plan->tokens[part] - first, count = left < BLOCK ? left : BLOCK;
    i64 page = (plan->skipped[part] + first) / size, offset = (plan->skipped[part] + first) % size;
    for (i64 t = 0; t < count; t++, offset++) {
        if (offset == size) page++, offset = 0;
        slots[t] = (pages[page] * plan->kv_heads + kv_head) * size + offset;
    }
    return count;
}

/* The queries of a part, scaled, and zeros where they do not fill the last tile. */
INLINE void collect(const Plan *plan, const Queries *queries, i64 part, i64 kv_head, i64 group, i64 dim, vec *into,
                    enum kind in_rows) {
    i64 vecs = dim / WIDTH, first = plan->first_looks[part], looks = plan->first_looks[part + 1] - first, filled = 0;
    for (i64 look = 0; look < looks; look++) {
        i64 at = plan->readers[first + look] * queries->stride + kv_head * group * dim;
        for (i64 i = 0; i < group * vecs; i++, filled++)
            into[filled] = load(queries->numbers, at + i * WIDTH, in_rows) * queries->scale;
    }
    for (; filled % (QUERIES * vecs); filled++) into[filled] = (vec){0};
}

/* Scores [count, BLOCK] of `count` queries for the keys of a block; both are filled up to whole tiles. */
INLINE void score(const vec *queries, i64 count, const vec *keys, i64 tokens, i64 vecs, float *scores) {
    for (i64 q = 0; q < count; q += QUERIES)
        for (i64 t = 0; t < tokens; t += TOKENS) {
            vec products[WIDTH];
            for (int a = 0; a < QUERIES; a++)
                for (int b = 0; b < TOKENS; b++)
                    products[a * TOKENS + b] = queries[(q + a) * vecs] * keys[(t + b) * vecs];
            for (i64 i = 1; i < vecs; i++)
                for (int a = 0; a < QUERIES; a++)
                    for (int b = 0; b < TOKENS; b++)
                        products[a * TOKENS + b] += queries[(q + a) * vecs + i] * keys[(t + b) * vecs + i];
            vec found = sums(products);
            for (int a = 0; a < QUERIES; a++)
                memcpy(scores + (q + a) * BLOCK + t, (const float *)&found + a * TOKENS, TOKENS * sizeof *scores);
        }
}

/* `width` vectors of what some queries mix, from vector `i` on: what they had, times `kept`, and values by weights. */
INLINE void mix_some(const float *weights, const float *kept, const vec *values, i64 tokens, i64 vecs, i64 i,
                     const int width, vec *mixed) {
    vec sum[QUERIES][4];
    for (int a = 0; a < QUERIES; a++)
        for (int b = 0; b < width; b++) sum[a][b] = mixed[a * vecs + i + b] * kept[a];
    for (i64 t = 0; t < tokens; t++)
        for (int a = 0; a < QUERIES; a++)
            for (int b = 0; b < width; b++) sum[a][b] += weights[a * BLOCK + t] * values[t * vecs + i + b];
    for (int a = 0; a < QUERIES; a++)
        for (int b = 0; b < width; b++) mixed[a * vecs + i + b] = sum[a][b];
}

INLINE void mix(const float *weights, const float *kept, i64 count, const vec *values, i64 tokens, i64 vecs,
                vec *mixed) {
    for (i64 q = 0; q < count; q += QUERIES) {
        i64 i = 0;
        for (; i + 4 <= vecs; i += 4)
            mix_some(weights + q * BLOCK, kept + q, values, tokens, vecs, i, 4, mixed + q * vecs);
        for (; i < vecs; i++) mix_some(weights + q * BLOCK, kept + q, values, tokens, vecs, i, 1, mixed + q * vecs);
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

/* What a part gives one KV head of its readers: [looks, kv_heads, group, dim + 2], a look after the other. */
INLINE void attend(const Plan *plan, const Store *store, const Queries *queries, i64 part, i64 kv_head, i64 group,
                   i64 dim, float *given, enum kind in_rows, enum kind in_store) {
    i64 vecs = dim / WIDTH, look = plan->first_looks[part], count = (plan->first_looks[part + 1] - look) * group;
    i64 filled = (count + QUERIES - 1) / QUERIES * QUERIES, upcoming[BLOCK], slots[BLOCK];
    vec query[filled * vecs], mixed[filled * vecs], wide[BLOCK * vecs];
    float scores[filled * BLOCK], kept[filled], highest[filled], total[filled];
    collect(plan, queries, part, kv_head, group, dim, query, in_rows);
    memset(mixed, 0, sizeof mixed), memset(scores, 0, sizeof scores), memset(kept, 0, sizeof kept);
    for (i64 q = 0; q < count; q++) highest[q] = -INFINITY, total[q] = 0.0f;
    i64 next = find(plan, part, kv_head, 0, upcoming);
    for (i64 first = 0; first < plan->tokens[part]; first += BLOCK) {
        i64 here = next, whole = (here + TOKENS - 1) / TOKENS * TOKENS;
        memcpy(slots, upcoming, sizeof slots);
        next = find(plan, part, kv_head, first + here, upcoming);
        for (i64 t = 0; t < here; t++) {
            fetch(store->values, slots[t], dim, in_store);
            load_slot(store->keys, store->key_sizes, slots[t], vecs, wide + t * vecs, in_store);
        }
        memset(wide + here * vecs, 0, (size_t)((whole - here) * vecs) * sizeof *wide);
        score(query, filled, wide, whole, vecs, scores);
        for (i64 q = 0; q < count; q++) {
            if (queries->softcap > 0.0f) cap(scores + q * BLOCK, here, queries->softcap);
            kept[q] = weigh(scores + q * BLOCK, here, highest + q, total + q);
        }
        for (i64 t = 0; t < here; t++) {
            if (t < next) fetch(store->keys, upcoming[t], dim, in_store);
            load_slot(store->values, store->value_sizes, slots[t], vecs, wide + t * vecs, in_store);
        }
        mix(scores, kept, filled, wide, here, vecs, mixed);
    }
    for (i64 q = 0; q < count; q++) {
        float *mine = given + (((look + q / group) * plan->kv_heads + kv_head) * group + q % group) * (dim + 2);
        memcpy(mine, mixed + q * vecs, (size_t)dim * sizeof *mine);
        mine[dim] = highest[q], mine[dim + 1] = total[q];
    }
}

/* What all looks of a row gave one query head, put together. */
INLINE void combine(const Plan *plan, const float *given, i64 row, i64 head, void *out, enum kind kind) {
    const i64 *first = plan->row_looks + plan->first_row_looks[row];
    const i64 *end = plan->row_looks + plan->first_row_looks[row + 1];
    i64 dim = plan->dim;
    float top = -INFINITY, total = 0.0f, mixed[dim];
    memset(mixed, 0, sizeof mixed);
    for (const i64 *look = first; look < end; look++) {
        float highest = given[(*look * plan->heads + head) * (dim + 2) + dim];
        top = highest > top ? highest : top;
    }
    for (const i64 *look = first; look < end; look++) {
        const float *mine = given + (*look * plan->heads + head) * (dim + 2);
        float weight = exponential(mine[dim] - top);
        total += weight * mine[dim + 1];
        for (i64 d = 0; d < dim; d++) mixed[d] += weight * mine[d];
    }
    for (i64 d = 0; d < dim; d++) put(out, (row * plan->heads + head) * dim + d, mixed[d] / total, kind);
}

#define ATTEND(dim, in_rows, in_store) attend(plan, store, queries, part, kv_head, group, dim, given, in_rows, in_store)
#define ATTEND_SIZES(in_rows, in_store)                                                                                \
    if (plan->dim == 64) ATTEND(64, in_rows, in_store);                                                                \
    else if (plan->dim == 128) ATTEND(128, in_rows, in_store);                                                         \
    else ATTEND(plan->dim, in_rows, in_store)

/* Into `out` [rows, heads, dim]; `given` has room for [looks, heads, dim + 2]. */
void decode(const Plan *plan, const Store *store, const Queries *queries, float *given, void *out, int in_rows,
            int in_store) {
    i64 group = plan->heads / plan->kv_heads;
#pragma omp parallel
    {
#pragma omp for schedule(dynamic, 1)
        for (i64 each = 0; each < plan->parts * plan->kv_heads; each++) {
            i64 part = each / plan->kv_heads, kv_head = each % plan->kv_heads;
            if (in_rows == BF16 && in_store == BF16) { ATTEND_SIZES(BF16, BF16); }
            else if (in_rows == BF16) { ATTEND_SIZES(BF16, I8); }
            else if (in_store == I8) { ATTEND_SIZES(F32, I8); }
            else { ATTEND_SIZES(F32, F32); }
        }
#pragma omp for schedule(static)
        for (i64 each = 0; each < plan->rows * plan->heads; each++) {
            if (in_rows == BF16) combine(plan, given, each / plan->heads, each % plan->heads, out, BF16);
            else combine(plan, given, each / plan->heads, each % plan->heads, out, F32);
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
            memcpy(layer + place[tokens * kv_heads] * bytes, values + token * value_stride + head * bytes,
                   (size_t)bytes);
        }
}

/* How many threads `decode` would be given here. */
int threads(void) { return omp_get_max_threads(); }
