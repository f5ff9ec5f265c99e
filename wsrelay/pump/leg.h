/* One leg of a tunnel: a socket, plain or under TLS, and the bytes that wait to be written to it. Private to the pump.
 *
 * Belongs to one pump thread, but for the counters that are atomic, which the owner of the pump reads.
 */
#ifndef WSRELAY_PUMP_LEG_H
#define WSRELAY_PUMP_LEG_H

#include "crew.h"
#include "pump.h"

/* What one read takes at most, and so what a stopped reader costs in memory while bytes are copied. */
#define READ_BYTES SCRATCH_BYTES

/* The most that one TLS record carries (RFC 8446 5.1). */
#define RECORD_BYTES (16 * 1024)

/* What a pipe is asked to hold, and so what a stopped reader costs while bytes are spliced. */
#define PIPE_BYTES (256 * 1024)

/* What leg_read gives when it is not a number of bytes. */
enum { READ_NOTHING = 0, READ_ENDED = -1, READ_RESET = -2, READ_TRUNCATED = -3, READ_TLS_ERROR = -4 };

/* Two descriptors between which the kernel passes pages on without a copy: splice(2). */
struct pipe {
    int out, in; /* read from `out`, write to `in`: the order of pipe(2) */
};

struct leg {
    struct tunnel *tunnel;
    void *ssl;
    int descriptor; /* -1 once closed */

    uint32_t asked; /* which events epoll looks for; 0 means that the leg is not in its set */
    bool ended;     /* the other end has said its end */
    bool finishing; /* our end is to be sent when nothing waits any more */
    bool shut;      /* our end was sent */
    bool failed;    /* writing has failed: the connection is gone, but its last words may still be readable */
    bool bulk;      /* its last read was full, so that splicing what comes next is worth its calls */
    bool unspliceable; /* the kernel does not splice from it */
    bool read_wants_write, write_wants_read; /* TLS: what the operation in hand waits for is the other event */
    int read_stop;  /* TLS: what the next read has to give, found behind bytes that were given first */

    /* What waits to be written to it: bytes [from, to) of `held`, or `in_pipe` bytes in `pipe`. Never both. */
    char *held;
    size_t from, to;
    struct pipe pipe;
    size_t in_pipe;

    uint64_t moved;  /* bytes that the kernel has taken so far */
    uint64_t seen;   /* how many of those had been sent at the last sweep, */
    int64_t seen_at; /* and since when that number stands still; nanoseconds, as all times in here */

    /* What was read from it. */
    atomic_uint_fast64_t count;
    atomic_int_fast64_t moved_at;
    atomic_int_fast64_t paused;    /* for how long it has not been read, without the present time */
    atomic_int_fast64_t paused_at; /* since when it is not read; NOT_PAUSED if it is */
};

#define NOT_PAUSED INT64_MIN

/* Bytes that wait for this leg; 1 while only our close_notify does. */
size_t leg_waiting(const struct leg *leg);

/* Of what the kernel has taken, how much it has not sent yet: closing with RST would drop it. 0 for a reader that is
 * gone. */
size_t leg_held_back(const struct leg *leg);

/* Read at most READ_BYTES; a number of bytes, or one of READ_*. */
long leg_read(struct leg *leg, char *bytes, const struct tls_calls *tls);

/* Whether the TLS library holds bytes, or an end, that no event will tell of. */
bool leg_holds_more(const struct leg *leg, const struct tls_calls *tls);

/* Write; how many bytes were taken. Fewer than `count` if the socket is full, or `failed` is set. */
size_t leg_write(struct leg *leg, const char *bytes, size_t count, const struct tls_calls *tls);

/* Keep bytes until the socket takes them; false if there is no memory. Only when nothing waits. */
bool leg_hold(struct leg *leg, const char *bytes, size_t count);

/* Write what waits, and our end if that is due. */
void leg_flush(struct leg *leg, const struct tls_calls *tls);

/* Let the kernel move pages from this leg into the pipe of another, at most PIPE_BYTES; as leg_read, but that the bytes
 * wait for `sink` afterwards. Both plain, and nothing waits for `sink`. */
long leg_splice(struct leg *leg, struct leg *sink);

/* Copy what waits in the pipe into memory, so that others can have the pipe; without memory it stays as it is. */
void leg_empty_pipe(struct leg *leg);

/* Send our end now, or when what waits has been written. */
void leg_finish(struct leg *leg, const struct tls_calls *tls);

/* Close: with FIN if our end was sent, else with RST, so that the other end cannot take what it got for something
 * complete. The leg must have left epoll. */
void leg_close(struct leg *leg, const struct tls_calls *tls);

#endif
