"""A member of a chat on the client of Python's `websockets`: lines of standard input are sent, messages
are printed. Arguments: the address, and with TLS the Unix socket of the server and its certificate."""

import ssl
import sys
import threading

from websockets.sync.client import connect, unix_connect

if len(sys.argv) > 2:
    _, address, path, certificate = sys.argv
    context = ssl.create_default_context(cafile=certificate)
    origin = address.replace("wss:", "https:").rsplit("/", 1)[0]
    socket = unix_connect(path, address, ssl=context, origin=origin)
else:
    socket = connect(sys.argv[1])


def say():
    for line in sys.stdin:
        socket.send(line.rstrip("\n"))
    socket.close()


threading.Thread(target=say, daemon=True).start()
for message in socket:
    print(message, flush=True)
print("closed", socket.protocol.close_code, flush=True)
