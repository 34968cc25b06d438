"""A watch in WebSocket messages, as programs in browsers ask for it: prints the kinds of the first messages and their events.

usage: messages.py HOST:PORT CA PATH TOKEN [ACCEPT]   the token goes among the subprotocols, because browsers can send it nowhere else
"""

import base64
import json
import os
import socket
import ssl
import sys


def read(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            sys.exit("the connection ended")
        data += part
    return data


def message(stream):
    first, size = read(stream, 2)
    if size == 126:
        size = int.from_bytes(read(stream, 2), "big")
    elif size == 127:
        size = int.from_bytes(read(stream, 8), "big")
    return first & 0x0F, read(stream, size)


def main(address, authority, path, token, accept="application/json"):
    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context(cafile=authority)
    stream = context.wrap_socket(socket.create_connection((host, int(port)), timeout=10), server_hostname=host)
    bearer = "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()
    key = base64.b64encode(os.urandom(16)).decode()
    request = [
        "GET %s HTTP/1.1" % path,
        "Host: %s" % address,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Origin: https://%s" % host,
        "Accept: %s" % accept,
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: %s" % key,
        "Sec-WebSocket-Protocol: %s, base64.binary.k8s.io" % bearer,
    ]
    stream.sendall(("\r\n".join(request) + "\r\n\r\n").encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read(stream, 1)
    lines = head.decode().split("\r\n")
    print(lines[0])
    print("\n".join(line for line in lines if line.lower().startswith("sec-websocket-protocol")))
    if " 101 " not in lines[0] + " ":
        sys.exit(1)
    while True:
        kind, data = message(stream)
        if kind == 8:
            return print("close", int.from_bytes(data[:2], "big"))
        if kind == 1:
            event = json.loads(data)
            print("text", event["type"], event["object"]["metadata"]["name"])
        else:
            print("binary", data[2 : 2 + data[1]].decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
