#include "edges.h"

#include <err.h>
#include <errno.h>

int create_epoll(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        err(1, "epoll_create1");
    return epoll;
}

void watch(int epoll, int fd, uint32_t edges, void *pointer)
{
    struct epoll_event event = {.events = edges | EPOLLET, .data.ptr = pointer};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        err(1, "epoll_ctl");
}

int wait_for_events(int epoll, struct epoll_event *events)
{
    int count;
    do
        count = epoll_wait(epoll, events, EVENTS, -1);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        err(1, "epoll_wait");
    return count;
}
