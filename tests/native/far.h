/* The far ends of a tunnel's legs, played by hand: loopback TCP, plain or TLS. Knows nothing of pumps.
 *
 * Whatever is sent is a pattern that depends on its place in the stream, and whatever is read is compared with it, so a
 * byte lost, doubled or moved fails the test at once. No wait is without a limit, which only a failing test reaches.
 */
#ifndef WSRELAY_TESTS_FAR_H
#define WSRELAY_TESTS_FAR_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

extern const char *test_name;

#define CHECK(condition)                                                                                            \
    do {                                                                                                            \
        if (!(condition)) {                                                                                         \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, test_name, #condition);                  \
            abort();                                                                                                \
        }                                                                                                           \
    } while (0)

/* How a connection ended, as its far end sees it. */
enum how { ORDERLY, BY_RESET, TRUNCATED };

struct far {
    int descriptor;      /* -1 once closed */
    SSL *ssl;            /* NULL without TLS */
    unsigned seed, from; /* of the pattern that it sends, and of the one that it expects */
    size_t sent, got;
};

/* SO_SNDBUF and SO_RCVBUF of both ends; 0 leaves the system's. */
#define SMALL (16 * 1024)

/* The certificate, made once. */
void far_prepare(void);
void far_clean_up(void);

/* A connection: our end, non-blocking, and its far end; before its handshake, */
void far_begin(struct far *far, bool under_tls, int buffers, int *descriptor, SSL **ssl);

/* and after it. */
void far_connect(struct far *far, bool under_tls, int buffers, int *descriptor, SSL **ssl);

void pattern(unsigned seed, size_t at, char *bytes, size_t count);

/* What the kernel takes now, at most so much; 0 for nothing, or -1 if the connection is gone. */
long far_try_send(struct far *far, size_t most);
void far_send(struct far *far, size_t count);

/* What has come, 0 for nothing; -1 at the end, `how` says which. */
long far_try_read(struct far *far, enum how *how);
void far_read(struct far *far, size_t count);

/* Read to the end. */
enum how far_rest(struct far *far);

void far_finish(struct far *far);
void far_reset(struct far *far);
void far_truncate(struct far *far);
void far_send_garbage(struct far *far);
void far_close(struct far *far);

/* Send so much from the one and so much from the other, both at once, and read it all. */
void far_both_ways(struct far *one, size_t forth, struct far *other, size_t back);

#endif
