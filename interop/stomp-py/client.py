"""stomp.py against a broker.

client.py cells HOST PORT USER PASSWORD VERSION [KEY ...]   every check, or the named ones; one report line each
"""

import os
import queue
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import stomp  # noqa: E402
from reporting import equal, run_checks, truly  # noqa: E402

# With it the connections are TLS and trust this file alone.
AUTHORITY = os.environ.get("TLS_CA")
CONNECTIONS = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}


class Inbox(stomp.ConnectionListener):
    def __init__(self):
        self.messages = queue.Queue()
        self.receipts = queue.Queue()
        self.errors = queue.Queue()

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.errors.put(frame)


class Client:
    """One connection; every method that can waits for its receipt."""

    def __init__(self, broker, **options):
        heartbeats = options.pop("heartbeats", (0, 0))
        more = {} if broker.version == "1.0" else {"heartbeats": heartbeats}
        self.version = broker.version
        # Bytes stay bytes.
        self.connection = CONNECTIONS[broker.version]([(broker.host, broker.port)], auto_decode=False, **more)
        self.inbox = Inbox()
        self.connection.set_listener("", self.inbox)
        self.receipts = 0
        if AUTHORITY:
            self.connection.set_ssl(for_hosts=[(broker.host, broker.port)], ca_certs=AUTHORITY)
        self.connection.connect(broker.user, broker.password, wait=True, **options)

    def receipt(self):
        self.receipts += 1
        return f"r{self.receipts}"

    def wait(self, receipt):
        equal(self.inbox.receipts.get(timeout=10), receipt, "receipt")

    def send(self, destination, body, **headers):
        receipt = self.receipt()
        self.connection.send(destination, body, headers={**headers, "receipt": receipt})
        self.wait(receipt)

    def subscribe(self, destination, ack="auto", **headers):
        receipt = self.receipt()
        headers["receipt"] = receipt
        identity = {} if self.version == "1.0" else {"id": "s"}
        self.connection.subscribe(destination, ack=ack, headers=headers, **identity)
        self.wait(receipt)

    def next(self):
        return self.inbox.messages.get(timeout=10)

    def nothing(self):
        try:
            extra = self.inbox.messages.get(timeout=0.3)
        except queue.Empty:
            return
        raise AssertionError(f"unexpected message {extra.body!r}")

    def bodies(self, count):
        return [text(self.next()) for _ in range(count)]

    def _answer(self, verb, frame, **headers):
        if self.version == "1.2":
            verb(frame.headers["ack"], **headers)
        elif self.version == "1.1":
            verb(frame.headers["message-id"], "s", **headers)
        else:
            verb(frame.headers["message-id"], **headers)

    def ack(self, frame, **headers):
        self._answer(self.connection.ack, frame, **headers)

    def nack(self, frame, **headers):
        self._answer(self.connection.nack, frame, **headers)

    def close(self):
        receipt = self.receipt()
        self.connection.disconnect(receipt=receipt)
        self.wait(receipt)


class Broker:
    def __init__(self, host, port, user, password, version):
        self.host, self.port, self.user, self.password, self.version = host, int(port), user, password, version

    def name(self, text):
        return f"py{self.version.replace('.', '')}.{text}"

    def connect(self, **options):
        return Client(self, **options)


def text(frame):
    return frame.body.decode() if isinstance(frame.body, bytes) else frame.body


def send_receive(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("basic")
    client.subscribe(destination)
    client.send(destination, "grüße")
    frame = client.next()
    equal(text(frame), "grüße")
    equal(frame.headers["destination"], destination)
    client.nothing()
    client.close()


def order(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("order")
    for number in range(1000):
        client.connection.send(destination, f"m{number}")
    client.subscribe(destination)
    equal(client.bodies(1000), [f"m{number}" for number in range(1000)])
    client.close()


def bodies(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("bodies")
    client.subscribe(destination)
    for body in (bytes(range(256)), b"\0", "", "line\r\nline\n"):
        client.send(destination, body)
        wanted = body.encode() if isinstance(body, str) else body
        got = client.next().body
        equal(got if isinstance(got, bytes) else got.encode(), wanted)
    client.close()


def properties(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("properties")
    client.subscribe(destination)
    headers = {"type": "T", "correlation-id": "c", "priority": "7", "persistent": "true", "grün": "ja"}
    if broker.version != "1.0":
        headers["special"] = "a:b\\c\nd"
    client.send(destination, "x", **headers)
    got = client.next().headers
    for name, value in headers.items():
        equal(got[name], value, name)
    client.close()


def large(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("large")
    client.subscribe(destination)
    body = b"0123456789abcde\0" * (512 * 1024)
    client.send(destination, body)
    equal(len(client.next().body), len(body), "length")
    client.close()


def acknowledge(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("acknowledge")
    for number in range(3):
        client.send(destination, f"m{number}")
    client.subscribe(destination, ack="client-individual")
    frames = [client.next() for _ in range(3)]
    client.ack(frames[1])
    client.close()
    again = broker.connect()
    again.subscribe(destination, ack="client")
    frames = [again.next() for _ in range(2)]
    equal([text(frame) for frame in frames], ["m0", "m2"])
    equal(frames[0].headers["redelivered"], "true")
    again.ack(frames[1])
    again.close()
    last = broker.connect()
    last.subscribe(destination)
    last.nothing()
    last.close()


def reject(broker):
    if broker.version == "1.0":
        return
    client = broker.connect()
    name = broker.name("reject")
    client.send("/queue/" + name, "bad")
    client.subscribe("/queue/" + name, ack="client-individual")
    first = client.next()
    client.nack(first)
    second = client.next()
    equal(second.headers["x-delivery-count"], "1")
    client.nack(second, requeue="false")
    dead = broker.connect()
    dead.subscribe("/queue/DLQ." + name)
    equal(text(dead.next()), "bad")
    dead.close()
    client.close()


def transactions(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("tx")
    client.subscribe(destination)
    for end in ("abort", "commit"):
        transaction = client.connection.begin()
        client.send(destination, end, transaction=transaction)
        client.nothing()
        getattr(client.connection, end)(transaction)
    equal(client.bodies(1), ["commit"])
    client.nothing()
    client.close()


def transactions_receive(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("txr")
    client.send(destination, "x")
    client.subscribe(destination, ack="client-individual")
    transaction = client.connection.begin()
    client.ack(client.next(), transaction=transaction)
    client.connection.abort(transaction)
    again = client.next()
    equal(again.headers["redelivered"], "true")
    transaction = client.connection.begin()
    client.ack(again, transaction=transaction)
    client.connection.commit(transaction)
    client.close()
    last = broker.connect()
    last.subscribe(destination)
    last.nothing()
    last.close()


def topic_fanout(broker):
    one, two = broker.connect(), broker.connect()
    destination = "/topic/" + broker.name("fan")
    for client in (one, two):
        client.subscribe(destination)
    one.send(destination, "hi")
    equal(one.bodies(1) + two.bodies(1), ["hi", "hi"])
    one.close()
    two.close()


def durable(broker):
    destination = "/topic/" + broker.name("durable")
    options = {"headers": {"client-id": broker.name("durable")}}
    first = broker.connect(**options)
    first.subscribe(destination, **{"activemq.subscriptionName": "s"})
    first.close()
    other = broker.connect()
    other.send(destination, "while away", persistent="true")
    second = broker.connect(**options)
    second.subscribe(destination, **{"activemq.subscriptionName": "s"})
    equal(second.bodies(1), ["while away"])
    second.close()
    other.close()


def selector(broker):
    client = broker.connect()
    destination = "/queue/" + broker.name("selector")
    client.subscribe(destination, selector="size > 9")
    client.send(destination, "small", size="9")
    client.send(destination, "big", size="10")
    equal(client.bodies(1), ["big"])
    client.nothing()
    client.close()


def refusals(broker):
    wrong = Broker(broker.host, broker.port, broker.user, "wrong", broker.version)
    try:
        wrong.connect()
    except stomp.exception.ConnectFailedException:
        pass
    else:
        raise AssertionError("a wrong password is let in")
    client = broker.connect()
    client.connection.send("/queue/x", "x", transaction="nobody")
    error = client.inbox.errors.get(timeout=10)
    equal(error.headers["message"], "Invalid transaction id")


def heartbeat(broker):
    if broker.version == "1.0":
        return
    client = broker.connect(heartbeats=(1000, 1000))
    time.sleep(4)
    truly(client.connection.is_connected(), "still connected")
    client.send("/queue/" + broker.name("idle"), "x")
    client.close()


CHECKS = {
    "send-receive": send_receive,
    "order": order,
    "bodies": bodies,
    "properties": properties,
    "large": large,
    "acknowledge": acknowledge,
    "reject": reject,
    "transactions": transactions,
    "transactions-receive": transactions_receive,
    "topic-fanout": topic_fanout,
    "durable": durable,
    "selector": selector,
    "refusals": refusals,
    "heartbeat": heartbeat,
}

if __name__ == "__main__":
    mode, host, port, user, password, version, *only = sys.argv[1:]
    run_checks(CHECKS, Broker(host, port, user, password, version), only, limit=20)
