"""Qpid Proton for Python against a broker, with its blocking API.

client.py cells HOST PORT USER PASSWORD [KEY ...]   every check, or the named ones; one report line each
client.py worker HOST PORT USER PASSWORD            sends and receives as told on standard input
"""

import os
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

from proton import Data, Message, symbol, timestamp, ulong  # noqa: E402
from proton.reactor import AtMostOnce, Copy, DurableSubscription, LinkOption, Selector  # noqa: E402
from proton.utils import BlockingConnection, LinkDetached  # noqa: E402
from reporting import equal, run_checks, serve, truly  # noqa: E402


class Kind(LinkOption):
    """The capability that says what the address is."""

    def __init__(self, kind):
        self.kind = kind

    def apply(self, link):
        terminus = link.source if link.is_receiver else link.target
        terminus.capabilities.put_array(False, Data.SYMBOL)
        terminus.capabilities.enter()
        terminus.capabilities.put_symbol(self.kind)
        terminus.capabilities.exit()


class Broker:
    def __init__(self, host, port, user, password):
        self.url = f"amqp://{host}:{port}"
        self.login = {"user": user, "password": password, "allowed_mechs": "PLAIN", "allow_insecure_mechs": True}

    def connect(self, **options):
        return BlockingConnection(self.url, timeout=15, **self.login, **options)


def numbered(count):
    return [f"m{index}" for index in range(count)]


def fill(connection, address, bodies, kind="queue"):
    sender = connection.create_sender(address, options=Kind(kind))
    for body in bodies:
        sender.send(Message(body=body, durable=True))
    sender.close()


def receiver_on(connection, address, *options, kind="queue", credit=1, **more):
    return connection.create_receiver(address, credit=credit, options=[Kind(kind), *options], **more)


def take(receiver, count, timeout=10):
    bodies = []
    for _ in range(count):
        bodies.append(receiver.receive(timeout=timeout).body)
        receiver.accept()
    return bodies


def nothing(receiver):
    try:
        extra = receiver.receive(timeout=0.3)
    except Exception as error:  # Timeout
        if type(error).__name__ != "Timeout":
            raise
        return
    raise AssertionError(f"unexpected message {extra.body!r}")


def send_receive(broker):
    connection = broker.connect()
    receiver = receiver_on(connection, "proton.basic")
    fill(connection, "proton.basic", ["hello"])
    equal(take(receiver, 1), ["hello"])
    nothing(receiver)
    connection.close()


def order(broker):
    connection = broker.connect()
    fill(connection, "proton.order", numbered(1000))
    receiver = receiver_on(connection, "proton.order", credit=100)
    equal(take(receiver, 1000), numbered(1000))
    connection.close()


def bodies(broker):
    connection = broker.connect()
    sender = connection.create_sender("proton.bodies", options=Kind("queue"))
    sent = ["ünïcødé ✓", b"\x00\x01\xff", {"a": 1, "b": ["x", 2.5, None]}, [1, "two", True], 42, True, None, "", uuid.uuid4()]
    for body in sent:
        sender.send(Message(body=body, durable=True))
    sender.send(Message(body=b"\x00\xfe", inferred=True, durable=True))
    sender.send(Message(body=[1, "in a sequence"], inferred=True, durable=True))
    receiver = receiver_on(connection, "proton.bodies", credit=20)
    for body in sent:
        got = receiver.receive(timeout=10)
        value = bytes(got.body) if isinstance(body, bytes) else got.body
        equal(value, body)
        receiver.accept()
    data = receiver.receive(timeout=10)
    equal(bytes(data.body), b"\x00\xfe", "data section")
    truly(data.inferred, "a data section stays one")
    receiver.accept()
    equal(list(receiver.receive(timeout=10).body), [1, "in a sequence"], "sequence section")
    receiver.accept()
    connection.close()


def properties(broker):
    connection = broker.connect()
    sender = connection.create_sender("proton.props", options=Kind("queue"))
    now = time.time()
    sent = Message(
        id=uuid.uuid4(),
        correlation_id=ulong(99),
        durable=True,
        priority=6,
        subject="subject",
        reply_to="back",
        content_type=symbol("text/plain"),
        group_id="group",
        group_sequence=3,
        creation_time=now,
        properties={"s": "text", "i": 5, "f": 2.5, "b": True, "t": timestamp(1700000000000)},
        annotations={symbol("x-opt-note"): "kept"},
        body="b",
    )
    sender.send(sent)
    got = receiver_on(connection, "proton.props").receive(timeout=10)
    for name in ("id", "correlation_id", "durable", "priority", "subject", "reply_to", "group_id", "group_sequence", "properties"):
        equal(getattr(got, name), getattr(sent, name), name)
    equal(str(got.content_type), "text/plain", "content-type")
    equal(got.annotations[symbol("x-opt-note")], "kept", "annotation")
    truly(abs(got.creation_time - now) < 0.002, "creation time")
    connection.close()


def large(broker):
    connection = broker.connect()
    body = bytes(range(256)) * (8 * 4096)
    sender = connection.create_sender("proton.large", options=Kind("queue"))
    sender.send(Message(body=body, durable=True), timeout=30)
    got = receiver_on(connection, "proton.large").receive(timeout=30)
    truly(bytes(got.body) == body, "8 MiB came back as sent")
    connection.close()


def acknowledge(broker):
    connection = broker.connect()
    fill(connection, "proton.ack", numbered(5))
    equal(take(receiver_on(connection, "proton.ack"), 5), numbered(5))
    connection.close()
    connection = broker.connect()
    nothing(receiver_on(connection, "proton.ack"))
    connection.close()


def redelivery(broker):
    connection = broker.connect()
    fill(connection, "proton.release", numbered(2))
    receiver = receiver_on(connection, "proton.release")
    equal(receiver.receive(timeout=10).body, "m0")
    receiver.release(delivered=False)
    again = receiver.receive(timeout=10)
    equal((again.body, again.delivery_count), ("m0", 0))
    receiver.accept()
    equal(take(receiver, 1), ["m1"])
    nothing(receiver)
    connection.close()


def delivery_count(broker):
    connection = broker.connect()
    fill(connection, "proton.count", ["m"])
    receiver = receiver_on(connection, "proton.count")
    for attempt in range(3):
        equal(receiver.receive(timeout=10).delivery_count, attempt, "delivery-count")
        receiver.fetcher.unsettled[0].local.failed = True
        receiver.release(delivered=True)  # modified, with delivery-failed set above
    equal(receiver.receive(timeout=10).delivery_count, 3, "delivery-count")
    receiver.accept()
    connection.close()


def reject(broker):
    connection = broker.connect()
    fill(connection, "proton.reject", ["bad", "good"])
    receiver = receiver_on(connection, "proton.reject")
    receiver.receive(timeout=10)
    receiver.reject()
    equal(take(receiver, 1), ["good"])
    equal(take(receiver_on(connection, "DLQ.proton.reject"), 1), ["bad"])
    connection.close()


def presettled(broker):
    connection = broker.connect()
    sender = connection.create_sender("proton.presettled", options=[Kind("queue"), AtMostOnce()])
    for body in numbered(20):
        sender.send(Message(body=body))
    receiver = receiver_on(connection, "proton.presettled", AtMostOnce(), credit=20)
    equal([receiver.receive(timeout=10).body for _ in range(20)], numbered(20))
    connection.close()


def prefetch_0(broker):
    connection = broker.connect()
    fill(connection, "proton.credit", numbered(10))
    one = receiver_on(connection, "proton.credit")
    other = broker.connect()
    two = receiver_on(other, "proton.credit")
    # Each receiver holds one credit, so each has one message before it asks again.
    got = [take(one if index % 2 == 0 else two, 1)[0] for index in range(10)]
    equal(sorted(got), numbered(10), "every message once, over both")
    connection.close()
    other.close()


def browse(broker):
    connection = broker.connect()
    fill(connection, "proton.browse", numbered(3))
    browser = receiver_on(connection, "proton.browse", Copy(), credit=10)
    equal([browser.receive(timeout=10).body for _ in range(3)], numbered(3))
    browser.close()
    equal(take(receiver_on(connection, "proton.browse"), 3), numbered(3))
    connection.close()


def request_reply(broker):
    service = broker.connect()
    requests = receiver_on(service, "proton.service")
    connection = broker.connect()
    replies = connection.create_receiver(None, dynamic=True)
    address = replies.link.remote_source.address
    truly(address, "a dynamic source has an address")
    sender = connection.create_sender("proton.service", options=Kind("queue"))
    sender.send(Message(body="6*7", reply_to=address, correlation_id="q1"))
    request = requests.receive(timeout=10)
    requests.accept()
    answers = service.create_sender(request.reply_to)
    answers.send(Message(body="42", correlation_id=request.correlation_id))
    reply = replies.receive(timeout=10)
    equal((reply.body, reply.correlation_id), ("42", "q1"))
    replies.accept()
    service.close()
    connection.close()


def anonymous(broker):
    connection = broker.connect()
    receiver = receiver_on(connection, "proton.anon")
    sender = connection.create_sender(None)
    sender.send(Message(address="proton.anon", body="found"))
    equal(take(receiver, 1), ["found"])
    connection.close()


def fanout(broker):
    connection = broker.connect()
    other = broker.connect()
    one = receiver_on(connection, "proton.fan", kind="topic")
    two = receiver_on(other, "proton.fan", kind="topic")
    fill(connection, "proton.fan", numbered(10), kind="topic")
    equal(take(one, 10), numbered(10))
    equal(take(two, 10), numbered(10))
    connection.close()
    other.close()


def durable(broker):
    first = broker.connect(container_id="proton-durable")
    receiver = receiver_on(first, "proton.durable", DurableSubscription(), kind="topic", name="sub")
    publisher = broker.connect()
    fill(publisher, "proton.durable", ["a"], kind="topic")
    equal(take(receiver, 1), ["a"])
    receiver.link.detach()
    first.close()
    fill(publisher, "proton.durable", ["b", "c"], kind="topic")
    second = broker.connect(container_id="proton-durable")
    receiver = receiver_on(second, "proton.durable", DurableSubscription(), kind="topic", name="sub")
    equal(take(receiver, 2), ["b", "c"])
    receiver.close()  # closing deletes it
    fill(publisher, "proton.durable", ["gone"], kind="topic")
    receiver = receiver_on(second, "proton.durable", DurableSubscription(), kind="topic", name="sub")
    nothing(receiver)
    receiver.close()
    second.close()
    publisher.close()


def selector(broker):
    connection = broker.connect()
    sender = connection.create_sender("proton.selector", options=Kind("queue"))
    for index, color in enumerate(["red", "blue", "red"]):
        sender.send(Message(body=f"m{index}", properties={"color": color}))
    some = receiver_on(connection, "proton.selector", Selector("color = 'red'"), credit=10)
    equal(take(some, 2), ["m0", "m2"])
    some.close()
    equal(take(receiver_on(connection, "proton.selector"), 1), ["m1"])
    connection.close()


def ttl(broker):
    connection = broker.connect()
    sender = connection.create_sender("proton.ttl", options=Kind("queue"))
    sender.send(Message(body="short", ttl=0.1, durable=True))
    sender.send(Message(body="long", ttl=60, durable=True))
    time.sleep(0.4)
    receiver = receiver_on(connection, "proton.ttl")
    equal(take(receiver, 1), ["long"])
    nothing(receiver)
    connection.close()


def refusals(broker):
    connection = broker.connect()
    try:
        receiver_on(connection, "proton.refuse", Selector("color = = 'red'"))
    except LinkDetached as error:
        equal(error.condition, "amqp:invalid-field", "condition")
    else:
        raise AssertionError("a bad selector was accepted")
    fill(connection, "proton.refuse", ["fine"])
    equal(take(receiver_on(connection, "proton.refuse"), 1), ["fine"])
    connection.close()


def heartbeat(broker):
    connection = broker.connect(heartbeat=2)
    receiver = receiver_on(connection, "proton.idle")
    nothing(receiver)
    try:
        receiver.receive(timeout=5)
    except Exception as error:
        equal(type(error).__name__, "Timeout")
    fill(connection, "proton.idle", ["still here"])
    equal(take(receiver, 1), ["still here"])
    connection.close()


CHECKS = {
    "send-receive": send_receive,
    "order": order,
    "bodies": bodies,
    "properties": properties,
    "large": large,
    "acknowledge": acknowledge,
    "redelivery": redelivery,
    "delivery-count": delivery_count,
    "reject": reject,
    "presettled": presettled,
    "prefetch-0": prefetch_0,
    "browse": browse,
    "request-reply": request_reply,
    "anonymous-producer": anonymous,
    "topic-fanout": fanout,
    "durable": durable,
    "selector": selector,
    "ttl": ttl,
    "refusals": refusals,
    "heartbeat": heartbeat,
}


class Worker:
    def __init__(self, broker):
        self.broker = broker
        self.open_receivers = {}

    def send(self, request, bodies):
        connection = self.broker.connect()
        sender = connection.create_sender(request["address"], options=Kind(request["kind"]))
        for body in bodies:
            sender.send(Message(body=body, durable=True, properties={"origin": "proton"}))
        connection.close()

    def open(self, request, _bodies):
        connection = self.broker.connect()
        options = [Kind(request["kind"])]
        name = None
        if request.get("group"):
            options = [SharedKind()]
            name = f"{request['group']}|global-volatile{request['handle']}"
        receiver = connection.create_receiver(request["address"], credit=1, options=options, name=name)
        self.open_receivers[request["handle"]] = (connection, receiver)

    def take(self, request, _bodies):
        _, receiver = self.open_receivers[request["handle"]]
        taken = []
        for _ in range(int(request["count"])):
            try:
                message = receiver.receive(timeout=int(request["limit"]) / 1000)
            except Exception as error:
                if type(error).__name__ == "Timeout":
                    break
                raise
            receiver.accept()
            body = message.body
            taken.append(body if isinstance(body, str) else bytes(body).decode())
        return taken

    def close(self, request, _bodies):
        connection, receiver = self.open_receivers.pop(request["handle"])
        receiver.close()
        connection.close()

    def operations(self):
        return {"send": self.send, "open": self.open, "take": self.take, "close": self.close}


class SharedKind(LinkOption):
    """A volatile shared subscription, as Qpid JMS attaches it."""

    def apply(self, link):
        capabilities = link.source.capabilities
        capabilities.put_array(False, Data.SYMBOL)
        capabilities.enter()
        for name in ("topic", "shared", "global"):
            capabilities.put_symbol(name)
        capabilities.exit()


def main():
    mode, host, port, user, password, *only = sys.argv[1:]
    broker = Broker(host, port, user, password)
    if mode == "worker":
        serve(Worker(broker).operations())
    else:
        run_checks(CHECKS, broker, only)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
