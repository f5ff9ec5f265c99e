/* What OpenSSL's functions say, from its headers, which are not needed to build this. Private. */
#ifndef WSRELAY_PUMP_TLS_H
#define WSRELAY_PUMP_TLS_H

/* ssl.h, the same since OpenSSL 0.9. */
enum { SSL_ERROR_WANT_READ = 2, SSL_ERROR_WANT_WRITE = 3, SSL_ERROR_SYSCALL = 5, SSL_ERROR_ZERO_RETURN = 6 };

/* tls1.h: what a callback of a TLS extension returns. */
enum { SSL_TLSEXT_ERR_OK = 0, SSL_TLSEXT_ERR_ALERT_FATAL = 2 };

/* sslerr.h, since OpenSSL 3.0; older ones say SSL_ERROR_SYSCALL without an errno. */
enum { SSL_R_UNEXPECTED_EOF_WHILE_READING = 294 };

/* err.h: the numbers of the library and of the reason within an error; 20 is ERR_LIB_SSL. */
#define IS_UNEXPECTED_EOF(error) \
    ((((error) >> 23) & 0xFF) == 20 && ((error)&0x7FFFFF) == SSL_R_UNEXPECTED_EOF_WHILE_READING)

#endif
