/* epoll(7) with edges, without a library. */

#ifndef PEERS_EDGES_H
#define PEERS_EDGES_H

#include <stdint.h>
#include <sys/epoll.h>

/* Events taken at once. */
enum { EVENTS = 1024 };

/* The events that a connection is registered for, once and for good. */
enum { EDGES = EPOLLIN | EPOLLOUT | EPOLLRDHUP };

/*
 * Of these, the ones after which the end of the stream is near. It may hide behind data, and will
 * not be announced again.
 */
enum { END_EDGES = EPOLLRDHUP | EPOLLHUP | EPOLLERR };

/* An epoll instance without anything in it. */
int create_epoll(void);

/* Registers a descriptor for edges. Its events come with this pointer. */
void watch(int epoll, int fd, uint32_t edges, void *pointer);

/* Waits for at least one event, and returns how many there are, up to EVENTS. */
int wait_for_events(int epoll, struct epoll_event *events);

#endif
