/* Handshakes on threads: their ends, what comes right behind them, and giving them up. */
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests.h"

/* Only a failing test waits so long. */
#define PATIENCE_MILLISECONDS 20000

/* A thread that spins turns some ten thousand times in it. */
#define SETTLE_MILLISECONDS 20

struct shake {
    struct far far;
    int near;
    SSL *ssl;
    struct handshake *handshake;
};

/* More than one error in OpenSSL's queue, before the one that it adds itself. */
static int complain(int is_good, X509_STORE_CTX *store)
{
    (void)is_good;
    (void)store;
    ERR_raise(ERR_LIB_USER, 1);
    ERR_raise(ERR_LIB_USER, 2);
    return 0;
}

/* No thread may turn without a reason now. */
static void rest(void)
{
    poll(NULL, 0, SETTLE_MILLISECONDS);
    int before = turns;
    poll(NULL, 0, SETTLE_MILLISECONDS);
    CHECK(turns - before < 10);
}

static struct handshakes *open_threads(int threads)
{
    struct handshakes *handshakes = NULL;
    CHECK(handshakes_new(&handshakes, threads, &CALLS) == 0);
    return handshakes;
}

static void begin(struct handshakes *handshakes, struct shake *shake)
{
    far_begin(&shake->far, true, 0, &shake->near, &shake->ssl);
    shake->handshake = handshake_start(handshakes, shake->near, shake->ssl, 0);
    CHECK(shake->handshake);
}

/* As a client: the two ends with all that is theirs are exchanged. */
static void begin_first(struct handshakes *handshakes, struct shake *shake, bool verify_peer)
{
    struct far far;
    far_begin(&far, true, 0, &shake->near, &shake->ssl);
    shake->far = far;
    shake->far.descriptor = shake->near;
    shake->far.ssl = shake->ssl;
    shake->near = far.descriptor;
    shake->ssl = far.ssl;
    if (verify_peer)
        SSL_set_verify(shake->ssl, SSL_VERIFY_PEER, complain);
    shake->handshake = handshake_start(handshakes, shake->near, shake->ssl, 1);
    CHECK(shake->handshake);
}

static struct handshake_end next_end(struct handshakes *handshakes)
{
    struct pollfd bell = {.fd = handshakes_descriptor(handshakes), .events = POLLIN};
    struct handshake_end end;
    CHECK(poll(&bell, 1, PATIENCE_MILLISECONDS) == 1);
    CHECK(handshakes_next_end(handshakes, &end) == 1);
    return end;
}

static void close_shake(struct shake *shake)
{
    far_close(&shake->far);
    SSL_free(shake->ssl);
    close(shake->near);
}

/* The far end's whole handshake. */
static void shake_hands(struct shake *shake)
{
    struct pollfd readable = {.fd = shake->far.descriptor, .events = POLLIN};
    while (SSL_do_handshake(shake->far.ssl) != 1)
        CHECK(poll(&readable, 1, PATIENCE_MILLISECONDS) == 1);
}

static void succeed(bool speak_first)
{
    enum { COUNT = 40 };
    struct shake shakes[COUNT];
    struct handshakes *handshakes = open_threads(2);
    for (int index = 0; index < COUNT; index++) {
        if (speak_first)
            begin_first(handshakes, &shakes[index], false);
        else
            begin(handshakes, &shakes[index]);
    }
    for (int index = COUNT - 1; index >= 0; index--) {
        shake_hands(&shakes[index]);
        CHECK(SSL_write(shakes[index].far.ssl, "first", 5) == 5);
    }
    for (int told = 0; told < COUNT; told++) {
        struct handshake_end end = next_end(handshakes);
        struct shake *shake = shakes;
        char bytes[5];
        while (shake->handshake != end.handshake)
            shake++;
        shake->handshake = NULL; /* told once */
        CHECK(end.how == HANDSHAKE_DONE && end.heard && !end.ended);
        if (end.first_bytes)
            CHECK(end.first_bytes == 5 && memcmp(end.first, "first", 5) == 0);
        else {
            struct pollfd readable = {.fd = shake->near, .events = POLLIN};
            CHECK(poll(&readable, 1, PATIENCE_MILLISECONDS) == 1);
            CHECK(SSL_read(shake->ssl, bytes, 5) == 5 && memcmp(bytes, "first", 5) == 0);
        }
        handshake_forget(end.handshake);
    }
    for (int index = 0; index < COUNT; index++)
        close_shake(&shakes[index]);
    handshakes_free(handshakes);
    ERR_clear_error();
}

void handshakes_succeed_and_lose_no_byte_behind_them(void)
{
    succeed(false);
}

void handshakes_that_speak_first_do_so_too(void)
{
    succeed(true);
}

static struct handshake_end end_of(struct handshakes *handshakes, struct shake *shake)
{
    struct handshake_end end = next_end(handshakes);
    CHECK(end.handshake == shake->handshake && end.first_bytes == 0);
    handshake_forget(end.handshake);
    return end;
}

void a_failed_handshake_says_why(void)
{
    struct handshakes *handshakes = open_threads(1);
    struct shake shake;
    struct handshake_end end;

    begin(handshakes, &shake);
    CHECK(send(shake.far.descriptor, "get / HTTP/1.1\r\n\r\n", 18, 0) == 18);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_REFUSED && end.heard && ERR_GET_REASON(end.error) == SSL_R_WRONG_VERSION_NUMBER);
    close_shake(&shake);

    begin(handshakes, &shake);
    CHECK(send(shake.far.descriptor, "GET / HTTP/1.1\r\n\r\n", 18, 0) == 18);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_PLAIN && end.heard);
    char unread[18];
    CHECK(recv(shake.near, unread, sizeof unread, 0) == 18);
    close_shake(&shake);

    begin(handshakes, &shake);
    far_truncate(&shake.far);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_ENDED && !end.heard);
    close_shake(&shake);

    begin(handshakes, &shake);
    CHECK(send(shake.far.descriptor, "\x16\x03", 2, 0) == 2);
    far_truncate(&shake.far);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_ENDED && end.heard);
    close_shake(&shake);

    begin(handshakes, &shake);
    far_reset(&shake.far);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_LOST && end.system_error == ECONNRESET && !end.heard);
    close_shake(&shake);
    handshakes_free(handshakes);
}

/* What answers a client is never a client's HTTP, whatever letter it begins with. */
void a_failed_handshake_that_spoke_first_says_why(void)
{
    static const char ALERT[] = "\x15\x03\x03\x00\x02\x02\x28";
    struct handshakes *handshakes = open_threads(1);
    struct shake shake;
    struct handshake_end end;

    begin_first(handshakes, &shake, false);
    CHECK(send(shake.far.descriptor, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, 0) == 28);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_REFUSED && ERR_GET_REASON(end.error) == SSL_R_WRONG_VERSION_NUMBER);
    close_shake(&shake);

    begin_first(handshakes, &shake, false);
    CHECK(send(shake.far.descriptor, ALERT, 7, 0) == 7);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_REFUSED);
    CHECK(ERR_GET_REASON(end.error) == SSL_AD_REASON_OFFSET + SSL_AD_HANDSHAKE_FAILURE);
    close_shake(&shake);

    begin_first(handshakes, &shake, false);
    CHECK(send(shake.far.descriptor, "G", 1, 0) == 1);
    rest(); /* a letter decides nothing */
    far_truncate(&shake.far);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_ENDED);
    close_shake(&shake);

    begin_first(handshakes, &shake, false);
    rest();
    far_reset(&shake.far);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_LOST && end.system_error == ECONNRESET);
    close_shake(&shake);
    handshakes_free(handshakes);
}

/* The last one names the step that failed; and none of them stays, since the queue is the thread's. */
void the_last_of_several_errors_is_told_and_none_is_kept(void)
{
    struct handshakes *handshakes = open_threads(1);
    struct shake shake;
    struct handshake_end end;

    begin_first(handshakes, &shake, true);
    struct pollfd readable = {.fd = shake.far.descriptor, .events = POLLIN};
    CHECK(poll(&readable, 1, PATIENCE_MILLISECONDS) == 1);
    CHECK(SSL_do_handshake(shake.far.ssl) == -1);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_REFUSED);
    CHECK(ERR_GET_LIB(end.error) == ERR_LIB_SSL && ERR_GET_REASON(end.error) == SSL_R_CERTIFICATE_VERIFY_FAILED);
    close_shake(&shake);

    begin(handshakes, &shake);
    CHECK(send(shake.far.descriptor, "\x16\x03", 2, 0) == 2);
    far_truncate(&shake.far);
    end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_ENDED && end.error == 0);
    close_shake(&shake);
    handshakes_free(handshakes);
    ERR_clear_error();
}

void a_handshake_that_waits_lets_its_thread_sleep(void)
{
    struct handshakes *handshakes = open_threads(2);
    struct shake silent, half, first;
    begin(handshakes, &silent);
    begin(handshakes, &half);
    begin_first(handshakes, &first, false);
    CHECK(send(half.far.descriptor, "\x16\x03\x01\x02\x00\x01", 6, 0) == 6);
    rest();
    handshakes_free(handshakes);
    close_shake(&silent);
    close_shake(&half);
    close_shake(&first);
}

static void send_held(struct shake *shake, BIO *held)
{
    char *bytes;
    long count = BIO_get_mem_data(held, &bytes);
    CHECK(send(shake->far.descriptor, bytes, (size_t)count, 0) == count);
    BIO_reset(held);
}

/* The far end's last message and its close_notify in one segment, so that nothing is left on the socket. */
void an_end_right_behind_a_handshake_is_told(void)
{
    struct handshakes *handshakes = open_threads(1);
    struct shake shake;
    begin(handshakes, &shake);
    BIO *out = BIO_new(BIO_s_mem()), *socket = SSL_get_wbio(shake.far.ssl);
    struct pollfd readable = {.fd = shake.far.descriptor, .events = POLLIN};
    BIO_up_ref(socket);
    SSL_set0_wbio(shake.far.ssl, out);
    CHECK(SSL_do_handshake(shake.far.ssl) == -1);
    send_held(&shake, out);
    while (SSL_do_handshake(shake.far.ssl) != 1)
        CHECK(poll(&readable, 1, PATIENCE_MILLISECONDS) == 1);
    SSL_shutdown(shake.far.ssl);
    send_held(&shake, out);
    struct handshake_end end = end_of(handshakes, &shake);
    CHECK(end.how == HANDSHAKE_DONE && end.ended);
    BIO_free(socket);
    close_shake(&shake);
    handshakes_free(handshakes);
    ERR_clear_error();
}

void a_handshake_is_given_up_in_every_state(void)
{
    struct handshakes *handshakes = open_threads(2);
    for (int state = 0; state < 6 * effort; state++) {
        struct shake shake;
        if (state % 2)
            begin_first(handshakes, &shake, false);
        else
            begin(handshakes, &shake);
        if (state % 3 == 1)
            SSL_do_handshake(shake.far.ssl); /* says hello, or answers one; and all, if the rest is there at once */
        if (state % 3 == 2)
            shake_hands(&shake);
        handshake_stop(shake.handshake);
        struct handshake_end end = next_end(handshakes);
        CHECK(end.handshake == shake.handshake);
        CHECK(end.how == HANDSHAKE_STOPPED || (end.how == HANDSHAKE_DONE && state % 3));
        handshake_stop(shake.handshake); /* changes nothing any more */
        handshake_forget(end.handshake);
        close_shake(&shake);
    }
    handshakes_free(handshakes);
    ERR_clear_error();
}

void handshakes_under_way_are_freed_with_their_threads(void)
{
    struct shake shakes[6];
    struct handshakes *handshakes = open_threads(2);
    for (int index = 0; index < 3; index++)
        begin(handshakes, &shakes[index]);
    for (int index = 3; index < 6; index++)
        begin_first(handshakes, &shakes[index], false);
    SSL_do_handshake(shakes[1].far.ssl);
    SSL_do_handshake(shakes[4].far.ssl);
    shake_hands(&shakes[2]);
    shake_hands(&shakes[5]);
    handshakes_free(handshakes);
    for (int index = 0; index < 6; index++)
        close_shake(&shakes[index]);
    ERR_clear_error();
}

void without_memory_no_handshake_begins(void)
{
    struct handshakes *handshakes = open_threads(1);
    struct shake shake;
    far_begin(&shake.far, true, 0, &shake.near, &shake.ssl);
    fail_allocations = 1;
    CHECK(handshake_start(handshakes, shake.near, shake.ssl, 0) == NULL);
    fail_allocations = 0;
    close_shake(&shake);
    handshakes_free(handshakes);
}
