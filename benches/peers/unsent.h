/* Bytes that the kernel refused. A connection whose client keeps up has none. */

#ifndef PEERS_UNSENT_H
#define PEERS_UNSENT_H

#include <stdbool.h>
#include <stddef.h>

struct unsent;

/*
 * Sends as much as the kernel takes, and keeps the rest. Nothing may be kept yet (`*unsent` is
 * NULL), and nothing is afterwards if all was sent. False: the connection is broken.
 */
bool send_or_keep(int fd, const char *bytes, size_t length, struct unsent **unsent);

/* Sends the bytes that were kept, if any were, in the same way. */
bool send_kept(int fd, struct unsent **unsent);

#endif
