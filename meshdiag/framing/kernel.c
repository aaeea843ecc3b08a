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
#include <immintrin.h>
#endif

#define VERSION 1 /* raised with every change of what native.py calls or gives */
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
    uint32_t *marks;
    size_t marks_room;
    int64_t microseconds; /* of the last minute that was read, */
    uint8_t minute[16];   /* and how it is written; not a minute before there was one */
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
    int32_t *rows[STRETCHES];
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
static inline int64_t number_of(Texts *t, const uint8_t *p, uint32_t size, uint64_t seed) {
    uint64_t h = hashed(p, size, seed), slot;
    uint32_t at = (uint32_t)h & t->mask;
    for (; (slot = t->slots[at]); at = (at + 1) & t->mask) {
        if ((slot ^ h) >> 32) continue;
        const Entry *e = &t->entries[(uint32_t)slot - 1];
        if (e->size == size && equal(e->text, p, size)) return (uint32_t)slot - 1;
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

EXPORT int meshdiag_version(void) { return VERSION; }

EXPORT void meshdiag_free(Kernel *k) {
    if (!k) return;
    for (int s = 0; s < STRETCHES; s++) emptied(&k->texts[s]);
    free(k->marks);
    free(k);
}

EXPORT Kernel *meshdiag_new(uint64_t seed) {
    Kernel *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->seed = seed;
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

/* Marks of block[from:to] as offsets in the block; how many. Writes up to 64 beyond these. Up to 63 bytes behind `to` are read. */
#if defined(__x86_64__)
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

static size_t marks_of(const uint8_t *block, uint32_t from, uint32_t to, uint32_t *marks) {
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

static size_t find_marks(const uint8_t *block, uint32_t from, uint32_t to, uint32_t *marks) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt"))
        return marks_avx2(block, from, to, marks);
#endif
    return marks_of(block, from, to, marks);
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

static inline int fits(const Column *c, int64_t row, int64_t size) { return !c->data || c->offsets[row] + size + 32 <= c->room; }

static inline void put(const Column *c, int64_t row, const uint8_t *p, int64_t size) {
    if (!c->data) return;
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

/* The next mark must be `stop` and stand behind a value that is not empty. */
#define VALUE(name, from, stop)                                            \
    const uint8_t *name = block + *mark++;                                 \
    if (*name != (stop) || name == (from)) return NULL;

/* The same for a value in quotes, in which blanks may stand; behind it stands a blank. */
#define QUOTED(name, from)                                                 \
    while (block[*mark] == ' ') mark++;                                    \
    VALUE(name, from, '"')                                                 \
    if (name[1] != ' ') return NULL;                                       \
    mark++;

/* Between two values in quotes: the quote that begins the second one. */
#define OPENS(at)                                                          \
    if (*(at) != '"') return NULL;                                         \
    mark++;

/* Reads the line that begins at `start` and has the marks from `mark` on as the next row. Returns the mark of its end when it is taken;
   NULL when it is not, or (`*failed`) there is no memory. Every mark that is passed is none of a line end, so the last one is never. */
static inline const uint32_t *read_line(Kernel *k, const uint8_t *block, const uint8_t *start, const uint32_t *mark, const Output *out,
                                        int64_t row, int *failed, int64_t line_row) {
    const uint8_t *head = start;
    int64_t time;
    if (*head != '[') {
        if (*head < '0' || *head > '9' || !kubelet_time(head)) return NULL;
        head += 31;
        mark++;
    }
    if (!read_head(k, head, &time)) return NULL;
    mark += 2;
    const uint8_t *method = head + 28;
    VALUE(method_end, method, ' ')
    const uint8_t *path = method_end + 1;
    VALUE(path_end, path, ' ')
    const uint8_t *middle = path_end + 1;
    const uint8_t *at = block + *mark++;
    if (*at != '"' || at[1] != ' ') return NULL;
    mark++;
    for (int i = 0; i < 4; i++) { /* code, flags, and details, which may be empty: the caller looks at them */
        at = block + *mark++;
        if (*at != ' ') return NULL;
    }
    OPENS(at + 1)
    QUOTED(middle_end, at + 2)
    at = middle_end + 1;
    int64_t numbers[NUMBERS];
    uint8_t missing[NUMBERS];
    for (int i = 0; i < NUMBERS; i++) {
        const uint8_t *end = block + *mark++;
        if (*end != ' ' || !integer(at + 1, end, &numbers[i], &missing[i])) return NULL;
        at = end;
    }
    OPENS(at + 1)
    const uint8_t *forwarded = at + 2;
    QUOTED(forwarded_end, forwarded)
    OPENS(forwarded_end + 2)
    const uint8_t *agent = forwarded_end + 3;
    QUOTED(agent_end, agent)
    OPENS(agent_end + 2)
    const uint8_t *id = agent_end + 3;
    QUOTED(id_end, id)
    OPENS(id_end + 2)
    const uint8_t *called = id_end + 3;
    QUOTED(called_end, called)
    OPENS(called_end + 2)
    QUOTED(host_end, called_end + 3)
    VALUE(cluster_end, host_end + 2, ' ')
    const uint8_t *upstream = cluster_end + 1;
    VALUE(upstream_end, upstream, ' ')
    const uint8_t *local = upstream_end + 1;
    VALUE(local_end, local, ' ')
    const uint8_t *remote = local_end + 1;
    VALUE(remote_end, remote, ' ')
    const uint8_t *name = remote_end + 1;
    VALUE(name_end, name, ' ')
    VALUE(end, name_end + 1, '\n')
    if (end - start > LINE_LIMIT || row >= out->room) return NULL;

    const uint8_t *texts[TEXTS][2] = {{path, path_end},         {forwarded, forwarded_end}, {id, id_end},
                                      {upstream, upstream_end}, {remote, remote_end},       {head, end}};
    for (int t = 0; t < TEXTS; t++)
        if (!fits(&out->columns[t], row, texts[t][1] - texts[t][0])) return NULL;
    const uint8_t *spans[STRETCHES][2] = {{method, method_end}, {middle, middle_end}, {agent, agent_end},
                                          {called, cluster_end}, {local, local_end},   {name, end}};
    for (int s = 0; s < STRETCHES; s++) {
        if (!out->rows[s]) continue;
        int64_t number = number_of(&k->texts[s], spans[s][0], (uint32_t)(spans[s][1] - spans[s][0]), k->seed);
        if (number < 0) {
            *failed = 1;
            return NULL;
        }
        out->rows[s][row] = (int32_t)number;
    }
    for (int t = 0; t < TEXTS; t++) put(&out->columns[t], row, texts[t][0], texts[t][1] - texts[t][0]);
    for (int i = 0; i < NUMBERS; i++)
        if (out->numbers[i]) {
            out->numbers[i][row] = numbers[i];
            out->missing[i][row] = missing[i];
        }
    out->time[row] = time;
    out->begin[line_row] = (int32_t)(head - block);
    out->end[line_row] = (int32_t)(end - block);
    return mark - 1;
}

/* Reads the lines of block[from:to]. 0 when there is no memory. */
static int read_portion(Kernel *k, const uint8_t *block, uint32_t from, uint32_t to, int64_t base, int64_t first, Output *out) {
    size_t room = (size_t)(to - from) + PAD;
    if (room > k->marks_room) {
        uint32_t *marks = malloc(room * sizeof *marks);
        if (!marks) return 0;
        free(k->marks);
        k->marks = marks;
        k->marks_room = room;
    }
    const uint32_t *mark = k->marks, *last = mark + find_marks(block, from, to, k->marks);
    const uint8_t *start = block + from;
    int failed = 0;
    while (mark < last) {
        const uint32_t *end = read_line(k, block, start, mark, out, out->row, &failed, out->row - first);
        if (failed) return 0;
        if (end) {
            out->offset[out->row++] = base + (start - block);
        } else {
            end = mark;
            while (block[*end] != '\n') end++;
            out->other_begin[out->others] = (int32_t)(start - block);
            out->other_end[out->others] = (int32_t)*end;
            out->other_row[out->others++] = (int32_t)(out->row - first);
        }
        out->lines++;
        start = block + *end + 1;
        mark = end + 1;
    }
    return 1;
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

/* One of the things by which rows are told apart. Which of the pointers are set says how it is found for a row:
   table and index  table[index[row]]
   index            index[row]
   breaks           how many of them are not above values[row]; -1 where it is missing
   bits             whether the bit is set
   values           the value itself */
typedef struct {
    const int32_t *table, *index;
    const int64_t *values, *breaks;
    const uint8_t *missing, *bits;
    int64_t breaks_count, bits_offset;
} Part;

#define PARTS 64

/* Combinations of `width` numbers, numbered as they come. */
typedef struct {
    Texts known;
    uint64_t seed;
    int32_t width;
} Combinations;

EXPORT void meshdiag_free_combinations(Combinations *c) {
    if (!c) return;
    emptied(&c->known);
    free(c);
}

EXPORT Combinations *meshdiag_new_combinations(int width, uint64_t seed) {
    if (width < 0 || width > PARTS) return NULL;
    Combinations *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->width = width;
    c->seed = seed;
    if (prepared(&c->known)) return c;
    meshdiag_free_combinations(c);
    return NULL;
}

static inline int64_t part_of(const Part *p, int64_t row) {
    if (p->index) return p->table ? p->table[p->index[row]] : p->index[row];
    if (p->bits) return p->bits[(row + p->bits_offset) >> 3] >> ((row + p->bits_offset) & 7) & 1;
    if (!p->breaks) return p->missing && p->missing[row] ? -1 : p->values[row];
    if (p->missing[row]) return -1;
    int64_t below = 0;
    for (int64_t i = 0; i < p->breaks_count; i++) below += p->breaks[i] <= p->values[row];
    return below;
}

/* Writes the number of each row's combination, and of each new combination its first row; how many are new, -1 when there is no memory. */
EXPORT int64_t meshdiag_combine(Combinations *c, const Part *parts, int64_t rows, int32_t *numbers, int64_t *first) {
    int64_t key[PARTS + 1] = {0};
    uint32_t before = c->known.count;
    for (int64_t row = 0; row < rows; row++) {
        for (int i = 0; i < c->width; i++) key[i] = part_of(&parts[i], row);
        uint32_t count = c->known.count;
        int64_t number = number_of(&c->known, (const uint8_t *)key, (uint32_t)c->width * 8, c->seed);
        if (number < 0) return -1;
        if (c->known.count > count) first[number - before] = row;
        numbers[row] = (int32_t)number;
    }
    return c->known.count - before;
}

/* --- what tables say of rows --- */

EXPORT void meshdiag_take(int width, const void *table, const int32_t *index, int64_t rows, void *to) {
    switch (width) {
    case 1: for (int64_t i = 0; i < rows; i++) ((uint8_t *)to)[i] = ((const uint8_t *)table)[index[i]]; break;
    case 2: for (int64_t i = 0; i < rows; i++) ((uint16_t *)to)[i] = ((const uint16_t *)table)[index[i]]; break;
    case 4: for (int64_t i = 0; i < rows; i++) ((uint32_t *)to)[i] = ((const uint32_t *)table)[index[i]]; break;
    case 8: for (int64_t i = 0; i < rows; i++) ((uint64_t *)to)[i] = ((const uint64_t *)table)[index[i]]; break;
    }
}

/* Sets used[index[row]] for all rows. */
EXPORT void meshdiag_mark(const int32_t *index, int64_t rows, uint8_t *used) {
    for (int64_t i = 0; i < rows; i++) used[index[i]] = 1;
}
