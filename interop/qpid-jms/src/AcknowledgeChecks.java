import jakarta.jms.*;
import java.util.Map;

/** Acknowledgement modes, recover, redelivery and its count, dead letters. */
final class AcknowledgeChecks {
    private static final int NO_ACKNOWLEDGE = 257; // Qpid JMS: org.apache.qpid.jms.JmsSession

    static void addTo(Map<String, Check> checks) {
        checks.put("acknowledge", broker -> {
            int[] modes = {Session.AUTO_ACKNOWLEDGE, Session.DUPS_OK_ACKNOWLEDGE, Session.CLIENT_ACKNOWLEDGE};
            for (int mode : modes) {
                Connection connection = broker.connect();
                Session session = connection.createSession(mode);
                Queue queue = session.createQueue("jms.ack." + mode);
                Expect.send(session, session.createProducer(queue), Expect.numbered(20));
                MessageConsumer consumer = session.createConsumer(queue);
                Message last = Expect.texts(consumer, Expect.numbered(20));
                if (mode == Session.CLIENT_ACKNOWLEDGE) last.acknowledge();
                connection.close();
                Session after = broker.connect().createSession();
                Expect.nothing(after.createConsumer(queue));
            }
            // CLIENT_ACKNOWLEDGE covers all that the session has received, also over two consumers.
            Connection connection = broker.connect();
            Session session = connection.createSession(Session.CLIENT_ACKNOWLEDGE);
            Queue one = session.createQueue("jms.ack.one");
            Queue two = session.createQueue("jms.ack.two");
            Expect.send(session, session.createProducer(one), "a");
            Expect.send(session, session.createProducer(two), "b");
            Expect.texts(session.createConsumer(one), "a");
            Expect.texts(session.createConsumer(two), "b").acknowledge();
            connection.close();
            Session after = broker.connect().createSession();
            Expect.nothing(after.createConsumer(one));
            Expect.nothing(after.createConsumer(two));
        });

        checks.put("redelivery", broker -> {
            Connection connection = broker.connect();
            Session session = connection.createSession(Session.CLIENT_ACKNOWLEDGE);
            Queue queue = session.createQueue("jms.redelivery");
            Expect.send(session, session.createProducer(queue), "a", "b", "c");
            Expect.texts(session.createConsumer(queue), "a", "b");
            connection.close();
            MessageConsumer consumer = broker.connect().createSession().createConsumer(queue);
            Message a = Expect.texts(consumer, "a");
            Expect.equal(a.getJMSRedelivered(), true, "JMSRedelivered");
            Expect.texts(consumer, "b", "c");
            Expect.nothing(consumer);
        });

        checks.put("recover", broker -> {
            Session session = broker.connect().createSession(Session.CLIENT_ACKNOWLEDGE);
            Queue queue = session.createQueue("jms.recover");
            Expect.send(session, session.createProducer(queue), "a", "b", "c");
            MessageConsumer consumer = session.createConsumer(queue);
            Expect.texts(consumer, "a").acknowledge();
            Expect.texts(consumer, "b", "c");
            session.recover();
            Message b = Expect.texts(consumer, "b");
            Expect.equal(b.getJMSRedelivered(), true, "JMSRedelivered");
            Expect.equal(b.getIntProperty("JMSXDeliveryCount"), 2, "JMSXDeliveryCount");
            Expect.texts(consumer, "c").acknowledge();
            session.recover();
            Expect.nothing(consumer);
        });

        checks.put("delivery-count", broker -> {
            Session sender = broker.connect().createSession();
            Queue queue = sender.createQueue("jms.count");
            Expect.send(sender, sender.createProducer(queue), "a");
            for (int attempt = 1; attempt <= 3; attempt++) {
                Connection connection = broker.connect();
                Session session = connection.createSession(Session.CLIENT_ACKNOWLEDGE);
                Message message = Expect.texts(session.createConsumer(queue), "a");
                Expect.equal(message.getIntProperty("JMSXDeliveryCount"), attempt, "JMSXDeliveryCount");
                Expect.equal(message.getJMSRedelivered(), attempt > 1, "JMSRedelivered");
                connection.close();
            }
        });

        checks.put("reject", broker -> {
            // The client itself gives up after two redeliveries: modified, failed and undeliverable here.
            Session session = broker.connect("jms.redeliveryPolicy.maxRedeliveries=2").createSession(Session.CLIENT_ACKNOWLEDGE);
            Queue queue = session.createQueue("jms.poison");
            Expect.send(session, session.createProducer(queue), "poison", "good");
            MessageConsumer consumer = session.createConsumer(queue);
            for (int attempt = 0; attempt < 3; attempt++) {
                Expect.texts(consumer, "poison");
                session.recover();
            }
            Expect.texts(consumer, "good").acknowledge();
            Expect.nothing(consumer);
            Session other = broker.connect().createSession();
            Expect.texts(other.createConsumer(other.createQueue("DLQ.jms.poison")), "poison");
        });

        checks.put("no-acknowledge", broker -> {
            Connection connection = broker.connect();
            Session session = connection.createSession(NO_ACKNOWLEDGE);
            Queue queue = session.createQueue("jms.noack");
            Expect.send(session, session.createProducer(queue), Expect.numbered(10));
            Expect.texts(session.createConsumer(queue), Expect.numbered(10));
            connection.close();
            Expect.nothing(broker.connect().createSession().createConsumer(queue));
        });
    }

    private AcknowledgeChecks() {}
}
