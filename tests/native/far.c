#define _GNU_SOURCE
#include "far.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MILLISECONDS 30000
#define PIECE (16 * 1024)

static SSL_CTX *server, *client;

void far_prepare(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    CHECK(key && certificate);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    server = SSL_CTX_new(TLS_server_method());
    client = SSL_CTX_new(TLS_client_method());
    CHECK(server && client);
    CHECK(SSL_CTX_use_certificate(server, certificate) == 1 && SSL_CTX_use_PrivateKey(server, key) == 1);
    /* As pyOpenSSL does for each context, and wsrelay's own. */
    SSL_CTX_set_mode(server, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_mode(client, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void far_clean_up(void)
{
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* Connecting. */

static void tcp_pair(int buffers, int *ours, int *far)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int one = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listening != -1 && *far != -1);
    for (int index = 0; buffers && index < 2; index++) {
        setsockopt(index ? listening : *far, SOL_SOCKET, SO_SNDBUF, &buffers, sizeof buffers);
        setsockopt(index ? listening : *far, SOL_SOCKET, SO_RCVBUF, &buffers, sizeof buffers);
    }
    CHECK(bind(listening, (struct sockaddr *)&address, length) == 0 && listen(listening, 1) == 0);
    getsockname(listening, (struct sockaddr *)&address, &length);
    CHECK(connect(*far, (struct sockaddr *)&address, length) == 0);
    *ours = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CHECK(*ours != -1);
    close(listening);
    fcntl(*far, F_SETFL, O_NONBLOCK);
    setsockopt(*ours, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(*far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static SSL *ssl_on(SSL_CTX *context, int descriptor)
{
    SSL *ssl = SSL_new(context);
    CHECK(ssl && SSL_set_fd(ssl, descriptor) == 1);
    return ssl;
}

void far_begin(struct far *far, bool under_tls, int buffers, int *descriptor, SSL **ssl)
{
    *far = (struct far){0};
    *ssl = NULL;
    tcp_pair(buffers, descriptor, &far->descriptor);
    if (!under_tls)
        return;
    *ssl = ssl_on(server, *descriptor);
    far->ssl = ssl_on(client, far->descriptor);
    SSL_set_accept_state(*ssl);
    SSL_set_connect_state(far->ssl);
}

void far_connect(struct far *far, bool under_tls, int buffers, int *descriptor, SSL **ssl)
{
    far_begin(far, under_tls, buffers, descriptor, ssl);
    if (!under_tls)
        return;
    for (int steps = 0; SSL_in_init(*ssl) || SSL_in_init(far->ssl); steps++) {
        CHECK(steps < 1000);
        struct pollfd both[] = {{*descriptor, POLLIN, 0}, {far->descriptor, POLLIN, 0}};
        SSL_do_handshake(far->ssl);
        SSL_do_handshake(*ssl);
        if (SSL_in_init(*ssl) || SSL_in_init(far->ssl))
            poll(both, 2, 1);
    }
    ERR_clear_error();
}

/* Bytes. */

static void wait_for(struct far *far, short events)
{
    struct pollfd one = {far->descriptor, events, 0};
    CHECK(poll(&one, 1, PATIENCE_MILLISECONDS) == 1);
}

/* Its period is 2 MiB: what is moved by a read, or a pipe, is seen. */
void pattern(unsigned seed, size_t at, char *bytes, size_t count)
{
    for (size_t index = 0; index < count; index++)
        bytes[index] = (char)((((uint32_t)(at + index) * 2654435761u) >> 13) + seed * 97u);
}

long far_try_send(struct far *far, size_t most)
{
    char bytes[PIECE];
    size_t count = most < PIECE ? most : PIECE;
    pattern(far->seed, far->sent, bytes, count);
    ssize_t taken;
    if (far->ssl) {
        int returned = SSL_write(far->ssl, bytes, (int)count);
        int why = returned > 0 ? SSL_ERROR_NONE : SSL_get_error(far->ssl, returned);
        ERR_clear_error();
        taken = returned > 0 ? returned : why == SSL_ERROR_WANT_WRITE ? 0 : -1;
    } else {
        taken = send(far->descriptor, bytes, count, MSG_NOSIGNAL);
        if (taken == -1 && errno == EAGAIN)
            taken = 0;
    }
    if (taken > 0)
        far->sent += (size_t)taken;
    return taken;
}

void far_send(struct far *far, size_t count)
{
    while (count) {
        long taken = far_try_send(far, count);
        CHECK(taken >= 0);
        count -= (size_t)taken;
        if (!taken)
            wait_for(far, POLLOUT);
    }
}

static long read_some(struct far *far, char *bytes, size_t count, enum how *how)
{
    if (!far->ssl) {
        ssize_t taken = recv(far->descriptor, bytes, count, 0);
        if (taken == -1 && errno == EAGAIN)
            return 0;
        *how = taken == 0 ? ORDERLY : BY_RESET;
        return taken > 0 ? taken : -1;
    }
    errno = 0;
    int taken = SSL_read(far->ssl, bytes, (int)count);
    if (taken > 0)
        return taken;
    int system_error = errno, why = SSL_get_error(far->ssl, taken);
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ)
        return 0;
    *how = why == SSL_ERROR_ZERO_RETURN ? ORDERLY : why == SSL_ERROR_SYSCALL && system_error ? BY_RESET : TRUNCATED;
    return -1;
}

long far_try_read(struct far *far, enum how *how)
{
    char bytes[PIECE], expected[PIECE];
    long count = read_some(far, bytes, sizeof bytes, how);
    if (count > 0) {
        pattern(far->from, far->got, expected, (size_t)count);
        CHECK(memcmp(bytes, expected, (size_t)count) == 0);
        far->got += (size_t)count;
    }
    return count;
}

/* Until so many have come in all; what comes behind them stays where it is unless it came with them. */
void far_read(struct far *far, size_t count)
{
    enum how how = ORDERLY;
    while (far->got < count) {
        long taken = far_try_read(far, &how);
        CHECK(taken >= 0);
        if (!taken)
            wait_for(far, POLLIN);
    }
    CHECK(far->got == count);
}

enum how far_rest(struct far *far)
{
    enum how how = ORDERLY;
    for (long taken; (taken = far_try_read(far, &how)) >= 0;)
        if (!taken)
            wait_for(far, POLLIN);
    return how;
}

/* Ends. */

void far_finish(struct far *far)
{
    if (far->ssl)
        SSL_shutdown(far->ssl);
    else
        shutdown(far->descriptor, SHUT_WR);
    ERR_clear_error();
}

void far_reset(struct far *far)
{
    struct linger reset = {1, 0};
    setsockopt(far->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    far_close(far);
}

void far_truncate(struct far *far)
{
    shutdown(far->descriptor, SHUT_WR);
}

void far_send_garbage(struct far *far)
{
    static const char record[] = "\x17\x03\x03\x00\x20 this does not decrypt, whatever it is";
    CHECK(send(far->descriptor, record, 5 + 32, MSG_NOSIGNAL) == 5 + 32);
}

void far_close(struct far *far)
{
    if (far->descriptor == -1)
        return;
    SSL_free(far->ssl);
    close(far->descriptor);
    far->ssl = NULL;
    far->descriptor = -1;
}

void far_both_ways(struct far *one, size_t forth, struct far *other, size_t back)
{
    size_t one_sends = one->sent + forth, other_sends = other->sent + back;
    size_t one_gets = one->got + back, other_gets = other->got + forth;
    enum how how;
    while (one->sent < one_sends || other->sent < other_sends || one->got < one_gets || other->got < other_gets) {
        struct pollfd both[] = {{one->descriptor, 0, 0}, {other->descriptor, 0, 0}};
        both[0].events = (short)((one->got < one_gets ? POLLIN : 0) | (one->sent < one_sends ? POLLOUT : 0));
        both[1].events = (short)((other->got < other_gets ? POLLIN : 0) | (other->sent < other_sends ? POLLOUT : 0));
        CHECK(poll(both, 2, PATIENCE_MILLISECONDS) > 0);
        CHECK(one->sent == one_sends || far_try_send(one, one_sends - one->sent) >= 0);
        CHECK(other->sent == other_sends || far_try_send(other, other_sends - other->sent) >= 0);
        CHECK(one->got == one_gets || far_try_read(one, &how) >= 0);
        CHECK(other->got == other_gets || far_try_read(other, &how) >= 0);
    }
    CHECK(one->got == one_gets && other->got == other_gets);
}
