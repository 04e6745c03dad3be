/* The needs of every peer in C: its start, accepting, memory. */

#ifndef PEERS_COMMON_H
#define PEERS_COMMON_H

#include <stddef.h>

enum {
    /* Clients that wait: as many as for `edgeloop`, for thousands that connect at once. */
    BACKLOG = 4096,
    /* Read at once: as large as the reactor's buffer, so that large messages take as few calls. */
    BUFFER_BYTES = 64 * 1024,
};

/*
 * Begins as the command line says: HOST:PORT (of IPv6, [HOST]:PORT), where HOST is a number.
 *
 * Returns a non-blocking socket that listens there, and whose connections inherit TCP_NODELAY
 * (tcp(7)). Prints the address with the real port to standard error. Before that, it resets what a
 * process inherits: no signal is blocked, and as many descriptors may be open as the hard limit
 * allows. SIGPIPE is ignored: send(2) fails if a client is gone.
 *
 * With --version, prints `version`, the version of the library, and exits. A failure is a
 * line on standard error and exit status 1, or 2 for a wrong command line.
 */
int start(int argc, char *argv[], const char *version);

/* These two do so in two steps, for a peer that may still fail between them. */
int start_listening(int argc, char *argv[], const char *version);
void announce_listener(int listener);

/* The next client, on a non-blocking socket; -1 when there is none. */
int accept_client(int listener);

/* malloc(3) and realloc(3). A peer that finds no memory ends. */
void *allocate(size_t bytes);
void *reallocate(void *old, size_t bytes);

#endif
