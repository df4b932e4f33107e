"""Requests that come when they come: arrivals.py PORT RATE COUNT CONNECTIONS.

An open loop: the times of arrival are drawn beforehand (Poisson, always the same), whatever the server does, and latency
counts from them, so that a server that stands still cannot hide it. One in ten is for /slow, the others for /fast.
They go over connections that are kept where the server keeps them, the one that has rested longest first; when none is
free a request waits, and that counts, too. Writes figures as JSON, in milliseconds, its own lateness among them.
"""

import collections
import json
import random
import select
import socket
import sys
import time

SLOW_SHARE = 0.1
SEED = 4
# A client would have given up.
GIVES_UP_AFTER = 30


class Connection:
    def __init__(self, port):
        self.port = port
        self.socket = None
        self.request = None

    def ask(self, poll, request):
        """Sends a request, on a new connection where there is none."""
        self.request, self.answer, self.is_new = request, b"", self.socket is None
        if self.is_new:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=5)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(self.socket, select.EPOLLIN)
        target = "slow" if request.is_slow else "fast"
        try:
            self.socket.send(f"GET /{target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        except OSError:
            pass  # Closed while it rested; the reading side says so, too.

    def close(self, poll):
        poll.unregister(self.socket)
        self.socket.close()
        self.socket = None

    def read(self):
        """True when the answer is complete, False when the connection is over, None before that."""
        try:
            piece = self.socket.recv(65536)
        except OSError:
            piece = b""
        if self.request is None or not piece:
            return self.request is not None and self.is_whole(ended=True)
        self.answer += piece
        return self.is_whole(ended=False) or None

    def is_whole(self, ended):
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if not found:
            return False
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return len(body) >= int(length[0].split(b":")[1]) if length else ended

    def is_right(self):
        expected = b"slow" if self.request.is_slow else b"fast"
        return self.answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) and self.answer.endswith(b"\r\n\r\n" + expected)

    def is_last(self):
        head = self.answer.partition(b"\r\n\r\n")[0].lower()
        return b"\r\nconnection: close" in head or head.startswith(b"http/1.0")


class Request:
    def __init__(self, due, is_slow):
        self.due = due
        self.is_slow = is_slow
        self.is_second_try = False


class Run:
    def __init__(self, port, connections):
        self.poll = select.epoll()
        self.free = collections.deque(Connection(port) for _ in range(connections))
        self.by_fd = {}
        self.waiting = collections.deque()
        self.latency = {False: [], True: []}
        self.lateness = []
        self.errors = self.retried = 0

    def go(self, requests):
        todo = collections.deque(requests)
        until = requests[-1].due + GIVES_UP_AFTER
        while (todo or self.waiting or self.by_fd_busy()) and time.monotonic() < until:
            now = time.monotonic()
            while todo and todo[0].due <= now:
                self.lateness.append(now - todo[0].due)
                self.waiting.append(todo.popleft())
            while self.waiting and self.free:
                self.start(self.waiting.popleft())
            pause = max(0, todo[0].due - time.monotonic()) if todo else 0.1
            for fd, _ in self.poll.poll(pause):
                self.on_readable(fd)
        self.errors += len(todo) + len(self.waiting) + self.by_fd_busy()

    def by_fd_busy(self):
        return sum(connection.request is not None for connection in self.by_fd.values())

    def start(self, request):
        connection = self.free.popleft()
        try:
            connection.ask(self.poll, request)
        except OSError:
            self.errors += 1
            connection.request = None
            self.free.append(connection)
        if connection.socket:
            self.by_fd[connection.socket.fileno()] = connection

    def on_readable(self, fd):
        connection = self.by_fd[fd]
        done = connection.read()
        if done is None:
            return
        request = connection.request
        if done and connection.is_right():
            self.latency[request.is_slow].append(time.monotonic() - request.due)
        elif request and not connection.answer and not connection.is_new and not request.is_second_try:
            # The server closed a resting connection while the request was under way: any client asks again.
            request.is_second_try = True
            self.retried += 1
            self.waiting.appendleft(request)
        elif request:
            self.errors += 1
        if not done or connection.is_last():
            del self.by_fd[fd]
            connection.close(self.poll)
        if request:
            connection.request = None
            self.free.append(connection)


def drawn(rate, count):
    """When requests arrive, and which are slow: for everybody the same."""
    chance = random.Random(SEED)
    due = time.monotonic() + 0.1
    for _ in range(count):
        due += chance.expovariate(rate)
        yield Request(due, chance.random() < SLOW_SHARE)


def percentile(values, share):
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3) if ordered else None


def main():
    port, rate, count, connections = map(int, sys.argv[1:])
    run = Run(port, connections)
    run.go(list(drawn(rate, count)))
    fast, slow = run.latency[False], run.latency[True]
    figures = {"requests": len(fast) + len(slow), "errors": run.errors, "retried": run.retried}
    figures |= {"p50": percentile(fast, 0.5), "p99": percentile(fast, 0.99), "max": percentile(fast, 1)}
    figures |= {"slow_p50": percentile(slow, 0.5), "slow_p99": percentile(slow, 0.99)}
    print(json.dumps(figures | {"late_p99": percentile(run.lateness, 0.99)}))


if __name__ == "__main__":
    main()
