"""Clients that dribble: dribble.py PORT COUNT. Each sends one byte of its request's head every 100 ms and never ends it.

Says "ready" once each has sent a byte, and at its end (TERM) how often a server had closed a connection.
"""

import json
import signal
import socket
import sys
import time

INTERVAL = 0.1
START = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


class Client:
    def __init__(self, port):
        self.port = port
        self.closed = -1
        self.open()

    def open(self):
        self.closed += 1
        self.sent = 0
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def turn(self):
        byte = START[self.sent : self.sent + 1] or b"a"
        try:
            self.socket.send(byte)
            self.sent += 1
        except BlockingIOError:
            pass
        except OSError:
            self.socket.close()
            self.open()


def main():
    port, count = map(int, sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    clients = [Client(port) for _ in range(count)]
    try:
        said = False
        due = time.monotonic()
        while True:
            # Spread over the interval, as they would be.
            for client in clients:
                client.turn()
                due += INTERVAL / count
                time.sleep(max(0, due - time.monotonic()))
            if not said:
                said = True
                print("ready", flush=True)
    finally:
        print(json.dumps({"closed": sum(client.closed for client in clients)}), flush=True)


if __name__ == "__main__":
    main()
