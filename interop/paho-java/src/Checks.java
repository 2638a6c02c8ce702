import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/** What both versions promise. */
final class Checks {
    interface Check {
        void run(Broker broker) throws Exception;
    }

    private static final long LONG = 15_000;

    static Map<String, Check> all() {
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("publish-subscribe", broker -> {
            Peer peer = broker.connect();
            String topic = broker.topic("basic");
            equal(peer.subscribe(topic, 1), 1, "granted QoS");
            peer.publish(topic, "hello ✓");
            Peer.Arrived got = peer.next(LONG);
            equal(got.topic, topic, "topic");
            equal(got.text(), "hello ✓", "text");
            peer.unsubscribe(topic);
            peer.publish(topic, "unheard");
            nothing(peer);
        });
        checks.put("qos", broker -> {
            Peer publisher = broker.connect();
            for (int granted = 0; granted <= 2; granted++) {
                Peer peer = broker.connect();
                String topic = broker.topic("qos/" + granted);
                equal(peer.subscribe(topic, granted), granted, "granted QoS");
                for (int sent = 0; sent <= 2; sent++) {
                    publisher.publish(topic, new byte[] {(byte) sent}, sent, false);
                    equal(peer.next(LONG).qos, Math.min(sent, granted), "QoS " + sent + " published, " + granted + " granted");
                }
            }
        });
        checks.put("order", broker -> {
            Peer publisher = broker.connect();
            Peer peer = broker.connect();
            String topic = broker.topic("order");
            peer.subscribe(topic, 2);
            for (int qos = 1; qos <= 2; qos++) {
                publisher.publishAll(topic, numbered(1000), qos);
                texts(peer, numbered(1000));
            }
            nothing(peer);
        });
        checks.put("large", broker -> {
            Peer peer = broker.connect();
            String topic = broker.topic("large");
            byte[] body = new byte[8 * 1024 * 1024];
            for (int at = 0; at < body.length; at++) body[at] = (byte) (at * 31 + at / 256);
            peer.subscribe(topic, 1);
            peer.publish(topic, body, 1, false);
            truly(Arrays.equals(peer.next(LONG).payload, body), "8 MiB came back as sent");
        });
        checks.put("retained", broker -> {
            Peer peer = broker.connect();
            String topic = broker.topic("state");
            peer.publish(topic, "kept".getBytes(), 1, true);
            Peer late = broker.connect();
            late.subscribe(topic, 1);
            Peer.Arrived got = late.next(LONG);
            equal(got.text(), "kept", "retained text");
            truly(got.isRetained, "RETAIN is set");
            peer.publish(topic, new byte[0], 1, true);
            Peer after = broker.connect();
            after.subscribe(topic, 1);
            nothing(after);
        });
        checks.put("will", broker -> {
            Peer peer = broker.connect();
            String topic = broker.topic("will");
            peer.subscribe(topic, 1);
            broker.connect(new Peer.Options().will(topic, "polite")).close();
            broker.connect(new Peer.Options().will(topic, "lost")).drop();
            texts(peer, "lost");
            nothing(peer);
        });
        checks.put("session", broker -> {
            String topic = broker.topic("session");
            String id = "paho-java-session-" + broker.version;
            Peer first = broker.connect(new Peer.Options().persistent(id));
            equal(first.sessionPresent, false, "session present at first");
            first.subscribe(topic, 1);
            first.close();
            broker.connect().publishAll(topic, numbered(10), 1);
            Peer second = broker.connect(new Peer.Options().persistent(id));
            equal(second.sessionPresent, true, "session present on return");
            texts(second, numbered(10));
            nothing(second);
        });
        checks.put("mqtt-shared", broker -> {
            String topic = broker.topic("jobs");
            Peer one = broker.connect();
            Peer two = broker.connect();
            for (Peer member : new Peer[] {one, two}) member.subscribe("$share/java" + broker.version + "/" + topic, 1);
            Peer publisher = broker.connect();
            publisher.publishAll(topic, numbered(40), 1);
            Thread.sleep(500);
            equal(one.inbox.size() + two.inbox.size(), 40, "messages over both members");
            truly(!one.inbox.isEmpty() && !two.inbox.isEmpty(), "both got some");
        });
        checks.put("heartbeat", broker -> {
            Peer.Options options = new Peer.Options();
            options.keepaliveSeconds = 1;
            Peer peer = broker.connect(options);
            String topic = broker.topic("idle");
            peer.subscribe(topic, 1);
            Thread.sleep(3500);
            peer.publish(topic, "still here");
            texts(peer, "still here");
        });
        return checks;
    }

    private static String[] numbered(int count) {
        String[] texts = new String[count];
        for (int index = 0; index < count; index++) texts[index] = "m" + index;
        return texts;
    }

    private static void texts(Peer peer, String... expected) throws Exception {
        for (String text : expected) {
            Peer.Arrived message = peer.next(LONG);
            truly(message != null, "message " + text + " came");
            equal(message.text(), text, "text");
        }
    }

    private static void nothing(Peer peer) throws Exception {
        Peer.Arrived extra = peer.next(300);
        truly(extra == null, "nothing more" + (extra == null ? "" : ", got " + extra.text()));
    }

    private static void equal(Object actual, Object expected, String what) {
        if (!Objects.equals(actual, expected)) throw new AssertionError(what + ": expected " + expected + ", got " + actual);
    }

    private static void truly(boolean condition, String what) {
        if (!condition) throw new AssertionError("does not hold: " + what);
    }

    private Checks() {}
}
