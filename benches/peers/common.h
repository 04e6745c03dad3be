/* What every peer in C needs: how it starts, how it accepts, memory. */

#ifndef PEERS_COMMON_H
#define PEERS_COMMON_H

#include <stddef.h>

enum {
    /* Clients who wait: as many as for `edgeloop`, for thousands who connect at once. */
    BACKLOG = 4096,
    /* Read at once: as large as the reactor's buffer, so that large messages take as few calls. */
    BUFFER_BYTES = 64 * 1024,
};

/*
 * Begins as the command line says: HOST:PORT (of IPv6, [HOST]:PORT), where HOST is a number.
 *
 * Returns a socket that listens there, that never waits, and whose connections inherit TCP_NODELAY
 * (tcp(7)). Prints the address with the real port to standard error. Before that, it puts in order
 * what a process inherits: no signal is blocked, and as many descriptors may be open as the hard
 * limit allows. SIGPIPE is ignored: that a client is gone is known from the error of send(2).
 *
 * With --version, prints `version`, which is to be that of the library, and exits. A failure is a
 * line on standard error and exit status 1, or 2 for a wrong command line.
 */
int start(int argc, char *argv[], const char *version);

/* The same in two steps, for a peer that may still fail between them. */
int start_listening(int argc, char *argv[], const char *version);
void announce_listener(int listener);

/* The next client, on a socket that never waits either; -1 when there is none. */
int accept_client(int listener);

/* malloc(3) and realloc(3). A peer that finds no memory ends. */
void *allocate(size_t bytes);
void *reallocate(void *old, size_t bytes);

#endif
