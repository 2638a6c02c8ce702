import jakarta.jms.JMSException;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Session;
import jakarta.jms.TextMessage;
import java.util.Objects;

/** Expectations, and the three helpers that nearly every check uses. */
final class Expect {
    static final long LONG = 10_000;
    static final long SHORT = 300;

    static void equal(Object actual, Object expected, String what) {
        if (!Objects.equals(actual, expected)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }

    static void truly(boolean condition, String what) {
        if (!condition) throw new AssertionError("does not hold: " + what);
    }

    interface Attempt {
        void run() throws Exception;
    }

    static void throwing(Class<? extends Exception> kind, Attempt attempt) {
        try {
            attempt.run();
        } catch (Exception thrown) {
            truly(kind.isInstance(thrown), kind.getSimpleName() + " was thrown, not " + thrown);
            return;
        }
        throw new AssertionError(kind.getSimpleName() + " was not thrown");
    }

    static void send(Session session, MessageProducer producer, String... texts) throws JMSException {
        for (String text : texts) producer.send(session.createTextMessage(text));
    }

    /** Receives exactly these texts, in this order; returns the last message. */
    static Message texts(MessageConsumer consumer, String... texts) throws JMSException {
        Message last = null;
        for (String text : texts) {
            last = consumer.receive(LONG);
            truly(last != null, "message " + text + " came");
            equal(((TextMessage) last).getText(), text, "text");
        }
        return last;
    }

    static void nothing(MessageConsumer consumer) throws JMSException {
        Message extra = consumer.receive(SHORT);
        if (extra != null) {
            String text = extra instanceof TextMessage ? ((TextMessage) extra).getText() : extra.toString();
            throw new AssertionError("unexpected message " + text);
        }
    }

    static String[] numbered(int count) {
        String[] texts = new String[count];
        for (int index = 0; index < count; index++) texts[index] = "m" + index;
        return texts;
    }

    private Expect() {}
}
