/* Lines of Envoy's default access log into columns: what `plain.py` does with numpy, in one pass.

   The same lines are taken, with the same values (tests/framing): ASCII without control characters, a time in Envoy's own form,
   14 quotes, as many blanks between them as the format has, no empty value, integers of one to eight digits without a zero before
   them. What the format asks beyond that of values that repeat is asked by the caller, once of each distinct text.

   No Python in here: it is called through ctypes, so that one build does for every Python. The caller gives a block that ends with
   a line end and has PAD readable bytes behind it, at most 2^30 bytes. Whatever stands in it, nothing else is read, and nothing is
   written beyond the room that `Output` says: a line for which there is none is left to the caller, as every other line that is not taken. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words of eight bytes are read with the first one lowest"
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

/* Which instructions may be used where the machine has them: 0 none but those that all have, 1 also AVX2, 2 also AVX-512. */
#ifndef LEVEL
#define LEVEL 2
#endif
#if LEVEL > 1 && defined(__x86_64__) && !defined(_WIN32) /* where the stack of such code is not aligned */
#define WIDE __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,aes,vaes,bmi,bmi2,popcnt")))
#endif
#define INLINE inline __attribute__((always_inline))

#define VERSION 2 /* raised with every change of what native.py calls or gives */
#define STRETCHES 6
#define NUMBERS 4
#define TEXTS 6
#define LINE_LIMIT 65536
#define PAD 64
#define PORTION 131072 /* bytes whose marks are found at once, so that these stay in the cache */

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef struct {
    uint64_t hash;
    uint8_t *text;
    uint32_t size;
} Entry;

/* The distinct texts of one stretch, numbered as they come. */
typedef struct {
    Entry *entries;
    uint64_t *slots; /* upper half: of the hash; lower half: number + 1; 0: free */
    uint32_t count, room, mask;
} Texts;

typedef struct {
    Texts texts[STRETCHES];
    uint64_t seed;
    uint32_t *marks; /* where they stand in the block, */
    uint8_t *kinds;  /* and the bytes that stand there */
    size_t marks_room;
    int64_t microseconds; /* of the last minute that was read, */
    uint8_t minute[16];   /* and how it is written; not a minute before there was one */
    int wide;             /* whether this machine has the instructions of the functions that are WIDE */
} Kernel;

/* A column of texts as Arrow keeps it; NULLs when nobody wants it. */
typedef struct {
    int64_t *offsets;
    uint8_t *data;
    uint8_t *valid;
    int64_t room; /* bytes of data */
} Column;

/* Where what was read goes; what is NULL is not wanted. */
typedef struct {
    int64_t row, room; /* the next row, and for how many there is room */
    int64_t *offset;   /* of each row that was taken: where its line begins in the stream */
    int64_t *time;
    int64_t *numbers[NUMBERS];
    uint8_t *missing[NUMBERS];
    void *rows[STRETCHES];           /* the numbers of their texts: */
    int32_t rows_size[STRETCHES];    /* of two bytes, when there is no greater one, or four */
    Column columns[TEXTS];
    int32_t *begin, *end; /* of each row of this block, from 0 on: where the line without its wrapper lies */
    int64_t lines;        /* all of the block */
    int64_t others;       /* lines that were not taken: */
    int32_t *other_begin, *other_end, *other_row; /* where they lie, and how many rows of this block come before */
} Output;

static inline uint64_t word(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* --- distinct texts --- */

static inline uint64_t mixed(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t low_bytes(const uint8_t *p, uint32_t size) { return size ? word(p) & (~0ull >> (64 - 8 * size)) : 0; }

/* Eight bytes behind the text must be readable. */
static inline uint64_t hashed(const uint8_t *p, uint32_t size, uint64_t seed) {
    uint64_t h = seed ^ (size * 0x9E3779B97F4A7C15ull);
    if (size < 8) return mixed(low_bytes(p, size) ^ h, 0xE7037ED1A0B428DBull);
    uint64_t g = h ^ 0x589965CC75374CC3ull;
    uint32_t i = 0;
    for (; i + 32 <= size; i += 32) {
        h = mixed(word(p + i) ^ 0xA0761D6478BD642Full, word(p + i + 8) ^ h);
        g = mixed(word(p + i + 16) ^ 0x8EBC6AF09C88C6E3ull, word(p + i + 24) ^ g);
    }
    if (i + 16 <= size) h = mixed(word(p + i) ^ 0xA0761D6478BD642Full, word(p + i + 8) ^ h);
    if (size >= 16) return mixed(word(p + size - 16) ^ g ^ 0x8EBC6AF09C88C6E3ull, word(p + size - 8) ^ h);
    return mixed(word(p) ^ g ^ 0x8EBC6AF09C88C6E3ull, word(p + size - 8) ^ h);
}

static inline int equal(const uint8_t *a, const uint8_t *b, uint32_t size) {
    if (size < 8) return low_bytes(a, size) == low_bytes(b, size);
    uint64_t difference = word(a + size - 8) ^ word(b + size - 8);
    for (uint32_t i = 0; i + 8 < size; i += 8) difference |= word(a + i) ^ word(b + i);
    return !difference;
}

#ifdef WIDE
/* The same for machines with wide registers: texts of other sizes are read without another branch, which nothing could foresee. */
WIDE static inline __m512i at_most_64(const uint8_t *p, uint32_t size) {
    return _mm512_maskz_loadu_epi8(size < 64 ? _bzhi_u64(~0ull, size) : ~0ull, p);
}

WIDE static inline uint64_t hashed_wide(const uint8_t *p, uint32_t size, uint64_t seed) {
    const __m512i key = _mm512_set_epi64(0x1D8E4E27C47D124F, 0x589965CC75374CC3, 0x2127599BF4325C37, 0x0EB44ACCAB455D16, 0x6A09E667F3BCC908,
                                         0x3C6EF372FE94F82B, 0x510E527FADE682D1, 0x1F83D9ABFB41BD6B);
    __m512i state = _mm512_xor_si512(key, _mm512_set1_epi64((int64_t)(seed ^ (size * 0x9E3779B97F4A7C15ull))));
    for (; size > 64; size -= 64, p += 64) state = _mm512_aesenc_epi128(_mm512_xor_si512(state, _mm512_loadu_si512(p)), state);
    state = _mm512_aesenc_epi128(_mm512_xor_si512(state, at_most_64(p, size)), state);
    __m256i half = _mm256_aesenc_epi128(_mm512_extracti64x4_epi64(state, 1), _mm512_castsi512_si256(state));
    __m128i quarter = _mm_aesenc_si128(_mm256_extracti128_si256(half, 1), _mm256_castsi256_si128(half));
    return (uint64_t)_mm_cvtsi128_si64(_mm_aesenc_si128(quarter, _mm512_castsi512_si128(key)));
}

WIDE static inline int equal_wide(const uint8_t *a, const uint8_t *b, uint32_t size) {
    for (; size > 64; size -= 64, a += 64, b += 64)
        if (_mm512_cmpneq_epi8_mask(_mm512_loadu_si512(a), _mm512_loadu_si512(b))) return 0;
    return !_mm512_cmpneq_epi8_mask(at_most_64(a, size), at_most_64(b, size));
}
#else
#define hashed_wide hashed
#define equal_wide equal
#endif

static int widen(Texts *t) {
    uint32_t mask = t->mask * 2 + 1;
    uint64_t *slots = calloc((size_t)mask + 1, sizeof *slots);
    if (!slots) return 0;
    for (uint32_t i = 0; i < t->count; i++) {
        uint64_t h = t->entries[i].hash;
        uint32_t at = (uint32_t)h & mask;
        while (slots[at]) at = (at + 1) & mask;
        slots[at] = (h >> 32 << 32) | (i + 1);
    }
    free(t->slots);
    t->slots = slots;
    t->mask = mask;
    return 1;
}

static int64_t added(Texts *t, uint32_t at, uint64_t h, const uint8_t *p, uint32_t size) {
    if (t->count == INT32_MAX / 2) return -1;
    if (t->count == t->room) {
        Entry *more = realloc(t->entries, 2 * (size_t)t->room * sizeof *more);
        if (!more) return -1;
        t->entries = more;
        t->room *= 2;
    }
    uint8_t *copy = malloc((size_t)size + 8);
    if (!copy) return -1;
    memcpy(copy, p, size);
    memset(copy + size, 0, 8);
    t->entries[t->count] = (Entry){h, copy, size};
    t->slots[at] = (h >> 32 << 32) | ++t->count;
    if ((uint64_t)t->count * 2 > t->mask && !widen(t)) return -1;
    return t->count - 1;
}

/* The number of a text; -1 when there is no memory. */
static INLINE int64_t number_of(Texts *t, const uint8_t *p, uint32_t size, uint64_t seed, const int wide) {
    uint64_t h = wide ? hashed_wide(p, size, seed) : hashed(p, size, seed), slot;
    uint32_t at = (uint32_t)h & t->mask;
    for (; (slot = t->slots[at]); at = (at + 1) & t->mask) {
        if ((slot ^ h) >> 32) continue;
        const Entry *e = &t->entries[(uint32_t)slot - 1];
        if (e->size == size && (wide ? equal_wide(e->text, p, size) : equal(e->text, p, size))) return (uint32_t)slot - 1;
    }
    return added(t, at, h, p, size);
}

static void emptied(Texts *t) {
    for (uint32_t i = 0; i < t->count; i++) free(t->entries[i].text);
    free(t->entries);
    free(t->slots);
}

static int prepared(Texts *t) {
    t->room = 512;
    t->mask = 2047;
    t->entries = malloc(t->room * sizeof *t->entries);
    t->slots = calloc((size_t)t->mask + 1, sizeof *t->slots);
    return t->entries && t->slots;
}

static int is_wide(void) {
#ifdef WIDE
    unsigned a, b, c = 0, d;
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && c >> 9 & 1; /* VAES, of which older compilers do not know how to ask */
#else
    return 0;
#endif
}

EXPORT int meshdiag_version(void) { return VERSION; }

EXPORT void meshdiag_free(Kernel *k) {
    if (!k) return;
    for (int s = 0; s < STRETCHES; s++) emptied(&k->texts[s]);
    free(k->marks);
    free(k->kinds);
    free(k);
}

EXPORT Kernel *meshdiag_new(uint64_t seed) {
    Kernel *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->seed = seed;
    k->wide = is_wide();
    int good = 1;
    for (int s = 0; s < STRETCHES; s++) good &= prepared(&k->texts[s]);
    if (good) return k;
    meshdiag_free(k);
    return NULL;
}

EXPORT uint32_t meshdiag_count(const Kernel *k, int stretch) { return k->texts[stretch].count; }

EXPORT const uint8_t *meshdiag_text(const Kernel *k, int stretch, uint32_t number, uint32_t *size) {
    *size = k->texts[stretch].entries[number].size;
    return k->texts[stretch].entries[number].text;
}

/* --- marks: quotes, blanks, control characters and bytes beyond ASCII --- */

static inline uint32_t *put_marks(uint32_t *to, uint64_t mask, uint32_t at) {
    int count = __builtin_popcountll(mask);
#define PUT(i) to[i] = at + (uint32_t)__builtin_ctzll(mask | 1ull << 63), mask &= mask - 1;
    PUT(0) PUT(1) PUT(2) PUT(3) PUT(4) PUT(5) PUT(6) PUT(7)
    if (count > 8) {
        PUT(8) PUT(9) PUT(10) PUT(11) PUT(12) PUT(13) PUT(14) PUT(15)
        for (int i = 16; i < count; i++) PUT(i)
    }
#undef PUT
    return to + count;
}

/* Marks of block[from:to] as offsets in the block, and their kinds; how many. Writes up to 64 beyond these. Up to 63 bytes behind `to`
   are read. */
#if LEVEL > 0 && defined(__x86_64__)
__attribute__((target("avx2,bmi,popcnt"))) static size_t marks_avx2(const uint8_t *block, uint32_t from, uint32_t to, uint32_t *marks) {
    const __m256i above = _mm256_set1_epi8(' ' + 1), quote = _mm256_set1_epi8('"');
    uint32_t *end = marks;
    for (uint32_t at = from; at < to; at += 64) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(block + at));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(block + at + 32));
        uint32_t low = (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(_mm256_cmpgt_epi8(above, a), _mm256_cmpeq_epi8(a, quote)));
        uint32_t high = (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(_mm256_cmpgt_epi8(above, b), _mm256_cmpeq_epi8(b, quote)));
        uint64_t mask = low | (uint64_t)high << 32;
        if (to - at < 64) mask &= ~(~0ull << (to - at));
        end = put_marks(end, mask, at);
    }
    return (size_t)(end - marks);
}
#endif

#ifdef WIDE
WIDE static inline void put_wide(uint32_t *to, __m128i places, uint32_t at) {
    _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_cvtepu8_epi32(places), _mm512_set1_epi32((int)at)));
}

WIDE static size_t marks_wide(const uint8_t *block, uint32_t from, uint32_t to, uint32_t *marks, uint8_t *kinds) {
    uint8_t numbers[64];
    for (int i = 0; i < 64; i++) numbers[i] = (uint8_t)i;
    const __m512i blank = _mm512_set1_epi8(' '), quote = _mm512_set1_epi8('"'), places = _mm512_loadu_si512(numbers);
    size_t end = 0;
    for (uint32_t at = from; at < to; at += 64) {
        __m512i x = _mm512_loadu_si512(block + at);
        uint64_t mask = _mm512_cmple_epi8_mask(x, blank) | _mm512_cmpeq_epi8_mask(x, quote);
        if (to - at < 64) mask = _bzhi_u64(mask, to - at);
        __m512i found = _mm512_maskz_compress_epi8(mask, places);
        int count = __builtin_popcountll(mask);
        _mm512_storeu_si512(kinds + end, _mm512_maskz_compress_epi8(mask, x));
        put_wide(marks + end, _mm512_castsi512_si128(found), at);
        if (count > 16) {
            put_wide(marks + end + 16, _mm512_extracti32x4_epi32(found, 1), at);
            put_wide(marks + end + 32, _mm512_extracti32x4_epi32(found, 2), at);
            put_wide(marks + end + 48, _mm512_extracti32x4_epi32(found, 3), at);
        }
        end += (size_t)count;
    }
    return end;
}
#endif

static size_t marks_plain(const uint8_t *block, uint32_t from, uint32_t to, uint32_t *marks) {
    uint32_t *end = marks;
    for (uint32_t at = from; at < to; at += 64) {
        uint64_t mask = 0;
#if defined(__SSE2__)
        const __m128i above = _mm_set1_epi8(' ' + 1), quote = _mm_set1_epi8('"');
        for (int i = 0; i < 64; i += 16) {
            __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(block + at + i));
            mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_cmplt_epi8(x, above), _mm_cmpeq_epi8(x, quote))) << i;
        }
#else
        for (int i = 0; i < 64; i++) mask |= (uint64_t)((int8_t)block[at + i] <= ' ' || block[at + i] == '"') << i;
#endif
        if (to - at < 64) mask &= ~(~0ull << (to - at));
        end = put_marks(end, mask, at);
    }
    return (size_t)(end - marks);
}

static size_t find_marks(const uint8_t *block, uint32_t from, uint32_t to, uint32_t *marks, uint8_t *kinds) {
    size_t count;
#if LEVEL > 0 && defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt"))
        count = marks_avx2(block, from, to, marks);
    else
#endif
    count = marks_plain(block, from, to, marks);
    for (size_t i = 0; i < count; i++) kinds[i] = block[marks[i]];
    return count;
}

/* --- numbers and times --- */

static inline int integer(const uint8_t *p, const uint8_t *end, int64_t *value, uint8_t *missing) {
    int64_t size = end - p;
    *missing = size == 1 && *p == '-';
    *value = 0;
    if (*missing) return 1;
    if (size < 1 || size > 8 || (size > 1 && *p == '0')) return 0;
    int before = (int)(64 - 8 * size); /* bits of the word that stand before the number */
    uint64_t x = ((word(end - 8) ^ 0x3030303030303030ull) >> before) << before;
    if (((x + 0x7676767676767676ull) | x) & 0x8080808080808080ull) return 0;
    x = x * 10 + (x >> 8);
    x = ((x & 0x000000FF000000FFull) * 0x000F424000000064ull + ((x >> 16) & 0x000000FF000000FFull) * 0x0000271000000001ull) >> 32;
    *value = (int64_t)x;
    return 1;
}

static inline int two(const uint8_t *p) {
    unsigned a = p[0] - '0', b = p[1] - '0';
    return a > 9 || b > 9 ? -1 : (int)(a * 10 + b);
}

static int64_t days_since_1970(int year, int month, int day) {
    year -= month <= 2;
    int era = year / 400, of_era = year - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * INT64_C(146097) + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Whether `2026-11-22T08:00` stands there; then `microseconds` is its time. */
static inline int read_minute(Kernel *k, const uint8_t *p) {
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!((word(p) ^ word(k->minute)) | (word(p + 8) ^ word(k->minute + 8))) && k->minute[0]) return 1;
    int century = two(p), year = two(p + 2), month = two(p + 5), day = two(p + 8), hour = two(p + 11), minute = two(p + 14);
    if ((century | year | month | day | hour | minute) < 0) return 0;
    if (p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':') return 0;
    year += 100 * century;
    if (year < 1 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59) return 0;
    int leap = month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > lengths[month - 1] + leap) return 0;
    memcpy(k->minute, p, sizeof k->minute);
    k->microseconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * INT64_C(60000000);
    return 1;
}

/* Whether eight bytes have a form in which `0` stands for any digit: the difference to it, and what makes a wrong byte overflow. */
static inline int has_form(uint64_t difference, uint64_t above) {
    return (((difference + above) | difference) & 0x8080808080808080ull) == 0;
}

#define FORM(a, b, c, d, e, f, g, h)                                                                                      \
    ((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | (uint64_t)(e) << 32 |               \
     (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)
#define ABOVE(c) ((c) == '0' ? 0x76 : 0x7F)
#define IS_FORM(p, a, b, c, d, e, f, g, h)                                                                                \
    has_form(word(p) ^ FORM(a, b, c, d, e, f, g, h),                                                                      \
             FORM(ABOVE(a), ABOVE(b), ABOVE(c), ABOVE(d), ABOVE(e), ABOVE(f), ABOVE(g), ABOVE(h)))

/* The kubelet's time with nine digits of a second, and a blank: 31 bytes. */
static inline int kubelet_time(const uint8_t *p) {
    return IS_FORM(p, '0', '0', '0', '0', '-', '0', '0', '-') && IS_FORM(p + 8, '0', '0', 'T', '0', '0', ':', '0', '0') &&
           IS_FORM(p + 16, ':', '0', '0', '.', '0', '0', '0', '0') && IS_FORM(p + 23, '0', '0', '0', '0', '0', '0', 'Z', ' ');
}

/* `[2026-11-22T08:00:00.003Z] "`: 28 bytes. */
static inline int read_head(Kernel *k, const uint8_t *p, int64_t *time) {
    if (p[0] != '[' || p[25] != ']' || p[26] != ' ' || p[27] != '"' || !read_minute(k, p + 1)) return 0;
    if (!IS_FORM(p + 17, ':', '0', '0', '.', '0', '0', '0', 'Z') || p[18] > '5') return 0;
    int64_t seconds = (p[18] - '0') * 10 + (p[19] - '0');
    *time = k->microseconds + seconds * 1000000 + ((p[21] - '0') * 100 + (p[22] - '0') * 10 + (p[23] - '0')) * 1000;
    return 1;
}

/* --- the line --- */

static INLINE int fits(const Column *c, int64_t row, int64_t size) { return !c->data || c->offsets[row] + size + 32 <= c->room; }

static INLINE void put(const Column *c, int64_t row, const uint8_t *p, int64_t size) {
    int there = !(size == 1 && *p == '-');
    if (!there) size = 0;
    int64_t at = c->offsets[row];
    uint8_t *to = c->data + at;
    memcpy(to, p, 32); /* there is room behind both */
    for (int64_t i = 32; i < size; i += 32) memcpy(to + i, p + i, 32);
    uint8_t *bits = &c->valid[row >> 3];
    *bits = (uint8_t)((*bits & ((1 << (row & 7)) - 1)) | there << (row & 7));
    c->offsets[row + 1] = at + size;
}

/* A line is told by its marks alone: which ones there are, and where. Not one of them is passed before it is known to be none of a line
   end, so no line is left; what is read behind the last one is not used. */
/* Blanks may stand in a value in quotes. */
#define QUOTED                                                             \
    while (*kind == ' ') kind++, mark++;

/* The value that begins at `from` ends here; behind it begins another one in quotes. */
#define NEXT(name, from)                                                   \
    QUOTED                                                                 \
    if (word(kind) << 40 != FORM(0, 0, 0, 0, 0, '"', ' ', '"')) return NULL; \
    const uint32_t name = mark[0];                                         \
    bad |= (name == (from)) | (mark[2] != name + 2);                       \
    mark += 3, kind += 3;

/* Reads the line that begins at `start` and has the marks from `mark` on as the next row. Returns the mark of its end when it is taken;
   NULL when it is not, or (`*failed`) there is no memory. `roomy`: it is known that all texts fit. */
static INLINE const uint32_t *read_line(Kernel *k, const uint8_t *block, uint32_t start, const uint32_t *mark, const uint8_t *kind,
                                        const Output *out, int64_t line_row, const int roomy, const int wide, int *failed) {
    const int64_t row = out->row;
    uint32_t head = start;
    int64_t time;
    if (block[head] != '[') {
        if (block[head] < '0' || block[head] > '9' || !kubelet_time(block + head)) return NULL;
        head += 31, mark++, kind++;
    }
    if (!read_head(k, block + head, &time)) return NULL;

    /* `[2026-11-22T08:00:00.003Z] "GET / HTTP/1.1" 200 - via_upstream - "`; code, flags, and details may be empty: the caller looks at them */
    if (word(kind) != FORM(' ', '"', ' ', ' ', '"', ' ', ' ', ' ') || word(kind + 3) != FORM(' ', '"', ' ', ' ', ' ', ' ', ' ', '"')) return NULL;
    const uint32_t method = head + 28, method_end = mark[2], path = method_end + 1, path_end = mark[3], middle = path_end + 1;
    int bad = (method_end == method) | (path_end == path) | (mark[5] != mark[4] + 1) | (mark[10] != mark[9] + 1);
    const uint32_t reason = mark[10] + 1;
    mark += 11, kind += 11;

    /* `-" 0 1285 59 58 "` */
    QUOTED
    if (word(kind) << 8 != FORM(0, '"', ' ', ' ', ' ', ' ', ' ', '"')) return NULL;
    const uint32_t middle_end = mark[0];
    bad |= (middle_end == reason) | (mark[1] != middle_end + 1) | (mark[6] != mark[5] + 1);
    int64_t numbers[NUMBERS];
    uint8_t missing[NUMBERS];
    for (int i = 0; i < NUMBERS; i++)
        if (!integer(block + mark[i + 1] + 1, block + mark[i + 2], &numbers[i], &missing[i])) return NULL;
    const uint32_t forwarded = mark[6] + 1;
    mark += 7, kind += 7;

    /* `-" "curl/8.5.0" "41dbb472" "reviews:9080" "` */
    NEXT(forwarded_end, forwarded)
    const uint32_t agent = forwarded_end + 3;
    NEXT(agent_end, agent)
    const uint32_t id = agent_end + 3;
    NEXT(id_end, id)
    const uint32_t called = id_end + 3;
    NEXT(called_end, called)
    const uint32_t host = called_end + 3;

    /* `10.0.0.7:9080" outbound|9080||reviews.default 10.1.1.1:54556 10.96.0.1:9080 10.1.1.1:55722 - default` */
    QUOTED
    if (word(kind) != FORM('"', ' ', ' ', ' ', ' ', ' ', ' ', '\n')) return NULL;
    bad |= (mark[0] == host) | (mark[1] != mark[0] + 1);
    for (int i = 1; i < 7; i++) bad |= mark[i + 1] == mark[i] + 1;
    const uint32_t cluster_end = mark[2], upstream_end = mark[3], local_end = mark[4], remote_end = mark[5], end = mark[7];
    if (bad | (end - start > LINE_LIMIT) | (row >= out->room)) return NULL;

    const uint32_t texts[TEXTS][2] = {{path, path_end},
                                      {forwarded, forwarded_end},
                                      {id, id_end},
                                      {cluster_end + 1, upstream_end},
                                      {local_end + 1, remote_end},
                                      {head, end}};
    const uint32_t spans[STRETCHES][2] = {{method, method_end}, {middle, middle_end},           {agent, agent_end},
                                          {called, cluster_end}, {upstream_end + 1, local_end}, {remote_end + 1, end}};
    if (!roomy)
        for (int t = 0; t < TEXTS; t++)
            if (!fits(&out->columns[t], row, texts[t][1] - texts[t][0])) return NULL;
#pragma GCC unroll 6
    for (int s = 0; s < STRETCHES; s++)
        if (out->rows[s]) {
            int64_t number = number_of(&k->texts[s], block + spans[s][0], spans[s][1] - spans[s][0], k->seed, wide);
            if (number < 0) {
                *failed = 1;
                return NULL;
            }
            if (out->rows_size[s] == 2)
                ((uint16_t *)out->rows[s])[row] = (uint16_t)number;
            else
                ((int32_t *)out->rows[s])[row] = (int32_t)number;
        }
#pragma GCC unroll 6
    for (int t = 0; t < TEXTS; t++)
        if (out->columns[t].data) put(&out->columns[t], row, block + texts[t][0], texts[t][1] - texts[t][0]);
#pragma GCC unroll 4
    for (int i = 0; i < NUMBERS; i++)
        if (out->numbers[i]) {
            out->numbers[i][row] = numbers[i];
            out->missing[i][row] = missing[i];
        }
    out->time[row] = time;
    out->begin[line_row] = (int32_t)head;
    out->end[line_row] = (int32_t)end;
    return mark + 7;
}

/* Reads the lines of block[from:to], which have so many marks. 0 when there is no memory. */
static INLINE int read_lines(Kernel *k, const uint8_t *block, uint32_t from, uint32_t to, size_t count, int64_t base, int64_t first, Output *output,
                             const int wide) {
    Output local = *output, *const out = &local; /* nothing that is written to its columns can change it */
    const uint32_t *mark = k->marks, *const last = mark + count;
    uint32_t start = from;
    int failed = 0, roomy = 1;
    for (int t = 0; t < TEXTS; t++) roomy &= fits(&out->columns[t], out->row, to - from);
    while (mark < last) {
        const uint8_t *kind = k->kinds + (mark - k->marks);
        const uint32_t *end = read_line(k, block, start, mark, kind, out, out->row - first, roomy, wide, &failed);
        if (failed) break;
        if (end) {
            out->offset[out->row++] = base + start;
        } else {
            end = mark;
            while (block[*end] != '\n') end++;
            out->other_begin[out->others] = (int32_t)start;
            out->other_end[out->others] = (int32_t)*end;
            out->other_row[out->others++] = (int32_t)(out->row - first);
        }
        out->lines++;
        start = *end + 1;
        mark = end + 1;
    }
    *output = local;
    return !failed;
}

#ifdef WIDE
WIDE static int read_wide(Kernel *k, const uint8_t *block, uint32_t from, uint32_t to, int64_t base, int64_t first, Output *out) {
    size_t count = marks_wide(block, from, to, k->marks, k->kinds);
    return read_lines(k, block, from, to, count, base, first, out, 1);
}
#endif

static int read_plain(Kernel *k, const uint8_t *block, uint32_t from, uint32_t to, int64_t base, int64_t first, Output *out) {
    size_t count = find_marks(block, from, to, k->marks, k->kinds);
    return read_lines(k, block, from, to, count, base, first, out, 0);
}

static int read_portion(Kernel *k, const uint8_t *block, uint32_t from, uint32_t to, int64_t base, int64_t first, Output *out) {
    size_t room = (size_t)(to - from) + PAD;
    if (room > k->marks_room) {
        free(k->marks);
        free(k->kinds);
        k->marks_room = 0;
        k->marks = malloc(room * sizeof *k->marks);
        k->kinds = malloc(room);
        if (!k->marks || !k->kinds) return 0;
        k->marks_room = room;
    }
#ifdef WIDE
    if (k->wide) return read_wide(k, block, from, to, base, first, out);
#endif
    return read_plain(k, block, from, to, base, first, out);
}

/* Reads block[:size], which lies at `base` in its stream. 0 when there is no memory. */
EXPORT int meshdiag_read(Kernel *k, const uint8_t *block, int64_t size, int64_t base, Output *out) {
    int64_t from = 0, first = out->row;
    out->lines = out->others = 0;
    while (from < size) {
        int64_t to = size;
        if (size - from > PORTION) { /* up to a line end */
            to = from + PORTION;
            while (to > from && block[to - 1] != '\n') to--;
            if (to == from) to = (const uint8_t *)memchr(block + from, '\n', (size_t)(size - from)) - block + 1;
        }
        if (!read_portion(k, block, (uint32_t)from, (uint32_t)to, base, first, out)) return 0;
        from = to;
    }
    return 1;
}

/* --- which rows agree --- */

/* Numbers of two bytes, or of four. */
typedef struct {
    const void *numbers;
    int64_t size;
} Index;

static inline int32_t number_at(const Index *i, int64_t row) {
    return i->size == 2 ? ((const uint16_t *)i->numbers)[row] : ((const int32_t *)i->numbers)[row];
}

/* One of the things by which rows are told apart. Which of the pointers are set says how it is found for a row:
   table and index  table[index[row]]
   index            index[row]
   breaks           how many of them are not above values[row]; -1 where it is missing
   bits             whether the bit is set
   values           the value itself */
typedef struct {
    Index index;
    const int32_t *table;
    const int64_t *values, *breaks;
    const uint8_t *missing, *bits;
    int64_t breaks_count;
} Part;

#define PARTS 64

/* Combinations of numbers, numbered as they come. */
typedef struct {
    Texts known;
    uint64_t seed;
} Combinations;

EXPORT void meshdiag_free_combinations(Combinations *c) {
    if (!c) return;
    emptied(&c->known);
    free(c);
}

EXPORT Combinations *meshdiag_new_combinations(uint64_t seed) {
    Combinations *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->seed = seed;
    if (prepared(&c->known)) return c;
    meshdiag_free_combinations(c);
    return NULL;
}

static inline int64_t part_of(const Part *p, int64_t row) {
    if (p->index.numbers) return p->table ? p->table[number_at(&p->index, row)] : number_at(&p->index, row);
    if (p->bits) return p->bits[row >> 3] >> (row & 7) & 1;
    if (!p->breaks) return p->missing && p->missing[row] ? -1 : p->values[row];
    if (p->missing[row]) return -1;
    int64_t below = 0;
    for (int64_t i = 0; i < p->breaks_count; i++) below += p->breaks[i] <= p->values[row];
    return below;
}

/* Writes the number of the combination of each row from `start` up to `stop`: of its index, and of the parts that `needed` says of it.
   Of each new combination its first row; how many are new, -1 when there is no memory. `size`: of a number that is written, in bytes. */
EXPORT int64_t meshdiag_combine(Combinations *c, const Index *index, const uint64_t *needed, const Part *parts, int64_t start, int64_t stop,
                                int32_t size, void *numbers, int64_t *first) {
    int64_t key[1 + PARTS + 1] = {0}; /* eight bytes behind it are readable */
    const uint32_t before = c->known.count;
    for (int64_t row = start; row < stop; row++) {
        uint32_t used = 1;
        const int32_t at = number_at(index, row);
        key[0] = at; /* which also says what the others are */
        for (uint64_t bits = needed[at]; bits; bits &= bits - 1) key[used++] = part_of(&parts[__builtin_ctzll(bits)], row);
        const uint32_t count = c->known.count;
        /* what was just written cannot be read at once by wide registers */
        int64_t number = number_of(&c->known, (const uint8_t *)key, used * 8, c->seed, 0);
        if (number < 0) return -1;
        if (c->known.count > count) first[number - before] = row;
        if (size == 2)
            ((uint16_t *)numbers)[row] = (uint16_t)number;
        else
            ((int32_t *)numbers)[row] = (int32_t)number;
    }
    return c->known.count - before;
}

/* --- what tables say of rows --- */

#define TAKE(type)                                                                                                                  \
    if (index->size == 2)                                                                                                           \
        for (int64_t i = 0; i < rows; i++) ((type *)to)[i] = ((const type *)table)[((const uint16_t *)index->numbers)[i]];          \
    else                                                                                                                            \
        for (int64_t i = 0; i < rows; i++) ((type *)to)[i] = ((const type *)table)[((const int32_t *)index->numbers)[i]];           \
    break;

/* Writes table[index[row]] of all rows; their values have so many bytes. */
EXPORT void meshdiag_take(int width, const void *table, const Index *index, int64_t rows, void *to) {
    switch (width) {
    case 1: TAKE(uint8_t)
    case 2: TAKE(uint16_t)
    case 4: TAKE(uint32_t)
    case 8: TAKE(uint64_t)
    }
}

/* Sets used[index[row]] for all rows. */
EXPORT void meshdiag_mark(const Index *index, int64_t rows, uint8_t *used) {
    for (int64_t i = 0; i < rows; i++) used[number_at(index, i)] = 1;
}
