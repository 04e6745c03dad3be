/*
 * An echo server on libev.
 *
 * Its epoll backend is level-triggered: bytes that are not read now are announced again, so that
 * one read for each event is enough. While the kernel refuses bytes, the watcher waits for room
 * instead of for input, which takes an epoll_ctl(2) each way; a client that keeps up costs only the
 * first.
 */

#include <err.h>
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "unsent.h"

/* The watcher comes first: a pointer to it is one to the connection. */
struct connection {
    ev_io watcher;
    struct unsent *unsent;
};

/* One for all connections: each is done with it before the next one has its turn. */
static char buffer[BUFFER_BYTES];

static void end(struct ev_loop *loop, struct connection *connection)
{
    ev_io_stop(loop, &connection->watcher);
    close(connection->watcher.fd);
    free(connection->unsent);
    free(connection);
}

static void wait_for(struct ev_loop *loop, ev_io *watcher, int events)
{
    if (watcher->events & events)
        return;
    ev_io_stop(loop, watcher);
    ev_io_set(watcher, watcher->fd, events);
    ev_io_start(loop, watcher);
}

/* False: either all is answered and nothing more will come, or the connection is broken. */
static bool answer(struct connection *connection)
{
    int fd = connection->watcher.fd;
    ssize_t length = recv(fd, buffer, sizeof buffer, 0);
    if (length < 0)
        return errno == EAGAIN;
    return length > 0 && send_or_keep(fd, buffer, (size_t)length, &connection->unsent);
}

static void on_event(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct connection *connection = (struct connection *)watcher;
    bool goes_on = events & EV_WRITE ? send_kept(watcher->fd, &connection->unsent)
                                     : answer(connection);
    if (goes_on)
        wait_for(loop, watcher, connection->unsent == NULL ? EV_READ : EV_WRITE);
    else
        end(loop, connection);
}

static void on_clients(struct ev_loop *loop, ev_io *listener, int events)
{
    (void)events;
    int fd;
    while ((fd = accept_client(listener->fd)) >= 0) {
        struct connection *connection = allocate(sizeof *connection);
        connection->unsent = NULL;
        ev_io_init(&connection->watcher, on_event, fd, EV_READ);
        ev_io_start(loop, &connection->watcher);
    }
}

int main(int argc, char *argv[])
{
    char version[64];
    snprintf(version, sizeof version, "libev %d.%d", ev_version_major(), ev_version_minor());
    int socket = start(argc, argv, version);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    if (loop == NULL)
        errx(1, "libev has no epoll");
    ev_io listener;
    ev_io_init(&listener, on_clients, socket, EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
}
