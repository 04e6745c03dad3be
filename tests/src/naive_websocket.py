"""A WebSocket echo that trusts its peers: it checks nothing and joins no fragments.

A judge of servers that lets this one pass is no judge.
"""

import base64
import hashlib
import socket
import struct
import sys
import threading

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def serve(peer):
    stream = peer.makefile("rwb")
    head = {}
    for line in iter(stream.readline, b"\r\n"):
        name, _, value = line.partition(b":")
        head[name.strip().lower()] = value.strip()
    proof = base64.b64encode(hashlib.sha1(head[b"sec-websocket-key"] + GUID).digest())
    stream.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )
    stream.flush()
    while True:
        first, second = stream.read(2)
        size = second & 0x7F
        if size > 125:
            size = struct.unpack("!H" if size == 126 else "!Q", stream.read(2 if size == 126 else 8))[0]
        mask = stream.read(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(stream.read(size)))
        if first & 0x0F == 9:
            first += 1
        start = bytes([first, size]) if size < 126 else bytes([first, 126]) + struct.pack("!H", size)
        stream.write(start + payload)
        stream.flush()
        if first & 0x0F == 8:
            return peer.close()


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()


threading.excepthook = lambda _: None
sys.exit(main())
