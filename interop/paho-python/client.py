"""Eclipse Paho for Python against a broker, MQTT 3.1.1 and 5.

client.py cells VERSION HOST PORT USER PASSWORD [KEY ...]   every check, or the named ones; one report line each
client.py worker VERSION HOST PORT USER PASSWORD            publishes and subscribes as told on standard input
"""

import itertools
import os
import queue
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

import paho.mqtt.client as mqtt  # noqa: E402
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402
from paho.mqtt.packettypes import PacketTypes  # noqa: E402
from paho.mqtt.properties import Properties  # noqa: E402
from paho.mqtt.subscribeoptions import SubscribeOptions  # noqa: E402
from reporting import equal, run_checks, serve, truly  # noqa: E402

LIMIT = 15
# With it the connections are TLS and trust this file alone.
AUTHORITY = os.environ.get("TLS_CA")
ids = itertools.count()


class Peer:
    """One connection: acknowledged publishes, subscriptions that are there when `subscribe` returns, an inbox."""

    def __init__(self, broker, client_id=None, clean=True, will=None, keepalive=60, expiry=0):
        self.version = broker.version
        self.client_id = client_id or f"paho-py-{os.getpid()}-{next(ids)}"
        options = {} if self.version == 5 else {"clean_session": clean}
        protocol = mqtt.MQTTv5 if self.version == 5 else mqtt.MQTTv311
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.client_id, protocol=protocol, **options)
        self.client.username_pw_set(broker.user, broker.password)
        if AUTHORITY:
            self.client.tls_set(ca_certs=AUTHORITY)
        self.client.max_inflight_messages_set(1000)
        if will:
            self.client.will_set(*will, qos=1)
        self.inbox = queue.Queue()
        self.connected = queue.Queue()
        self.subscribed = queue.Queue()
        self.client.on_message = lambda client, data, message: self.inbox.put(message)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.connected.put((flags, reason))
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.subscribed.put(reasons)
        self.client.on_unsubscribe = lambda client, data, mid, reasons, properties: self.subscribed.put(reasons)
        more = {}
        if self.version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
            more = {"clean_start": clean, "properties": properties}
        self.client.connect(broker.host, broker.port, keepalive=keepalive, **more)
        self.client.loop_start()
        flags, reason = self.connected.get(timeout=LIMIT)
        if reason.is_failure:
            raise ConnectionError(str(reason))
        self.session_present = flags.session_present

    def subscribe(self, topic, qos=1, **options):
        if self.version == 5:
            self.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options))
        else:
            self.client.subscribe(topic, qos)
        reasons = self.subscribed.get(timeout=LIMIT)
        truly(not reasons[0].is_failure, f"subscribed to {topic}: {reasons[0]}")
        return reasons[0].value

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        self.subscribed.get(timeout=LIMIT)

    def publish(self, topic, payload, qos=1, **options):
        self.client.publish(topic, payload, qos=qos, **options).wait_for_publish(LIMIT)

    def publish_all(self, topic, payloads, qos=1):
        pending = [self.client.publish(topic, payload, qos=qos) for payload in payloads]
        for each in pending:
            each.wait_for_publish(LIMIT)

    def next(self, limit=LIMIT):
        return self.inbox.get(timeout=limit)

    def texts(self, count):
        return [self.next().payload.decode() for _ in range(count)]

    def quiet(self, limit=0.3):
        try:
            extra = self.inbox.get(timeout=limit)
        except queue.Empty:
            return
        raise AssertionError(f"unexpected message {extra.topic}: {extra.payload!r}")

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self):
        """The socket breaks, without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


class Broker:
    def __init__(self, version, host, port, user, password):
        self.version = int(version)
        self.host, self.port, self.user, self.password = host, int(port), user, password

    def peer(self, **options):
        return Peer(self, **options)


def numbered(count):
    return [f"m{index}" for index in range(count)]


def topic(broker, name):
    return f"py{broker.version}/{name}"


def publish_subscribe(broker):
    peer, where = broker.peer(), topic(broker, "basic")
    equal(peer.subscribe(where), 1, "granted QoS")
    peer.publish(where, "hello ✓")
    message = peer.next()
    equal((message.topic, message.payload.decode(), message.retain), (where, "hello ✓", False))
    peer.unsubscribe(where)
    peer.publish(where, "unheard")
    peer.quiet()
    peer.end()


def qos(broker):
    publisher = broker.peer()
    for granted in (0, 1, 2):
        peer, where = broker.peer(), topic(broker, f"qos/{granted}")
        equal(peer.subscribe(where, granted), granted, "granted QoS")
        for sent in (0, 1, 2):
            publisher.publish(where, f"sent {sent}", qos=sent)
            equal(peer.next().qos, min(sent, granted), f"QoS {sent} published, {granted} granted")
        peer.end()
    publisher.end()


def order(broker):
    publisher, peer, where = broker.peer(), broker.peer(), topic(broker, "order")
    peer.subscribe(where, 2)
    for level in (1, 2):
        publisher.publish_all(where, numbered(1000), level)
        equal(peer.texts(1000), numbered(1000), f"order at QoS {level}")
    peer.quiet()
    peer.end()
    publisher.end()


def large(broker):
    peer, where = broker.peer(), topic(broker, "large")
    body = bytes(range(256)) * (8 * 4096)
    peer.subscribe(where)
    peer.publish(where, body)
    truly(peer.next().payload == body, "8 MiB came back as sent")
    peer.end()


def retained(broker):
    peer, where = broker.peer(), topic(broker, "state")
    peer.publish(where, "kept", retain=True)
    late = broker.peer()
    late.subscribe(where)
    message = late.next()
    equal((message.payload, message.retain), (b"kept", True))
    peer.publish(where, b"", retain=True)
    late.next()
    after = broker.peer()
    after.subscribe(where)
    after.quiet()
    for each in (peer, late, after):
        each.end()


def will(broker):
    peer, where = broker.peer(), topic(broker, "will")
    peer.subscribe(where)
    broker.peer(will=(where, "polite")).end()
    broker.peer(will=(where, "lost")).drop()
    equal(peer.texts(1), ["lost"])
    peer.quiet()
    peer.end()


def session(broker):
    where = topic(broker, "session")
    mine = {"client_id": f"paho-py-session-{broker.version}", "clean": False, "expiry": 600}
    first = broker.peer(**mine)
    equal(first.session_present, False, "session present at first")
    first.subscribe(where)
    first.end()
    publisher = broker.peer()
    publisher.publish_all(where, numbered(10))
    second = broker.peer(**mine)
    equal(second.session_present, True, "session present on return")
    equal(second.texts(10), numbered(10))
    second.end()
    clean = broker.peer(client_id=mine["client_id"], clean=True)
    equal(clean.session_present, False, "session present after a clean start")
    for each in (publisher, clean):
        each.end()


def shared(broker):
    where = topic(broker, "jobs")
    members = [broker.peer(), broker.peer()]
    for member in members:
        member.subscribe(f"$share/py{broker.version}/{where}")
    publisher = broker.peer()
    publisher.publish_all(where, numbered(40))
    time.sleep(0.5)
    counts = [member.inbox.qsize() for member in members]
    equal(sum(counts), 40, f"messages over both members {counts}")
    truly(all(counts), f"both got some: {counts}")
    members[0].end()
    publisher.publish_all(where, numbered(10))
    time.sleep(0.3)
    equal(members[1].inbox.qsize() - counts[1], 10, "messages of the member that is left")
    members[1].end()
    publisher.end()


def heartbeat(broker):
    peer, where = broker.peer(keepalive=1), topic(broker, "idle")
    peer.subscribe(where)
    time.sleep(3.5)
    peer.publish(where, "still here")
    equal(peer.texts(1), ["still here"])
    peer.end()


def user_properties(broker):
    peer, where = broker.peer(), topic(broker, "properties")
    peer.subscribe(where)
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("a", "1"), ("a", "2"), ("ü", "✓")]
    properties.ContentType = "text/plain"
    properties.PayloadFormatIndicator = 1
    properties.ResponseTopic = "py/replies"
    properties.CorrelationData = b"\x00\xff"
    peer.publish(where, "text", properties=properties)
    got = peer.next().properties
    for name in ("UserProperty", "ContentType", "PayloadFormatIndicator", "ResponseTopic", "CorrelationData"):
        equal(getattr(got, name), getattr(properties, name), name)
    peer.end()


def subscription_options(broker):
    peer, other, where = broker.peer(), broker.peer(), topic(broker, "options")
    peer.subscribe(where, noLocal=True)
    peer.publish(where, "own")
    other.publish(where, "foreign")
    equal(peer.texts(1), ["foreign"], "no local")
    peer.quiet()
    peer.end()
    other.end()


CHECKS = {
    "publish-subscribe": publish_subscribe,
    "qos": qos,
    "order": order,
    "large": large,
    "retained": retained,
    "will": will,
    "session": session,
    "mqtt-shared": shared,
    "heartbeat": heartbeat,
}
FIVE = {"user-properties": user_properties, "subscription-options": subscription_options}


class Worker:
    def __init__(self, broker):
        self.broker = broker
        self.peers = {}

    def send(self, request, bodies):
        peer = self.broker.peer()
        for body in bodies:
            peer.publish(request["address"], body)
        peer.end()

    def open(self, request, _bodies):
        peer = self.broker.peer()
        peer.subscribe(request["address"])
        self.peers[request["handle"]] = peer

    def take(self, request, _bodies):
        taken = []
        for _ in range(int(request["count"])):
            try:
                taken.append(self.peers[request["handle"]].next(int(request["limit"]) / 1000).payload.decode())
            except queue.Empty:
                break
        return taken

    def close(self, request, _bodies):
        self.peers.pop(request["handle"]).end()

    def operations(self):
        return {"send": self.send, "open": self.open, "take": self.take, "close": self.close}


def main():
    mode, version, host, port, user, password, *only = sys.argv[1:]
    broker = Broker(version, host, port, user, password)
    if mode == "worker":
        serve(Worker(broker).operations())
    else:
        run_checks(CHECKS | (FIVE if broker.version == 5 else {}), broker, only)


if __name__ == "__main__":
    threading.excepthook = lambda info: None  # A socket closed under the client's loop is what some checks are about.
    main()
    sys.stdout.flush()
    os._exit(0)
