#include "unsent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common.h"

struct unsent {
    size_t start;
    size_t end;
    char bytes[];
};

/* The number of bytes that the kernel took, all unless it is full; -1 for a broken connection. */
static ssize_t send_some(int fd, const char *bytes, size_t length)
{
    size_t sent = 0;
    while (sent < length) {
        ssize_t count = send(fd, bytes + sent, length - sent, 0);
        if (count < 0 && errno == EAGAIN)
            break;
        if (count < 0)
            return -1;
        sent += (size_t)count;
    }
    return (ssize_t)sent;
}

bool send_or_keep(int fd, const char *bytes, size_t length, struct unsent **unsent)
{
    ssize_t sent = send_some(fd, bytes, length);
    if (sent < 0)
        return false;
    size_t rest = length - (size_t)sent;
    if (rest > 0) {
        struct unsent *kept = allocate(sizeof *kept + rest);
        kept->start = 0;
        kept->end = rest;
        memcpy(kept->bytes, bytes + sent, rest);
        *unsent = kept;
    }
    return true;
}

bool send_kept(int fd, struct unsent **unsent)
{
    struct unsent *kept = *unsent;
    if (kept == NULL)
        return true;
    ssize_t sent = send_some(fd, kept->bytes + kept->start, kept->end - kept->start);
    if (sent < 0)
        return false;
    kept->start += (size_t)sent;
    if (kept->start == kept->end) {
        free(kept);
        *unsent = NULL;
    }
    return true;
}
