import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** One MQTT connection as the checks see it, whichever of the two libraries is behind it. */
abstract class Peer implements AutoCloseable {
    /** A message as it arrived. */
    static final class Arrived {
        final String topic;
        final byte[] payload;
        final int qos;
        final boolean isRetained;

        Arrived(String topic, byte[] payload, int qos, boolean isRetained) {
            this.topic = topic;
            this.payload = payload;
            this.qos = qos;
            this.isRetained = isRetained;
        }

        String text() {
            return new String(payload, java.nio.charset.StandardCharsets.UTF_8);
        }
    }

    /** How to connect. */
    static final class Options {
        String clientId = "paho-java-" + ProcessHandle.current().pid() + "-" + System.nanoTime() % 1_000_000_000;
        boolean clean = true;
        int keepaliveSeconds = 60;
        String willTopic;
        String willText;

        Options persistent(String id) {
            clientId = id;
            clean = false;
            return this;
        }

        Options will(String topic, String text) {
            willTopic = topic;
            willText = text;
            return this;
        }
    }

    final BlockingQueue<Arrived> inbox = new LinkedBlockingQueue<>();
    boolean sessionPresent;

    abstract int subscribe(String filter, int qos) throws Exception;

    abstract void unsubscribe(String filter) throws Exception;

    /** Returns when the acknowledgement of its QoS has come. */
    abstract void publish(String topic, byte[] payload, int qos, boolean isRetained) throws Exception;

    /** Many on the way at once. */
    abstract void publishAll(String topic, String[] texts, int qos) throws Exception;

    /** Ends without DISCONNECT. */
    abstract void drop() throws Exception;

    Arrived next(long limitMs) throws InterruptedException {
        return inbox.poll(limitMs, TimeUnit.MILLISECONDS);
    }

    void publish(String topic, String text) throws Exception {
        publish(topic, text.getBytes(java.nio.charset.StandardCharsets.UTF_8), 1, false);
    }
}
