/*
 * An echo server on epoll(7), without a library: as few system calls as edges allow.
 *
 * A connection is registered once, for both directions. A short read has taken all there was, so
 * that no second read is needed; only the end of the stream may hide behind it, and that has been
 * announced. Bytes that the kernel refuses are kept, one read at most, and nothing more is read
 * until they are gone.
 */

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "edges.h"
#include "unsent.h"

struct connection {
    int fd;
    /* Whether there was one of END_EDGES. */
    bool read_closed;
    struct unsent *unsent;
};

/* One for all connections: each is done with it before the next one has its turn. */
static char buffer[BUFFER_BYTES];

static void accept_all(int epoll, int listener)
{
    int fd;
    while ((fd = accept_client(listener)) >= 0) {
        struct connection *connection = allocate(sizeof *connection);
        *connection = (struct connection){.fd = fd};
        watch(epoll, fd, EDGES, connection);
    }
}

/*
 * Sends back what arrives until the kernel refuses bytes. False: either all is answered and nothing
 * more will come, or the connection is broken.
 */
static bool serve(struct connection *connection, uint32_t events)
{
    if (events & END_EDGES)
        connection->read_closed = true;
    if (!send_kept(connection->fd, &connection->unsent))
        return false;
    /* Data that came while we did not read has no event of its own: it is looked for at once. */
    while (connection->unsent == NULL) {
        ssize_t length = recv(connection->fd, buffer, sizeof buffer, 0);
        if (length < 0)
            return errno == EAGAIN;
        if (length == 0)
            return false;
        if (!send_or_keep(connection->fd, buffer, (size_t)length, &connection->unsent))
            return false;
        if ((size_t)length < sizeof buffer && !connection->read_closed)
            return true;
    }
    return true;
}

/* There is no other event of this connection in the batch, and close(2) takes it off the list. */
static void end(struct connection *connection)
{
    close(connection->fd);
    free(connection->unsent);
    free(connection);
}

int main(int argc, char *argv[])
{
    char version[64];
    snprintf(version, sizeof version, "glibc %s", gnu_get_libc_version());
    int listener = start(argc, argv, version);
    int epoll = create_epoll();
    /* The only event without a connection. */
    watch(epoll, listener, EPOLLIN, NULL);

    struct epoll_event events[EVENTS];
    for (;;) {
        int count = wait_for_events(epoll, events);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL)
                accept_all(epoll, listener);
            else if (!serve(connection, events[i].events))
                end(connection);
        }
    }
}
