/* Latencies in nanoseconds, counted in buckets of 1/64 of their size: a percentile is right within 1.6 %. */

#include <stdint.h>
#include <string.h>

enum { FINE_BITS = 6, FINE = 1 << FINE_BITS, BUCKETS = (64 - FINE_BITS + 1) * FINE };

struct histogram {
    uint64_t counts[BUCKETS], total;
};

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    unsigned bucket = (unsigned)value;
    if (value >= FINE) {
        unsigned shift = 63u - (unsigned)__builtin_clzll(value) - FINE_BITS;
        bucket = (shift + 1) * FINE + ((unsigned)(value >> shift) & (FINE - 1));
    }
    histogram->counts[bucket]++;
    histogram->total++;
}

/* The middle of the bucket in which that share (0 to 1) of the values is reached; 0 when there are none. */
static inline double histogram_at(const struct histogram *histogram, double share)
{
    double wanted = share * (double)histogram->total, seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += (double)histogram->counts[bucket];
        if (histogram->counts[bucket] == 0 || seen < wanted)
            continue;
        if (bucket < FINE)
            return bucket;
        unsigned shift = bucket / FINE - 1;
        return (double)((uint64_t)(FINE + bucket % FINE) << shift) + (double)(1ull << shift) / 2;
    }
    return 0;
}
