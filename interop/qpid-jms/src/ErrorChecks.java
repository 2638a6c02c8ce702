import jakarta.jms.*;
import java.util.Map;

/** What the standard says is refused, and that an idle connection is not. */
final class ErrorChecks {
    static void addTo(Map<String, Check> checks) {
        checks.put("refusals", broker -> {
            Connection connection = broker.connectAs("jms-only-one");
            Session session = connection.createSession();
            Queue queue = session.createQueue("jms.refusals");
            Expect.throwing(InvalidSelectorException.class, () -> session.createConsumer(queue, "color = = 'red'"));
            Expect.throwing(InvalidDestinationException.class, () -> session.unsubscribe("never-there"));
            Expect.throwing(InvalidClientIDException.class, () -> broker.connectAs("jms-only-one"));
            Session stranger = broker.connect().createSession();
            TemporaryQueue temporary = session.createTemporaryQueue();
            Expect.throwing(JMSException.class, () -> stranger.createConsumer(temporary));
            Expect.send(session, session.createProducer(queue), "fine");
            Expect.texts(session.createConsumer(queue), "fine");
            // The client id is free again once its connection is gone.
            connection.close();
            broker.connectAs("jms-only-one").close();
        });

        checks.put("heartbeat", broker -> {
            Session session = broker.connect("amqp.idleTimeout=2000").createSession();
            Queue queue = session.createQueue("jms.idle");
            MessageConsumer consumer = session.createConsumer(queue);
            Thread.sleep(5000);
            Expect.send(session, session.createProducer(queue), "still here");
            Expect.texts(consumer, "still here");
        });
    }

    private ErrorChecks() {}
}
